"""Replicated services in the laboratory: a cluster in virtual time, misfortune, verdict."""
