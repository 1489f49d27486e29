"""CH15: the same scenario and seed come to the same on every backend, lies, refusals and all."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import trial
from orchestrator.backends.fork_client import ForkServer
from orchestrator.backends.processes import Processes
from orchestrator.backends.simulation import Simulation
from orchestrator.expectation import unmet
from orchestrator.results import Result
from orchestrator.scenario import Protocol, load
from tests.live.conftest import until

WITHOUT_ROUNDS = (Protocol.RELIABLE_BROADCAST,)
SHIPPED = sorted(Path(__file__).parents[2].joinpath("scenarios").glob("*.yaml"))


def comes_to(result: Result) -> dict[str, Any]:
    """All that a run came to, but for times, keys and where it lived."""
    counted = {general: decided.tally for general, decided in result.decided.items()}
    return {
        "decisions": result.decisions,
        # Without rounds, what was counted depends on who was heard first: verdicts do not.
        "tallies": counted if result.scenario.protocol not in WITHOUT_ROUNDS else {},
        "ledger": result.transcript.ledger(),
        "refused": refusals(result),
        "outcome": result.verdict.outcome,
        "properties": result.verdict.properties,
        "proofs": result.audit.proofs,
        "findings": [*result.audit.findings, *result.audit.unverifiable],
    }


def refusals(result: Result) -> Counter[str]:
    """By reason. A second frame of a round is a duplicate while the round lasts and late once the
    first one has ended it, which depends on who else was heard by then: both count as late."""
    counts: Counter[str] = Counter()
    for reason, times in result.transcript.refusals().items():
        counts["late" if reason == "duplicate" else reason] += times
    return counts


def ended(pids: list[int]) -> Iterator[bool]:
    return (not Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_the_same_among_processes_as_in_the_simulator(
    path: Path, forks: ForkServer, tmp_path: Path
) -> None:
    scenario = load(path)
    simulated = trial.play(scenario, Simulation())
    real = trial.play(scenario, Processes(forks=forks), tmp_path)
    assert comes_to(real) == comes_to(simulated)
    assert unmet(real) == unmet(simulated) == []
    assert real.path is not None
    hosts = json.loads((real.path / "run.json").read_text())["hosts"]
    pids = [int(pid) for pid in hosts.values()]
    assert len(set(pids)) == scenario.n
    assert until(lambda: all(ended(pids)))


def test_there_are_scenarios_to_play() -> None:
    assert len(SHIPPED) > 30
