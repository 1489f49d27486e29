"""OM(m) among processes against bare CURVE rounds of frames of the same size, and large runs.

The limit is m + 1 rounds of all to all. OM sends fewer frames, for the commander speaks only once;
these alone, bare, stand beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.frame_bytes import oral_frame_bytes
from benchmarks.measure import Beside, Row, Sample, Within, in_fresh_process, interleaved
from benchmarks.ours import our_run, warm_forks
from benchmarks.peers.bare_rounds import Round, all_to_all, as_in_the_paper, bare_rounds
from orchestrator.backends.fork_client import ForkServer

SIZES = ((4, 1), (10, 3), (31, 3))
#: Seconds that the largest runs may take.
LARGE = ((16, 5, 0.1), (19, 6, 2.0))
#: Small runs are short: more of them for a steady median.
RUNS_EACH = 4


def rows(times: int) -> Iterator[Row]:
    with warm_forks() as forks:
        for n, m in SIZES:
            sizes = oral_frame_bytes(n, m)
            ours, bare, own = interleaved(
                times * RUNS_EACH,
                partial(_ours_s, forks, n, m),
                partial(_bare_s, n, all_to_all(n, sizes)),
                partial(_bare_s, n, as_in_the_paper(n, sizes)),
            )
            yield Within(f"OM({m}) n={n}, against bare rounds", ours, bare, at_most=1.5)
            yield Beside(f"OM({m}) n={n}, beside its own frames, bare", ours, own)
        for n, m, seconds in LARGE:
            runs = [_ours_s(forks, n, m) for _ in range(times)]
            yield Within(f"OM({m}) n={n}", Sample(tuple(runs)), Sample((seconds,)))


def _ours_s(forks: ForkServer, n: int, m: int) -> float:
    return our_run(forks, protocol="oral", n=n, m=m).seconds


def _bare_s(n: int, script: list[Round]) -> float:
    return in_fresh_process(bare_rounds, n, script).seconds
