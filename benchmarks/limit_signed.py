"""SM(10) among 31 processes: processor time against signatures alone plus bare rounds."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.frame_bytes import signed_frame_bytes
from benchmarks.measure import Row, Within, in_fresh_process, interleaved
from benchmarks.ours import our_run, warm_forks
from benchmarks.peers.bare_rounds import bare_rounds
from benchmarks.peers.signatures_alone import (
    Signatures,
    signatures_alone,
    under_a_loyal_commander,
    under_a_two_faced_commander,
)

N, M = 31, 10
#: Of each story: its traitors, the signatures that it needs, and verifications a general at most.
STORIES: tuple[tuple[str, list[dict[str, object]], Signatures, int], ...] = (
    ("loyal", [], under_a_loyal_commander(N), 1),
    ("two-faced", [{"general": 0, "strategy": "parity"}], under_a_two_faced_commander(N), 3),
)


def rows(times: int) -> Iterator[Row]:
    with warm_forks() as forks:
        for who, traitors, work, verifications_max in STORIES:
            sizes = signed_frame_bytes(M, two_faced=bool(traitors))

            def ours_s(traitors: object = traitors, most: int = verifications_max) -> float:
                run = our_run(forks, protocol="signed", n=N, m=M, traitors=traitors)
                records = run.result.transcript.records.values()
                done = max(r.closed.verifications for r in records if r.closed)
                if done > most:
                    raise AssertionError(f"a general verified {done} signatures, not {most}")
                return run.processor_s

            def limit_s(work: Signatures = work, sizes: list[int] = sizes) -> float:
                bare = in_fresh_process(bare_rounds, N, sizes)
                return signatures_alone(work) + bare.processor_s

            ours, limit = interleaved(times, ours_s, limit_s)
            what = f"SM({M}) n={N}, {who} commander, processor time"
            yield Within(what, ours, limit, at_most=1.5)
