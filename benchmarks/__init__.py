"""Speed, side by side with peers and limits, as ratios within one run.

A *peer* is another way to do the same work; a *limit* is the part of the work that nobody can do
without. `python -m benchmarks` measures and prints; one file a benchmark, `peers/` what they are
measured against.
"""
