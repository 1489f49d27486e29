"""The peers and limits by themselves: figures of this machine, with nothing of ours beside them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from benchmarks.frame_bytes import oral_frame_bytes, signed_frame_bytes
from benchmarks.measure import Alone, Row, Sample, in_fresh_process, interleaved
from benchmarks.peers.bare_mesh import bare_mesh
from benchmarks.peers.bare_rounds import (
    all_to_all,
    as_in_the_paper,
    bare_rounds,
    frames_in,
)
from benchmarks.peers.grpc_generals import GrpcGenerals
from benchmarks.peers.message_by_message import (
    ATTACK,
    message_by_message,
    paper_messages,
    parity,
)

#: The first seed's case: OM(3), ten generals, three traitors with its parity lie.
N, M, TRAITORS = 10, 3, (3, 4, 7)
BARE = ((4, 1), (10, 3), (31, 3), (16, 5))
MESH = 31


def rows(times: int) -> Iterator[Row]:
    yield from _grpc(times)
    yield from _bare_rounds(times)
    (mesh,) = interleaved(times, lambda: in_fresh_process(bare_mesh, MESH))
    yield Alone(f"bare mesh of {MESH}: forks, {MESH * (MESH - 1)} CURVE connections proven", mesh)


def _grpc(times: int) -> Iterator[Row]:
    with GrpcGenerals(N, M, TRAITORS) as generals:
        forms = {"sequential": False, "concurrent": True}
        samples = interleaved(
            times, *(partial(_grpc_s, generals, concurrent) for concurrent in forms.values())
        )
    for form, sample in zip(forms, samples, strict=True):
        yield Alone(f"gRPC, OM({M}) n={N}, {paper_messages(N, M):,} calls, {form}", sample)


def _grpc_s(generals: GrpcGenerals, concurrent: bool) -> float:
    """Seconds of one run, which must have carried every message and decided as OM decides."""
    run = generals.agree(ATTACK, concurrent=concurrent)
    if run.calls != paper_messages(N, M):
        raise AssertionError(f"{run.calls} calls, OM({M}) takes {paper_messages(N, M)}")
    if run.decisions != message_by_message(N, M, ATTACK, parity(TRAITORS)):
        raise AssertionError(f"the generals decided {run.decisions}")
    return run.seconds


def _bare_rounds(times: int) -> Iterator[Row]:
    cases = {f"OM({m}) n={n}": (n, oral_frame_bytes(n, m)) for n, m in BARE}
    cases["SM(10) n=31"] = (31, signed_frame_bytes(10))
    for what, (n, sizes) in cases.items():
        for which, script in (
            ("all to all", all_to_all(n, sizes)),
            ("its own frames", as_in_the_paper(n, sizes)),
        ):
            runs = [in_fresh_process(bare_rounds, n, script) for _ in range(times)]
            label = f"bare rounds of {what}, {which}: {frames_in(script):,}"
            yield Alone(f"{label}, time", Sample(tuple(run.seconds for run in runs)))
            yield Alone(f"{label}, processor", Sample(tuple(run.processor_s for run in runs)))
