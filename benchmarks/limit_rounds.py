"""OM(m) among processes against bare CURVE rounds of frames of the same size, and large runs."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.frame_bytes import oral_frame_bytes
from benchmarks.measure import Row, Sample, Within, in_fresh_process, interleaved
from benchmarks.ours import our_run, warm_forks
from benchmarks.peers.bare_rounds import bare_rounds

SIZES = ((4, 1), (10, 3), (31, 3))
#: Seconds that the largest runs may take.
LARGE = ((16, 5, 0.1), (19, 6, 2.0))
#: Small runs are short: more of them for a steady median.
RUNS_EACH = 4


def rows(times: int) -> Iterator[Row]:
    with warm_forks() as forks:
        for n, m in SIZES:
            sizes = oral_frame_bytes(n, m)
            ours, bare = interleaved(
                times * RUNS_EACH,
                lambda n=n, m=m: our_run(forks, protocol="oral", n=n, m=m).seconds,  # type: ignore[misc]
                lambda n=n, sizes=sizes: in_fresh_process(bare_rounds, n, sizes).seconds,  # type: ignore[misc]
            )
            yield Within(f"OM({m}) n={n}, against bare rounds", ours, bare, at_most=1.5)
        for n, m, seconds in LARGE:
            runs = [our_run(forks, protocol="oral", n=n, m=m).seconds for _ in range(times)]
            yield Within(f"OM({m}) n={n}", Sample(tuple(runs)), seconds)
