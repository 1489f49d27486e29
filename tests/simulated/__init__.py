"""Whole runs of real generals over simulated links: attacks, exhaustive searches, bounds."""
