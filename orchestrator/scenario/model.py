"""What a scenario is once it is read: frozen, complete, and true to the rules of its protocol."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PrivateAttr, StrictBool, StrictInt
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from node.orders import Combiner, Domain, Enumerated, GeneralId, Numbers, Value
from node.protocols import catalogue
from node.quorums import (
    combined_generals_min,
    oral_generals_min,
    phase_queen_generals_min,
    signed_generals_min,
)
from orchestrator.scenario.document import Node, from_yaml
from orchestrator.scenario.problems import Problems
from orchestrator.scenario.terms import (
    GENERALS_MAX,
    NUMBERS,
    Count,
    DeltaS,
    ExpectedDecision,
    ExpectedMessages,
    GeneralNumber,
    Line,
    Name,
    OutcomeName,
    Over,
    OverName,
    Protocol,
    ProtocolName,
    ReasonName,
    Scalar,
    StandingName,
    StrategyName,
    Text,
    TopologyOf,
    duration,
)
from orchestrator.scenario.timetable import FROZEN, Step, Trigger, written_step
from orchestrator.topology import COMPLETE, Edges, Layout, layout

#: Text that is written without quotation marks.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Traitor(BaseModel):
    """One traitor. `params` are the strategy's own, as they were written. `conceals`: he keeps a
    log apart for each audience, and hands in the journal of a loyal general."""

    model_config = FROZEN

    general: GeneralNumber
    strategy: StrategyName
    params: dict[str, Any] = Field(default_factory=dict, alias="with")
    when: Trigger = Trigger()
    conceals: StrictBool = False


class Expect(BaseModel):
    """What must come of a run. Only what is named is compared; `refused` counts at least."""

    model_config = FROZEN

    outcome: OutcomeName | None = None
    ic1: StandingName | None = None
    ic2: StandingName | None = None
    termination: StandingName | None = None
    decisions: dict[GeneralNumber, ExpectedDecision] = {}
    tallies: dict[GeneralNumber, dict[Scalar, Count]] = {}
    messages: ExpectedMessages | None = None
    refused: dict[ReasonName, Count] = {}
    exposed: tuple[GeneralNumber, ...] | None = None


class Scenario(BaseModel):
    """A scenario that can be played. Made by `load`, `parse` and `from_fields`, which check it.

    `commander` and `order` are None where every general is a commander, `inputs` where one is;
    `over` is None outside interactive consistency, `combiner` in oral and signed agreement.
    `delta` is in seconds, `inputs` by general, `traitors` by ascending general.
    """

    model_config = FROZEN

    name: Name
    summary: Line = ""
    teaches: Text | None = None
    reference: tuple[Line, ...] = ()
    protocol: ProtocolName
    over: OverName | None = None
    combiner: Combiner | None = None
    n: Annotated[StrictInt, Field(ge=2, le=GENERALS_MAX)]
    m: Count
    commander: GeneralNumber | None = None
    order: Scalar | None = None
    inputs: tuple[Scalar, ...] | None = None
    values: tuple[Scalar, ...] | Literal["numbers"]
    default: Scalar
    messages: Count | None = None
    delta: DeltaS
    seed: Count
    traitors: tuple[Traitor, ...] = ()
    topology: TopologyOf = COMPLETE
    chaos: tuple[Step, ...] = ()
    coalition: StrictBool = True
    accountable: StrictBool = False
    force: StrictBool = False
    expect: Expect = Expect()

    #: As it was written, for `override`: no part of what a scenario is.
    _written: Node | None = PrivateAttr(default=None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scenario) and self.__dict__ == other.__dict__

    def written_as(self, root: Node) -> Scenario:
        """The same, with what it was read from."""
        copy = self.model_copy()
        copy._written = root
        return copy

    def as_written(self) -> Node:
        """What it was read from, else what reading it from would be."""
        problems = Problems()
        root = self._written or from_yaml(self.resolved_yaml(), self.name, problems)
        assert root is not None
        return root

    @property
    def domain(self) -> Domain:
        if self.values == NUMBERS:
            return Numbers(default=float(self.default))
        return Enumerated(values=tuple(self.values), default=self.default)

    @property
    def faulty(self) -> frozenset[GeneralId]:
        """The traitors; chaos may add to them while a run lasts."""
        return frozenset(traitor.general for traitor in self.traitors)

    @property
    def rounds(self) -> int:
        reach = self.layout.reach if self.layout else 1
        return rounds(self.protocol, self.over, self.m, self.messages, reach)

    @property
    def layout(self) -> Layout | None:
        """Who can speak to whom, and by which paths; None where everyone can to everyone."""
        return layout_of(
            self.protocol, self.over, self.n, self.m, self.topology, self.seed, self.force
        )

    @property
    def barriers(self) -> tuple[int, ...]:
        """The rounds that the timetable names: each opens at a barrier, as the first one does."""
        moments = [moment for step in self.chaos for moment in (step.at, step.until) if moment]
        named = {moment.round for moment in moments if moment.round is not None}
        return tuple(sorted(r for r in named if 1 < r <= self.rounds))

    def input_of(self, general: GeneralId) -> Value | None:
        """A general's own order or reading, or None where he has none."""
        if self.inputs is not None:
            return self.inputs[general]
        return self.order if general == self.commander else None

    def warnings(self) -> tuple[str, ...]:
        """Why a promise may not be owed: the scenario is played all the same."""
        return tuple(filter(None, (_below_bound(self), _too_many_traitors(self))))

    def resolved_yaml(self) -> str:
        """Every field spelt out; loads again to an equal scenario, and the run id commits to it."""
        fields = _given(self.model_dump(by_alias=True))
        fields["delta"] = duration(self.delta)
        fields["expect"] = _given(fields["expect"])
        fields["traitors"] = _grouped(self.traitors)
        # Where nothing befalls anyone, and all speak to all, nothing is said of it.
        del fields["chaos"]
        if self.topology == COMPLETE:
            del fields["topology"]
        if self.chaos:
            fields["chaos"] = [written_step(step) for step in self.chaos]
        yaml = YAML(typ="rt", pure=True)
        yaml.default_flow_style = None
        yaml.allow_unicode = True
        yaml.width = 1000
        out = io.StringIO()
        yaml.dump(_plain(fields), out)
        return out.getvalue()


