"""SM(10) among 31 processes: processor time against signatures alone plus bare rounds.

The rounds are of all to all, as in limit_rounds, and SM's own frames stand beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.frame_bytes import signed_frame_bytes
from benchmarks.measure import Beside, Row, Within, in_fresh_process, interleaved
from benchmarks.ours import our_run, warm_forks
from benchmarks.peers.bare_rounds import Round, all_to_all, as_in_the_paper, bare_rounds
from benchmarks.peers.signatures_alone import (
    Signatures,
    signatures_alone,
    under_a_loyal_commander,
    under_a_two_faced_commander,
)
from orchestrator.backends.fork_client import ForkServer

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
            ours, limit, own = interleaved(
                times,
                partial(_ours_s, forks, traitors, verifications_max),
                partial(_limit_s, work, all_to_all(N, sizes)),
                partial(_limit_s, work, as_in_the_paper(N, sizes)),
            )
            what = f"SM({M}) n={N}, {who} commander, processor time"
            yield Within(what, ours, limit, at_most=1.5)
            yield Beside(f"{what}, beside its own frames, bare", ours, own)


def _ours_s(forks: ForkServer, traitors: object, verifications_max: int) -> float:
    run = our_run(forks, protocol="signed", n=N, m=M, traitors=traitors)
    records = run.result.transcript.records.values()
    done = max(r.closed.verifications for r in records if r.closed)
    if done > verifications_max:
        raise AssertionError(f"a general verified {done} signatures, not {verifications_max}")
    return run.processor_s


def _limit_s(work: Signatures, script: list[Round]) -> float:
    bare = in_fresh_process(bare_rounds, N, script)
    return signatures_alone(work) + bare.processor_s
