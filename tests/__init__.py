"""Tests: paper, unit, simulated, transcripts, live."""
