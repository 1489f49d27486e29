"""A simulated run depends on its scenario and seed alone (CH15 in the simulator)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from node.traitors import STRATEGIES
from tests.stage import A, R, a, messages, obeyed, play, refused, script, to

PARAMETERS = {
    "two-faced": a("two-faced", faces={A: [1, 2], R: [3]}),
    "script": script(to(1, R), to(2, None, round=2)),
}
#: Every strategy, and one that lies by chance.
TRAITORS = {name: PARAMETERS.get(name, name) for name in STRATEGIES} | {
    "by chance": {"strategy": "flip", "when": {"probability": 0.5}}
}

PROTOCOLS: dict[str, dict[str, Any]] = {
    "oral": {"protocol": "oral", "n": 7, "m": 2},
    "signed": {"protocol": "signed", "n": 4, "m": 2},
    "consistency over signed": {
        "protocol": "interactive-consistency",
        "over": "signed",
        "n": 4,
        "m": 2,
        "inputs": [A, R, A, R],
    },
}


def cast_of(protocol: str, strategy: str) -> dict[str, Any]:
    """Two traitors, the commander one of them."""
    return PROTOCOLS[protocol] | {"traitors": dict.fromkeys((0, 3), TRAITORS[strategy])}


def files(run: Path) -> dict[str, bytes]:
    """What a run directory holds of the generals themselves: journals, keys, verdict."""
    kept = [*sorted(run.glob("*.journal")), run / "roster.json", run / "scenario.yaml"]
    return {path.name: path.read_bytes() for path in kept}


@pytest.mark.parametrize("strategy", TRAITORS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_same_scenario_and_seed_give_the_same_bytes(
    protocol: str, strategy: str, tmp_path: Path
) -> None:
    fields = cast_of(protocol, strategy)
    first, second = (play(**fields, seed=5, out=tmp_path) for _ in range(2))
    assert first.path is not None
    assert second.path is not None
    assert first.path != second.path
    assert files(first.path) == files(second.path)
    assert len(files(first.path)) == fields["n"] + 2
    assert first.decided == second.decided
    assert first.mustered.run == second.mustered.run


@pytest.mark.parametrize("strategy", sorted(TRAITORS.keys() - {"random", "by chance", "malformer"}))
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_another_seed_gives_other_keys_and_the_same_decisions(protocol: str, strategy: str) -> None:
    first, second = (play(**cast_of(protocol, strategy), seed=seed) for seed in (5, 6))
    keys = [set(r.mustered.roster.signing_publics().values()) for r in (first, second)]
    assert not keys[0] & keys[1]
    assert first.mustered.run != second.mustered.run
    assert first.decisions == second.decisions
    assert first.verdict == second.verdict
    assert messages(first) == messages(second)
    assert refused(first) == refused(second)


RUN_ELSEWHERE = """
from tests.simulated.test_determinism import cast_of
from tests.stage import play
records = play(**cast_of("consistency over signed", "two-faced")).transcript.records
print(*(records[general].head.hex() for general in sorted(records)))
"""


def test_another_process_gives_the_same_bytes() -> None:
    """Text hashes to other numbers in each of the two, so that a set has another order there."""
    heads = [
        subprocess.run(
            [sys.executable, "-c", RUN_ELSEWHERE],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    ]
    records = play(**cast_of("consistency over signed", "two-faced")).transcript.records
    assert heads[0] == heads[1]
    assert heads[0].split() == [records[g].head.hex() for g in sorted(records)]


def test_another_seed_gives_another_chance() -> None:
    """The seed reaches the traitor who lies by chance: some seed gives other lies than seed 0."""
    fields = PROTOCOLS["oral"] | {"traitors": {0: "random"}}
    told = {tuple(obeyed(play(**fields, seed=seed)).values()) for seed in range(8)}
    assert told == {(A,) * 6, (R,) * 6}


def test_a_run_id_commits_to_the_scenario_and_the_seed() -> None:
    runs = {
        play("signed", 3, 1, order=order, seed=seed, delta=delta).mustered.run
        for order in (A, R)
        for seed in (1, 2)
        for delta in (0.5, 0.6)
    }
    assert len(runs) == 8
