"""Campaigns: many runs over a grid, each drawn from its seed, on all cores.

A run of a campaign is drawn as ByzzFuzz draws them (Winter and others, OOPSLA 2023): at most c
process faults, which are traitors who lie in some rounds to some receivers, and at most d network
faults, each of one sender towards some receivers in one round; and as Twins does (Bano and others,
OPODIS 2021), a partition a round. All faults together touch at most m generals, unless more are
asked for: then a broken promise is a bug.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context
from random import Random
from typing import Any, TypeAlias

from node.effects import Reason
from node.journal import Hindered
from node.link_faults import Mishap
from node.orders import GeneralId
from node.protocols import catalogue
from orchestrator.backends.simulation import Simulation
from orchestrator.exitcodes import ExitCode, gravest
from orchestrator.results import Result
from orchestrator.scenario import Outcome, Scenario, ScenarioError, from_fields
from orchestrator.trial import play

#: Runs that a worker plays before it reports: enough that the report costs nothing beside them.
CHUNK = 16
#: Strategies whose parameters the draw can choose; the others take what a user writes.
DRAWN = (
    "flip",
    "parity",
    "silent",
    "random",
    "forger",
    "replayer",
    "delayer",
    "crasher",
    "two-faced",
    "last-round",
    "padder",
    "splicer",
    "twins",
    "slow-loris",
    "flooder",
    "malformer",
)
NETWORK_FAULTS = ("lose", "delay", "duplicate", "reorder", "corrupt", "partition", "pause", "kill")


@dataclass(frozen=True)
class Cell:
    """One cell of the grid: what is played, by how many, against how many."""

    protocol: str
    n: int
    m: int
    over: str | None = None

    def __str__(self) -> str:
        over = f" over {self.over}" if self.over else ""
        return f"{self.protocol}{over}, n={self.n}, m={self.m}"


@dataclass(frozen=True)
class Campaign:
    """What is drawn from. `process_faults` and `network_faults` are ByzzFuzz's c and d; `beyond`
    lets them touch more than m generals."""

    cells: tuple[Cell, ...]
    strategies: tuple[str, ...] = DRAWN
    process_faults: int | None = None
    network_faults: int = 2
    chaos: tuple[str, ...] = NETWORK_FAULTS
    beyond: int = 0


@dataclass(frozen=True)
class Finding:
    """One run: its seed, what it came to, why, and what it exercised."""

    seed: int
    cell: str
    outcome: Outcome
    why: str
    is_audited: bool = True
    #: A loyal general's signature on what he never signed: nobody here has his key.
    is_forged: bool = False
    exercised: frozenset[str] = frozenset()
    #: Where the run was left as a scenario.
    files: list[str] = field(default_factory=list, compare=False)

    @property
    def is_failure(self) -> bool:
        is_bad = self.outcome in (Outcome.VIOLATION, Outcome.UNKNOWN)
        return is_bad or self.is_forged or not self.is_audited

    def told(self) -> str:
        return self.why if self.is_audited else f"the audit failed; {self.why}"


@dataclass
class Summary:
    """What a campaign came to, cell by cell."""

    cells: dict[str, Counter[Outcome]] = field(default_factory=dict)
    failures: list[Finding] = field(default_factory=list)
    exercised: set[str] = field(default_factory=set)

    def add(self, finding: Finding) -> None:
        self.cells.setdefault(finding.cell, Counter())[finding.outcome] += 1
        self.exercised |= finding.exercised
        if finding.is_failure:
            self.failures.append(finding)

    def merge(self, other: Summary) -> None:
        """Adds what another campaign came to."""
        for cell, counts in other.cells.items():
            self.cells.setdefault(cell, Counter()).update(counts)
        self.failures += other.failures
        self.exercised |= other.exercised

    def exit_code(self) -> ExitCode:
        """The gravest of what went wrong."""
        found = []
        for failure in self.failures:
            if not failure.is_audited:
                found.append(ExitCode.AUDIT_FAILED)
            elif failure.outcome is Outcome.VIOLATION or failure.is_forged:
                found.append(ExitCode.PROMISE_BROKEN)
            else:
                found.append(ExitCode.UNDECIDED)
        return gravest(found)

    @property
    def runs(self) -> int:
        return sum(counts.total() for counts in self.cells.values())

    def never_exercised(self, campaign: Campaign | None = None) -> list[str]:
        """What could have happened and never did: strategies, mishaps of links, refusals."""
        strategies = campaign.strategies if campaign else ()
        possible = [f"strategy {name}" for name in strategies]
        possible += [f"link {mishap.value}" for mishap in Mishap]
        possible += [f"refused {reason.value}" for reason in Reason]
        return [name for name in possible if name not in self.exercised]


#: Draws the scenario of a seed; ships to worker processes, so a top-level thing.
Draw: TypeAlias = Callable[[int], Scenario]


def sweep(
    draw: Draw,
    seeds: Iterable[int],
    jobs: int | None = None,
    on_done: Callable[[Finding], None] = lambda finding: None,
) -> Summary:
    """Plays the runs of all seeds in the simulator, on so many cores (all of them)."""
    summary = Summary()
    for finding in _played(draw, seeds, jobs or os.cpu_count() or 1):
        summary.add(finding)
        on_done(finding)
    summary.failures.sort(key=lambda finding: finding.seed)
    return summary


def _played(draw: Draw, seeds: Iterable[int], jobs: int) -> Iterator[Finding]:
    chunks = _chunked(seeds, CHUNK)
    if jobs == 1:
        for chunk in chunks:
            yield from _play_all(draw, chunk)
        return
    # Forked, so that a user's own strategies are there too.
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        waiting = [pool.submit(_play_all, draw, chunk) for chunk in islice(chunks, 4 * jobs)]
        while waiting:
            yield from waiting.pop(0).result()
            for chunk in islice(chunks, 1):
                waiting.append(pool.submit(_play_all, draw, chunk))


def _chunked(seeds: Iterable[int], size: int) -> Iterator[list[int]]:
    left = iter(seeds)
    while chunk := list(islice(left, size)):
        yield chunk


def _play_all(draw: Draw, seeds: list[int]) -> list[Finding]:
    return [found(draw(seed), seed) for seed in seeds]


def found(scenario: Scenario, seed: int) -> Finding:
    """What one run came to."""
    result = play(scenario, Simulation())
    over = scenario.over.value if scenario.over else None
    cell = Cell(scenario.protocol.value, scenario.n, scenario.m, over)
    return Finding(
        seed,
        str(cell),
        result.verdict.outcome,
        result.verdict.sentence(),
        not result.audit.findings,
        result.assumptions["A4"].is_kept is False,
        frozenset(exercised(result)),
    )


def exercised(result: Result) -> Iterator[str]:
    """What a run made happen."""
    for traitor in result.scenario.traitors:
        yield f"strategy {traitor.strategy}"
    for step in result.scenario.chaos:
        if step.promote is not None:
            yield f"strategy {step.promote.strategy}"
    for reason in result.transcript.refusals():
        yield f"refused {reason}"
    for record in result.transcript.records.values():
        for entry in record.entries:
            if isinstance(entry, Hindered):
                yield f"link {entry.mishap.value}"


@dataclass(frozen=True)
class Repeated:
    """Draws one scenario again and again, with another seed each time."""

    scenario: Scenario

    def __call__(self, seed: int) -> Scenario:
        return self.scenario.model_copy(update={"seed": seed})


@dataclass(frozen=True)
class Drawn:
    """Draws the run of a campaign that belongs to a seed."""

    campaign: Campaign

    def __call__(self, seed: int) -> Scenario:
        chance = Random(f"byzantine/1/sweep/{seed}")
        cell = self.campaign.cells[seed % len(self.campaign.cells)]
        while True:
            fields = _fields(self.campaign, cell, chance, seed)
            try:
                return from_fields(fields, f"sweep-{seed}")
            except ScenarioError:
                # Some strategy does not suit this protocol: draw again.
                continue


def _fields(campaign: Campaign, cell: Cell, chance: Random, seed: int) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "name": f"sweep-{seed}",
        "protocol": cell.protocol,
        "n": cell.n,
        "m": cell.m,
        "seed": seed,
    }
    if cell.over is not None:
        fields["over"] = cell.over
    entry = catalogue.PROTOCOLS[cell.protocol]
    orders = ("attack", "retreat")
    if entry.has_commander:
        fields["order"] = chance.choice(orders)
    else:
        fields["inputs"] = [chance.choice(orders) for _ in range(cell.n)]
    most = min(cell.m + campaign.beyond, cell.n)
    hit = chance.sample(range(cell.n), chance.randint(0, most) if most else 0)
    traitors = hit[: campaign.process_faults] if campaign.process_faults is not None else hit
    traitors = traitors[: chance.randint(0, len(traitors))] if campaign.network_faults else traitors
    rounds = entry.rounds(cell.m)
    fields["traitors"] = [_traitor(campaign, cell, chance, g, rounds) for g in sorted(traitors)]
    victims = [g for g in hit if g not in traitors]
    faults = chance.randint(0, campaign.network_faults) if victims and campaign.chaos else 0
    steps = (_misfortune(campaign, cell, chance, victims, rounds) for _ in range(faults))
    fields["chaos"] = list(steps)
    return fields


def _traitor(
    campaign: Campaign, cell: Cell, chance: Random, general: GeneralId, rounds: int
) -> dict[str, Any]:
    strategy = chance.choice(campaign.strategies)
    others = [g for g in range(cell.n) if g != general]
    when: dict[str, Any] = {}
    if chance.random() < 0.3:
        when["rounds"] = sorted(chance.sample(range(1, rounds + 1), chance.randint(1, rounds)))
    if chance.random() < 0.3:
        when["to"] = sorted(chance.sample(others, chance.randint(1, len(others))))
    drawn = {"general": general, "strategy": strategy, "when": when}
    params = _params(strategy, chance, others, rounds)
    return {**drawn, "with": params} if params else drawn


def _params(strategy: str, chance: Random, others: list[GeneralId], rounds: int) -> dict[str, Any]:
    match strategy:
        case "two-faced":
            faces = {g: chance.choice(("attack", "retreat", None)) for g in others}
            told = {
                value: [g for g, face in faces.items() if face == value]
                for value in ("attack", "retreat")
            }
            return {"faces": {value: who for value, who in told.items() if who}}
        case "crasher":
            return {"round": chance.randint(1, rounds), "after": chance.randrange(len(others))}
        case "delayer":
            late_ms = {g: chance.choice((-100.0, 50.0, 300.0, 5000.0)) for g in others}
            return {"late_ms": chance.choice((50.0, late_ms))}
        case "flooder":
            return {"frames": 5}
        case _:
            return {}


def _misfortune(
    campaign: Campaign, cell: Cell, chance: Random, victims: list[GeneralId], rounds: int
) -> dict[str, Any]:
    """One network fault: of one general whom it may cost, in one round."""
    victim, round = chance.choice(victims), chance.randint(1, rounds)
    others = [g for g in range(cell.n) if g != victim]
    some = sorted(chance.sample(others, chance.randint(1, len(others))))
    kind = chance.choice(campaign.chaos)
    match kind:
        case "partition":
            return {"at": f"round {round}", "partition": [others, [victim]], "for": "1 round"}
        case "pause":
            return {"at": f"round {round}", "pause": victim, "for": "1 round"}
        case "kill":
            return {"at": f"round {round}", "kill": victim}
        case "delay":
            amount: Any = chance.choice(("50ms", "300ms", "uniform 1ms 800ms", "exponential 200ms"))
        case _:
            amount = chance.choice((0.5, 1))
    ends = {"from": victim, "to": some} if chance.random() < 0.5 else {"from": some, "to": victim}
    return {"at": "round 1", "links": {**ends, "rounds": [round], kind: amount}}
