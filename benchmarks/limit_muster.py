"""Muster of 31 processes up to the barrier against forking as many and bringing up a bare mesh."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.measure import Row, Within, in_fresh_process, interleaved
from benchmarks.ours import our_run, warm_forks
from benchmarks.peers.bare_mesh import bare_mesh

N = 31


def rows(times: int) -> Iterator[Row]:
    with warm_forks() as forks:
        ours, bare = interleaved(
            times,
            lambda: our_run(forks, protocol="oral", n=N, m=1).muster_s,
            lambda: in_fresh_process(bare_mesh, N),
        )
    yield Within(f"muster of {N} to the barrier, against a bare mesh", ours, bare, at_most=1.5)
