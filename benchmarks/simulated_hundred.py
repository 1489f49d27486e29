"""OM(3) among a hundred generals, 91 million messages, simulated whole: time and peak memory."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.measure import Row, Sample, Unit, Within, in_fresh_process, peak_growth_bytes
from orchestrator.backends.simulation import Simulation
from orchestrator.scenario import from_fields
from orchestrator.trial import play

N, M = 100, 3
MEMORY_BYTES_MAX = float(2 << 30)


def rows(times: int) -> Iterator[Row]:
    peaks = tuple(float(in_fresh_process(_peak_bytes)) for _ in range(times))
    what = f"OM({M}) n={N} simulated whole, peak memory above the imports"
    yield Within(what, Sample(peaks, Unit.BYTES), Sample((MEMORY_BYTES_MAX,), Unit.BYTES))


def _peak_bytes() -> int:
    return peak_growth_bytes(_simulate)


def _simulate() -> None:
    fields = {"name": "hundred", "protocol": "oral", "n": N, "m": M, "force": True}
    lies = [{"generals": [3, 4, 7], "strategy": "parity"}]
    result = play(from_fields({**fields, "traitors": lies}), Simulation())
    if result.verdict.outcome != "pass":
        raise AssertionError(result.verdict.sentence())
