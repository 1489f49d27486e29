"""The rows of the attack tables, OM1 to OM11 and SM1 to SM23, among real processes.

The tables and what each row must come to are the simulator's; three things differ. "Late" is 50 ms,
since a millisecond is nothing on a busy machine. A frame beyond the limit reaches nobody: the
socket hangs up on its sender, so no general counts it. And a second frame of a round is a
duplicate while the round lasts and late once the first one has ended it: which one depends on the
others, so both are counted together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.backends.fork_client import ForkServer
from orchestrator.backends.processes import Processes
from orchestrator.results import Result
from orchestrator.trial import play
from tests.simulated import test_attacks_oral as oral
from tests.simulated import test_attacks_signed as signed
from tests.stage import accusations, messages, obeyed, refused, scenario

LATE_MS = 50
ROWS = [("oral", row) for row in oral.ROWS] + [("signed", row) for row in signed.ROWS]


@pytest.fixture(scope="module")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as forks:
        yield forks


@pytest.mark.parametrize(("protocol", "row"), ROWS, ids=lambda value: getattr(value, "id", value))
def test_row(protocol: str, row: Any, forks: ForkServer) -> None:
    traitors = {general: _later(lie) for general, lie in row.traitors.items()}
    played = scenario(protocol, row.n, row.m, traitors, **row.fields)
    result = play(played, Processes(None, forks))
    assert obeyed(result) == row.obeyed
    assert messages(result) == row.messages
    assert result.verdict.outcome.value == row.outcome
    assert _counted(refused(result)) == _counted(row.refused)
    assert result.audit.is_clean, result.audit.findings
    assert _proved(result) == getattr(row, "proved", set())


def _proved(result: Result) -> set[int]:
    return set(accusations(result).keys() - result.scenario.faulty)


def _later(lie: Any) -> Any:
    """A lie that is a millisecond late is late by 50 here."""
    if not isinstance(lie, dict) or "late_ms" not in lie.get("with", {}):
        return lie
    return {**lie, "with": {**lie["with"], "late_ms": LATE_MS}}


def _counted(refusals: dict[tuple[int, int, str], int]) -> Counter[tuple[int, int, str]]:
    counts: Counter[tuple[int, int, str]] = Counter()
    for (receiver, sender, reason), times in refusals.items():
        if reason == "oversize":
            continue
        counts[receiver, sender, "late" if reason == "duplicate" else reason] += times
    return counts
