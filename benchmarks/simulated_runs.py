"""OM(1) and SM(1) among four, simulated: SM beside its signatures alone; a sweep and its cores."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from benchmarks.measure import Alone, Faster, Row, Sample, Within, interleaved, seconds
from benchmarks.peers.signatures_alone import Signatures, signatures_alone
from orchestrator.backends.simulation import Simulation
from orchestrator.casting import Cast, cast
from orchestrator.scenario import from_fields
from orchestrator.sweep import Campaign, Cell, Drawn, sweep

N, M = 4, 1
RUNS = 100
#: Of a run of SM(1): four orders and four closings are signed, and making four key pairs costs as
#: much as four signatures; three lieutenants verify the commander's.
WORK = Signatures(signs=3 * N, verifies=N - 1)
SWEPT = 400
CORES = 2


def rows(times: int) -> Iterator[Row]:
    oral, signed = _cast("oral"), _cast("signed")

    def alone_s() -> float:
        return sum(signatures_alone(WORK) for _ in range(RUNS)) / RUNS

    def signed_s() -> float:
        return _run_s(signed)

    ours, limit = interleaved(times, signed_s, alone_s)
    yield Within(f"SM({M}) n={N} simulated, keys to journals, a run", ours, limit, at_most=3.0)
    yield Alone(
        f"OM({M}) n={N} simulated, keys to journals, a run",
        Sample(tuple(_run_s(oral) for _ in range(times))),
    )
    if (os.cpu_count() or 1) >= CORES:
        ours, one_core = interleaved(times, lambda: _sweep_s(CORES), lambda: _sweep_s(1))
        yield Faster(f"a sweep of {SWEPT} runs on {CORES} cores", ours, one_core, at_least=1.8)


def _cast(protocol: str) -> Cast:
    return cast(from_fields({"name": "runs", "protocol": protocol, "n": N, "m": M}))


def _run_s(parts: Cast) -> float:
    """Processor seconds of one run: whole generals, their bytes, signatures and journals."""
    start = time.process_time()
    for _ in range(RUNS):
        with Simulation() as simulation:
            simulation.muster(parts, None)
            decided = simulation.command(lambda general: None)
            simulation.collect()
        if {one.value for one in decided.values()} != {"attack"}:
            raise AssertionError(f"they decided {decided}")
    return (time.process_time() - start) / RUNS


def _sweep_s(jobs: int) -> float:
    cells = (Cell("oral", 4, 1), Cell("signed", 4, 1), Cell("signed", 5, 2))

    def swept() -> None:
        summary = sweep(Drawn(Campaign(cells)), range(SWEPT), jobs)
        if summary.failures or summary.runs != SWEPT:
            raise AssertionError(f"{len(summary.failures)} of {summary.runs} runs failed")

    return seconds(swept)
