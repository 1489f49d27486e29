"""The audit audited: many simulated runs with every strategy, and what became of whom.

*Accuracy*: no loyal general is exposed. *Completeness*: whoever lied and cannot hide it is exposed;
whoever only withheld, and says that he did not, is at least suspected. (PeerReview, section 3.)
Who lied is known from the simulator, which sees what a traitor hands in and what he did.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from typing import Any

from node.journal import Entry, Heard, Lied, Noted
from node.orders import GeneralId, others
from node.traitors import STRATEGIES
from orchestrator.accountability import Indication
from orchestrator.backends.simulation import Simulation
from orchestrator.results import Result
from orchestrator.scenario import Scenario, from_fields
from orchestrator.trial import play

#: Runs that one process plays before it reports.
_BATCH = 25
#: Runs that went wrong and are named, each by its number.
_NAMED_MAX = 20


@dataclass
class Tally:
    """Generals, over all runs. `told`: the strategies that lied, and how often. `wrong`: the runs
    that contradict accuracy or completeness, each with who and why."""

    runs: int = 0
    loyal: int = 0
    loyal_exposed: int = 0
    liars: int = 0
    liars_exposed: int = 0
    withholders: int = 0
    withholders_noticed: int = 0
    told: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the audit was accurate and complete."""
        return not self.wrong

    def add(self, other: Tally) -> None:
        for one in fields(self):
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, int):
                setattr(self, one.name, mine + theirs)
        self.wrong = [*self.wrong, *other.wrong][:_NAMED_MAX]
        for strategy, times in other.told.items():
            self.told[strategy] = self.told.get(strategy, 0) + times


def measured(runs: int, seed: int, progress: Callable[[int], None] = lambda done: None) -> Tally:
    """Plays runs 0 .. runs - 1 of a seed on all cores."""
    batches = [range(at, min(at + _BATCH, runs)) for at in range(0, runs, _BATCH)]
    tally = Tally()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for one in pool.map(_batch, [seed] * len(batches), batches):
            tally.add(one)
            progress(tally.runs)
    return tally


def _batch(seed: int, numbers: range) -> Tally:
    tally = Tally()
    for number in numbers:
        tally.add(one_run(seed, number))
    return tally


def one_run(seed: int, number: int) -> Tally:
    """One drawn run and what its audit says."""
    drawn = dict(drawn_fields(random.Random(f"{seed}/{number}")))
    return judged(from_fields(drawn, "drawn"), f"run {number} of seed {seed}")


def judged(scenario: Scenario, name: str) -> Tally:
    """One accountable run of a scenario and what its audit says; `name` is for what is wrong."""
    stage = _Watched()
    result = play(scenario, stage)
    tally = Tally(runs=1)
    for general in result.reputes:
        _judge(tally, result, stage, general, name)
    return tally


class _Watched(Simulation):
    """A simulation that keeps what everyone truly did, whatever he hands in."""

    def __init__(self) -> None:
        super().__init__()
        self.truth: dict[GeneralId, list[Entry]] = {}

    def collect(self) -> dict[GeneralId, bytes]:
        journals = super().collect()
        self.truth = {general: who.journal.entries for general, who in self._generals.items()}
        return journals


def _judge(tally: Tally, result: Result, stage: _Watched, general: GeneralId, run: str) -> None:
    found = result.reputes[general]
    is_exposed = found.indication is Indication.EXPOSED
    if general not in result.scenario.faulty:
        tally.loyal += 1
        tally.loyal_exposed += is_exposed
        if is_exposed:
            tally.wrong.append(f"{run}: {general} is loyal and exposed: {found.reasons[0]}")
        return
    if not _lied(stage.truth[general]):
        return
    traitor = next(one for one in result.scenario.traitors if one.general == general)
    tally.told[traitor.strategy] = tally.told.get(traitor.strategy, 0) + 1
    if not traitor.conceals or _was_heard(general, result, stage):
        tally.liars += 1
        tally.liars_exposed += is_exposed
        if not is_exposed:
            tally.wrong.append(f"{run}: {general} lied ({traitor.strategy}) and is not exposed")
        return
    is_noticed = found.indication is not Indication.TRUSTED
    tally.withholders += 1
    tally.withholders_noticed += is_noticed
    if not is_noticed:
        tally.wrong.append(f"{run}: {general} withheld ({traitor.strategy}) and is trusted")


def _lied(entries: list[Entry]) -> bool:
    return any(
        isinstance(entry, Lied) or (isinstance(entry, Noted) and entry.text == "crashed")
        for entry in entries
    )


def _was_heard(general: GeneralId, result: Result, stage: _Watched) -> bool:
    """Whether any loyal general entered a frame of his."""
    return any(
        isinstance(entry, Heard) and entry.sender == general
        for other, entries in stage.truth.items()
        if other not in result.scenario.faulty
        for entry in entries
    )


# Runs drawn.


def drawn_fields(chance: random.Random) -> Iterator[tuple[str, Any]]:
    """The fields of a scenario: any protocol, any traitors, open ones and ones that conceal."""
    protocol = chance.choice(("oral", "signed", "exchange", "interactive-consistency"))
    m = chance.choice((1, 2))
    n = chance.randint(max(4, m + 2), 7 if protocol in ("oral", "signed") else 5)
    traitors = chance.sample(range(n), chance.randint(1, min(n - 2, m + 1)))
    yield from {
        "name": "drawn",
        "protocol": protocol,
        "n": n,
        "m": m,
        "seed": chance.randrange(1 << 30),
        "accountable": True,
        "traitors": {me: _drawn_traitor(chance, n, m, me) for me in traitors},
    }.items()
    if protocol in ("oral", "signed"):
        yield "order", chance.choice(("attack", "retreat"))
        yield "commander", chance.choice((0, n - 1))
        return
    yield "inputs", [chance.choice(("attack", "retreat")) for _ in range(n)]
    if protocol == "interactive-consistency":
        yield "over", chance.choice(("oral", "signed"))


def _drawn_traitor(chance: random.Random, n: int, m: int, me: GeneralId) -> Mapping[str, Any]:
    peers = others(range(n), me)
    strategy = chance.choice(sorted(STRATEGIES))
    traitor: dict[str, Any] = {"strategy": strategy, "conceals": chance.random() < 0.5}
    if params := _drawn_params(strategy, chance, peers, m):
        traitor["with"] = params
    if chance.random() < 0.3:
        traitor["when"] = {"to": chance.sample(peers, chance.randint(1, len(peers)))}
    return traitor


def _drawn_params(
    strategy: str, chance: random.Random, peers: tuple[GeneralId, ...], m: int
) -> dict[str, Any]:
    """What a strategy takes; one that is not named here takes nothing or has defaults."""
    match strategy:
        case "two-faced":
            faces = {g: chance.choice(("attack", "retreat")) for g in peers}
            told = {v: [g for g in faces if faces[g] == v] for v in ("attack", "retreat")}
            return {"faces": {value: who for value, who in told.items() if who}}
        case "script":
            say = chance.choice(("attack", "retreat", None))
            return {"lines": [{"round": chance.randint(1, m + 1), "say": say}]}
        case "delayer":
            return {"late_ms": chance.choice((-100.0, 50.0))}
        case "crasher":
            return {"round": chance.randint(1, m + 1), "after": chance.randint(0, 2)}
        case "many-faced":
            return {"values": chance.randint(2, 40)}
        case _:
            return {}
