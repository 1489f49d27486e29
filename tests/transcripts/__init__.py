"""Runs in words, line by line: each line can be explained from the paper."""
