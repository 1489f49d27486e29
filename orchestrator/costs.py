"""What agreement costs: the same story by other rule books, and loyal runs against n and m.

Every number is a run's own ledger in the simulator. There is no second formula to trust.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from node.protocols.catalogue import PROTOCOLS, TMR, TWO_GENERALS
from orchestrator.backends import Backend
from orchestrator.backends.simulation import Simulation
from orchestrator.results import Result
from orchestrator.scenario import Problem, Scenario, ScenarioError, from_fields, override
from orchestrator.trial import play

#: Rule books that solve one problem: a commander's order, and all loyal lieutenants obey the same.
COMPARABLE = tuple(
    name
    for name, entry in PROTOCOLS.items()
    if entry.has_commander and name not in (TMR, TWO_GENERALS)
)


@dataclass(frozen=True)
class Cost:
    """What a run took, all generals together. `verifications` are of signatures."""

    protocol: str
    n: int
    m: int
    rounds: int
    messages: int
    frames: int
    bytes: int
    verifications: int
    ms: float
    outcome: str


def retold(scenario: Scenario, protocols: Iterable[str]) -> list[Scenario]:
    """The scenario under each rule book, without what it expects under its own.

    ScenarioError, with every reason, where what its traitors do makes no sense there.
    """
    told: list[Scenario] = []
    problems: list[Problem] = []
    for protocol in protocols:
        try:
            told.append(override(scenario, f"protocol={protocol}", "expect={}"))
        except ScenarioError as fault:
            problems += fault.problems
    if problems:
        raise ScenarioError(problems)
    return told


def compare(scenarios: Iterable[Scenario], make: Callable[[], Backend]) -> Iterator[Cost]:
    """Plays each, and says what it took."""
    for scenario in scenarios:
        yield cost(play(scenario, make()))


def cost(result: Result) -> Cost:
    ledger = result.transcript.ledger()
    records = result.transcript.records.values()
    return Cost(
        protocol=result.scenario.protocol.value,
        n=result.scenario.n,
        m=result.scenario.m,
        rounds=result.scenario.rounds,
        messages=sum(messages for messages, _, _ in ledger.values()),
        frames=sum(frames for _, frames, _ in ledger.values()),
        bytes=sum(size for _, _, size in ledger.values()),
        verifications=sum(r.closed.verifications for r in records if r.closed),
        ms=round(result.seconds * 1000, 1),
        outcome=result.verdict.outcome.value,
    )


def loyal(protocol: str, n: int, m: int) -> Scenario:
    """A run in which nobody lies. ScenarioError where it would take too many messages."""
    return from_fields({"protocol": protocol, "n": n, "m": m}, f"{protocol}, n = {n}, m = {m}")


def measured(protocol: str, n: int, m: int) -> Cost:
    return cost(play(loyal(protocol, n, m), Simulation()))