def rounds(
    protocol: Protocol, over: Over | None, m: int, messages: int | None = None, reach: int = 1
) -> int:
    """How many rounds a protocol takes; `reach` is the graph's."""
    under = over.value if over else None
    return catalogue.rounds_of(protocol.value, under, m, messages, reach)


def layout_of(
    protocol: Protocol,
    over: Over | None,
    n: int,
    m: int,
    topology: str | Edges,
    seed: int,
    force: bool,
) -> Layout | None:
    """How a protocol is laid out on a graph. ValueError where it cannot be."""
    is_signed = "signed" in (protocol, over)
    return layout(n, m, topology, seed, is_signed=is_signed, is_forced=force)


def _plain(value: Any) -> Any:
    """The same in nothing but dictionaries, lists and scalars, for a YAML writer."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    value = value.value if isinstance(value, Enum) else value
    if isinstance(value, str) and not _WORD.fullmatch(value):
        # ruamel leaves some text bare that it cannot read again: `:0` as a key, a lone U+0085.
        return DoubleQuotedScalarString(value)
    return value


def _grouped(traitors: Iterable[Traitor]) -> list[dict[str, Any]]:
    """One entry for all who lie alike, so that what is resolved is no longer than what was written.

    Likeness is judged by text: 1 and true are equal, and are not alike.
    """
    alike: dict[str, list[Traitor]] = {}
    for traitor in traitors:
        key = repr((traitor.strategy, traitor.params, traitor.when, traitor.conceals))
        alike.setdefault(key, []).append(traitor)
    return [_entry(group) for group in alike.values()]


def _entry(group: list[Traitor]) -> dict[str, Any]:
    fields = group[0].model_dump(by_alias=True)
    who = [traitor.general for traitor in group]
    del fields["general"]
    named = {"general": who[0]} if len(who) == 1 else {"generals": who}
    return {**named, **fields, "when": _given(fields["when"])}


def _given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that have a value, at this level only: below it, null may be one."""
    return {name: value for name, value in fields.items() if value is not None}


def _below_bound(scenario: Scenario) -> str | None:
    """The theorem that a run is too small for, if there is one."""
    n, m = scenario.n, scenario.m
    signed = Protocol.SIGNED in (scenario.protocol, scenario.over)
    if scenario.protocol in (Protocol.EXCHANGE, Protocol.TMR, Protocol.TWO_GENERALS):
        return None
    if signed and n < signed_generals_min(m):
        return (
            f"n = {n} is below m + 2 = {signed_generals_min(m)}: with signed messages the promises "
            "say nothing unless two generals are loyal (Lamport, Shostak, Pease 1982, section 4)"
        )
    is_combined = scenario.combiner in (Combiner.MAJORITY, Combiner.MEDIAN)
    if signed and is_combined and n < combined_generals_min(m):
        return (
            f"n = {n} is below 2m + 1 = {combined_generals_min(m)}: where loyal generals are not "
            f"more than half, traitors can move a {scenario.combiner}; what breaks is out of model"
        )
    if not signed and n < oral_generals_min(m):
        return (
            f"n = {n} is below 3m + 1 = {oral_generals_min(m)}: with oral messages no protocol can "
            f"keep IC1 and IC2 against {m} traitor{'s' * (m > 1)} (Lamport, Shostak, Pease 1982, "
            "Theorem 1); what breaks is out of model"
        )
    if scenario.protocol is Protocol.PHASE_QUEEN and n < phase_queen_generals_min(m):
        return (
            f"n = {n} is below 4m + 1 = {phase_queen_generals_min(m)}, which two rounds a phase "
            "need (Berman, Garay, Perry 1989); what breaks is out of model"
        )
    if scenario.protocol is Protocol.FLAT_VOTE and m > 1:
        return catalogue.PROTOCOLS[scenario.protocol.value].nothing_owed
    return None


def _too_many_traitors(scenario: Scenario) -> str | None:
    traitors, m = len(scenario.traitors), scenario.m
    if traitors <= m or scenario.protocol is Protocol.EXCHANGE:
        return None
    are = "1 traitor is" if traitors == 1 else f"{traitors} traitors are"
    return f"{are} more than m = {m}: no promise is owed, what breaks is out of model"
