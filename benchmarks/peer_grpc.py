"""OM(3) among ten generals and three traitors: ours against the first seed's way, gRPC a path.

The same frames bare, with no generals around them, stand below: what the links take by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.frame_bytes import oral_frame_bytes
from benchmarks.measure import Alone, Faster, Row, in_fresh_process, interleaved
from benchmarks.ours import our_run, warm_forks
from benchmarks.peers.bare_rounds import as_in_the_paper, bare_rounds
from benchmarks.peers.grpc_generals import GrpcGenerals
from benchmarks.peers.message_by_message import ATTACK, paper_messages

N, M, TRAITORS = 10, 3, (3, 4, 7)
#: Wanted against the concurrent and the sequential form of the peer.
FASTER_THAN = {"concurrent": 250, "sequential": 400}


def rows(times: int) -> Iterator[Row]:
    lies = [{"generals": list(TRAITORS), "strategy": "parity"}]
    script = as_in_the_paper(N, oral_frame_bytes(N, M))
    with warm_forks() as forks, GrpcGenerals(N, M, TRAITORS) as generals:
        ours, bare, *peers = interleaved(
            times,
            lambda: our_run(forks, protocol="oral", n=N, m=M, traitors=lies).seconds,
            lambda: in_fresh_process(bare_rounds, N, script).seconds,
            *(lambda form=form: _peer_s(generals, form) for form in FASTER_THAN),
        )
    for (form, factor), peer in zip(FASTER_THAN.items(), peers, strict=True):
        what = f"OM({M}) n={N}, {paper_messages(N, M):,} messages, against gRPC {form}"
        yield Faster(what, ours, peer, at_least=factor)
    yield Alone(f"OM({M}) n={N}, its own frames, bare", bare)


def _peer_s(generals: GrpcGenerals, form: str) -> float:
    run = generals.agree(ATTACK, concurrent=form == "concurrent")
    if run.calls != paper_messages(N, M):
        raise AssertionError(f"{run.calls} calls, OM({M}) takes {paper_messages(N, M)}")
    return run.seconds
