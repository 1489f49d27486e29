"""What needs several fields at once: every check is a function of the fields that it names.

A check runs where all the fields in its signature are known, that is, written without a mistake or
given their default. So one wrong field silences only what cannot be said without it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeAlias

from node.control import Role
from node.effects import Milestone
from node.orders import (
    ATTACK,
    DOMAIN_VALUES_MAX,
    RETREAT,
    Brief,
    Combiner,
    Numbers,
    Value,
)
from node.protocols import catalogue, tmr, two_generals
from node.signatures import Chains
from node.traitors import Seat, seated, strategy_class
from orchestrator.scenario.completion import DERIVED, Known, fitted
from orchestrator.scenario.document import KEY, Path
from orchestrator.scenario.model import Expect, layout_of
from orchestrator.scenario.problems import shown, suggestion
from orchestrator.scenario.terms import NUMBERS, ON_GRAPHS, WITHOUT_M, Over, Protocol
from orchestrator.scenario.timetable import Step, named
from orchestrator.scenario.written import Entry
from orchestrator.topology import COMPLETE, Edges

#: A run of more paper messages than this is played only by force.
MESSAGES_MAX = 1_000_000

#: What is wrong, and the path of the field to blame.
Flaw: TypeAlias = tuple[Path, str]

_CHECKS: list[Callable[..., Iterator[Flaw]]] = []


def flaws(known: Known) -> Iterator[tuple[Path, str, set[str]]]:
    """Every flaw of the known fields, its path, and the fields that it follows from."""
    for check in _CHECKS:
        needs = inspect.signature(check).parameters
        if all(need in known for need in needs):
            follows = {field for need in needs for field in DERIVED.get(need, (need,))}
            for path, message in check(**{need: known[need] for need in needs}):
                yield path, message, follows


def _check(check: Callable[..., Iterator[Flaw]]) -> Callable[..., Iterator[Flaw]]:
    _CHECKS.append(check)
    return check


# The shape of the run.


@_check
def _required(written: frozenset[str]) -> Iterator[Flaw]:
    for field, what in (("protocol", f"one of {', '.join(Protocol)}"), ("n", "how many generals")):
        if field not in written:
            yield (field,), f"is missing: {what}"


@_check
def _m_is_given(written: frozenset[str], protocol: Protocol) -> Iterator[Flaw]:
    if "m" not in written and protocol not in WITHOUT_M:
        yield ("m",), "is missing: how many traitors the protocol must bear"


@_check
def _m_below_n(n: int, m: int) -> Iterator[Flaw]:
    if m >= n:
        yield ("m",), f"must be below n = {n}, not {m}: not everyone can be a traitor"


@_check
def _commander_exists(n: int, commander: int | None) -> Iterator[Flaw]:
    if commander is not None and commander >= n:
        yield ("commander",), _no_general(commander, n)


@_check
def _commander_begins(protocol: Protocol, commander: int | None) -> Iterator[Flaw]:
    if protocol in (Protocol.TMR, Protocol.TWO_GENERALS) and commander:
        yield (
            ("commander",),
            f"must be 0 for {protocol}, not {commander}: others have their parts",
        )


@_check
def _fields_of_the_protocol(written: frozenset[str], protocol: Protocol) -> Iterator[Flaw]:
    if protocol.has_commander:
        foreign = {
            "inputs": "only the commander has an order: write `order`",
            "combiner": "it ends with a single order, there is nothing to combine",
        }
    else:
        foreign = dict.fromkeys(("commander", "order"), "every general has one: write `inputs`")
    if protocol not in (Protocol.INTERACTIVE_CONSISTENCY, Protocol.TMR):
        foreign["over"] = "only interactive-consistency and tmr are played over another protocol"
    if protocol is not Protocol.TWO_GENERALS:
        foreign["messages"] = "only two-generals counts them: as many rounds as m asks for"
    for field in sorted(foreign.keys() & written):
        yield (field,), f"is no field of {protocol}: {foreign[field]}"


@_check
def _two_generals_are_two(
    protocol: Protocol, n: int, m: int, messages: int | None, written: frozenset[str]
) -> Iterator[Flaw]:
    if protocol is not Protocol.TWO_GENERALS:
        return
    if n != 2:
        yield ("n",), f"must be 2 for two-generals, not {n}"
    if m:
        yield ("m",), f"must be 0 for two-generals, not {m}: links lose, nobody betrays"
    if "messages" not in written:
        yield ("messages",), "is missing: how many messages go to and fro"
    elif messages is not None and not 1 <= messages <= two_generals.MESSAGES_MAX:
        yield ("messages",), f"must be 1 to {two_generals.MESSAGES_MAX}, not {messages}"


@_check
def _tmr_is_triple(protocol: Protocol, n: int, m: int) -> Iterator[Flaw]:
    if protocol is not Protocol.TMR:
        return
    if n <= tmr.INPUT_SIDE:
        yield ("n",), f"must be at least 5 for tmr, not {n}: a sensor, three replicas, voters"
    if m != 1:
        yield ("m",), f"must be 1 for tmr, not {m}: three replicas bear one that is wrong"


@_check
def _exchange_has_no_vector(protocol: Protocol, combiner: Combiner | None) -> Iterator[Flaw]:
    if protocol is Protocol.EXCHANGE and combiner is Combiner.VECTOR:
        yield ("combiner",), "must be majority or median: an exchange agrees on no vector"


@_check
def _few_enough_messages(
    protocol: Protocol, n: int, m: int, brief: Brief, force: bool
) -> Iterator[Flaw]:
    count = catalogue.messages(brief)
    if count > MESSAGES_MAX and not force:
        taken, most = _grouped(count), _grouped(MESSAGES_MAX)
        yield (
            ("m",),
            f"{protocol} with n = {n}, m = {m} takes {taken} messages, more than {most}: "
            "--force or `force: true` plays it all the same",
        )


def _grouped(count: int) -> str:
    text = f"{count:,}".replace(",", " ")
    return text if len(text) < 40 else f"about 10^{len(str(count)) - 1}"


# Orders.


@_check
def _distinct_values(values: Any) -> Iterator[Flaw]:
    if values == NUMBERS:
        return
    if not 2 <= len(values) <= DOMAIN_VALUES_MAX:
        yield ("values",), f"must be 2 to {DOMAIN_VALUES_MAX} values, not {len(values)}"
        return
    for index, value in enumerate(values):
        if value in values[:index]:
            yield ("values", index), f"{shown(value)} equals a value before it"


@_check
def _a_default(values: Any, written: frozenset[str]) -> Iterator[Flaw]:
    if "default" not in written and values != NUMBERS and RETREAT not in values:
        yield ("default",), f"is missing: which of {_listed(values)} stands where none was heard"


@_check
def _default_in_domain(values: Any, default: Value) -> Iterator[Flaw]:
    yield from _outside(("default",), default, values)


@_check
def _an_order(values: Any, written: frozenset[str], protocol: Protocol) -> Iterator[Flaw]:
    no_attack = values == NUMBERS or ATTACK not in values
    if protocol.has_commander and "order" not in written and no_attack:
        yield ("order",), "is missing: what the commander orders"


@_check
def _order_in_domain(values: Any, order: Value | None) -> Iterator[Flaw]:
    if order is not None:
        yield from _outside(("order",), order, values)


@_check
def _inputs_for_all(written: frozenset[str], protocol: Protocol) -> Iterator[Flaw]:
    if not protocol.has_commander and "inputs" not in written:
        yield ("inputs",), "is missing: what each general has, a list, a mapping, or one for all"


@_check
def _inputs_by_general(n: int, inputs: Any) -> Iterator[Flaw]:
    if not isinstance(inputs, dict):
        return
    missing = [str(general) for general in range(n) if general not in inputs]
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        yield ("inputs",), f"n = {n} generals need one each: none for {some}"
    for general in inputs:
        if general >= n:
            yield ("inputs", general, KEY), _no_general(general, n)


@_check
def _inputs_in_domain(values: Any, inputs: Any) -> Iterator[Flaw]:
    if isinstance(inputs, dict):
        for general, value in inputs.items():
            yield from _outside(("inputs", general), value, values)
    elif inputs is not None:
        yield from _outside(("inputs",), inputs, values)


def _outside(path: Path, value: Any, values: Any) -> Iterator[Flaw]:
    """The flaw of a value that the domain does not hold."""
    if values == NUMBERS:
        if not Numbers().contains(fitted(value, Numbers())):
            yield path, f"must be a number, as all values are, not {shown(value)}"
        return
    if not any(value == one and type(value) is type(one) for one in values):
        near = suggestion(value, values)
        yield path, f"must be one of {_listed(values)}, not {shown(value)}{near}"


def _listed(values: Any) -> str:
    some = ", ".join(shown(value) for value in values[:8])
    return f"{some}, ..." if len(values) > 8 else some


# Traitors.


@_check
def _traitors_exist(n: int, traitors: dict[Any, Entry]) -> Iterator[Flaw]:
    for path, general in _who(traitors):
        if general >= n:
            yield path, _no_general(general, n)


@_check
def _traitors_once(traitors: dict[Any, Entry]) -> Iterator[Flaw]:
    seen: set[int] = set()
    for path, general in _who(traitors):
        if general in seen:
            yield path, f"general {general} is a traitor already"
        seen.add(general)


@_check
def _strategies_fit(traitors: dict[Any, Entry], brief: Brief) -> Iterator[Flaw]:
    for key, entry in traitors.items():
        if entry.strategy and entry.who():
            for field, message in _misfits(entry.strategy, entry.params, brief, entry.who()):
                yield ("traitors", key, field), message


def _misfits(
    strategy: str, params: Mapping[str, Any], brief: Brief, who: Collection[int]
) -> Iterator[tuple[str, str]]:
    """What is wrong with a strategy's name or parameters, tried on in empty seats.

    What fits one general and no other, as a path that he ends, misfits the first or the last.
    """
    try:
        kind = strategy_class(strategy)
    except ValueError as fault:
        yield "strategy", str(fault)
        return
    chains = Chains(bytes(32), brief.protocol, {})
    for general in dict.fromkeys((min(who), max(who))):
        seat = Seat(me=general, brief=brief, seed=0, keys={}, chains=chains)
        try:
            seated(kind, seat, Role(strategy=strategy, params=dict(params)))
        except ValueError as fault:
            yield "with", str(fault)
            return


@_check
def _triggers_within_rounds(traitors: dict[Any, Entry], rounds: int) -> Iterator[Flaw]:
    for key, entry in traitors.items():
        for index, number in enumerate(entry.when.rounds or ()):
            if number > rounds:
                path = ("traitors", key, "when", "rounds", index)
                yield path, f"there is no round {number}: the run has {rounds}"


@_check
def _triggers_at_generals(traitors: dict[Any, Entry], n: int) -> Iterator[Flaw]:
    for key, entry in traitors.items():
        for index, general in enumerate(entry.when.to or ()):
            path = ("traitors", key, "when", "to", index)
            if general >= n:
                yield path, _no_general(general, n)
            elif entry.who() == (general,):
                yield path, f"general {general} sends nothing to himself"


# Topology.


@_check
def _topology_carries_it(
    protocol: Protocol,
    over: Over | None,
    n: int,
    m: int,
    topology: str | Edges,
    seed: int,
    force: bool,
) -> Iterator[Flaw]:
    if not isinstance(topology, str):
        for index, (one, other) in enumerate(topology):
            if other >= n:
                yield ("topology", index), _no_general(other, n)
            elif one == other:
                yield ("topology", index), f"general {one} has no link to himself"
        if any(other >= n or one == other for one, other in topology):
            return
    if topology != COMPLETE and protocol not in ON_GRAPHS:
        listed = ", ".join(ON_GRAPHS)
        yield ("topology",), f"{protocol} is played where all speak to all: on graphs, {listed}"
        return
    try:
        layout_of(protocol, over, n, m, topology, seed, force)
    except ValueError as fault:
        yield ("topology",), str(fault)


# Chaos.


@_check
def _steps_name_generals(n: int, chaos: dict[Any, Step]) -> Iterator[Flaw]:
    for key, step in chaos.items():
        for general in named(step):
            if general >= n:
                yield ("chaos", key, step.verb), _no_general(general, n)
        if step.at.what == "decided" and step.at.number >= n:
            yield ("chaos", key, "at"), _no_general(step.at.number, n)


@_check
def _steps_name_rounds(rounds: int, chaos: dict[Any, Step]) -> Iterator[Flaw]:
    for key, step in chaos.items():
        if step.at.round is not None and step.at.round > rounds:
            yield ("chaos", key, "at"), f"there is no {step.at}: the run has {rounds}"
        for number in (step.links.rounds or ()) if step.links else ():
            if number > rounds:
                path = ("chaos", key, "links", "rounds")
                yield path, f"there is no round {number}: the run has {rounds}"


@_check
def _steps_without_rounds(protocol: Protocol, chaos: dict[Any, Step]) -> Iterator[Flaw]:
    if protocol is not Protocol.RELIABLE_BROADCAST:
        return
    for key, step in chaos.items():
        if step.at.round is not None and step.at.round > 1:
            yield ("chaos", key, "at"), f"{protocol} has no rounds: name a time, as 20ms"


@_check
def _steps_name_milestones(protocol: Protocol, chaos: dict[Any, Step]) -> Iterator[Flaw]:
    for key, step in chaos.items():
        if step.at.what in (Milestone.VIEW, Milestone.STABLE):
            what = "views" if step.at.what == Milestone.VIEW else "checkpoints"
            yield ("chaos", key, "at"), f"{protocol} has rounds, and no {what}"


@_check
def _partitions_part_all(n: int, chaos: dict[Any, Step]) -> Iterator[Flaw]:
    for key, step in chaos.items():
        if step.partition is None:
            continue
        path, placed = ("chaos", key, "partition"), [g for group in step.partition for g in group]
        if len(step.partition) < 2:
            yield path, "must name two groups or more"
        for general in sorted({g for g in placed if placed.count(g) > 1}):
            yield path, f"general {general} is in two groups"
        missing = [str(g) for g in range(n) if g not in placed]
        if missing:
            some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            yield path, f"every general is in some group: {some} in none"


@_check
def _cuts_cut_something(chaos: dict[Any, Step]) -> Iterator[Flaw]:
    for key, step in chaos.items():
        if step.cut is not None and len({*step.cut.senders, *step.cut.receivers}) < 2:
            yield ("chaos", key, "cut"), "nobody has a link to himself"


@_check
def _promotions_fit(chaos: dict[Any, Step], brief: Brief, rounds: int) -> Iterator[Flaw]:
    for key, step in chaos.items():
        if step.promote is None:
            continue
        for field, message in _misfits(
            step.promote.strategy, step.promote.params, brief, step.promote.general
        ):
            yield ("chaos", key, "promote", field), message
        for number in step.promote.when.rounds or ():
            if number > rounds:
                path = ("chaos", key, "promote", "when")
                yield path, f"there is no round {number}: the run has {rounds}"


def _who(traitors: dict[Any, Entry]) -> Iterator[tuple[Path, int]]:
    for key, entry in traitors.items():
        if entry.general is not None:
            yield ("traitors", key, "general"), entry.general
        for index, general in enumerate(entry.generals or ()):
            yield ("traitors", key, "generals", index), general


def _no_general(general: int, n: int) -> str:
    return f"there is no general {general}: n = {n} are 0 to {n - 1}"


# What is expected.


@_check
def _expected_generals_exist(expect: Expect, n: int) -> Iterator[Flaw]:
    for field in ("decisions", "tallies"):
        for general in getattr(expect, field):
            if general >= n:
                yield ("expect", field, general, KEY), _no_general(general, n)


@_check
def _expected_decisions(expect: Expect, values: Any, combiner: Combiner | None) -> Iterator[Flaw]:
    for general, decision in expect.decisions.items():
        path = ("expect", "decisions", general)
        if decision is None:
            continue
        if isinstance(decision, tuple) is not (combiner is Combiner.VECTOR):
            what = "a list of n values" if combiner is Combiner.VECTOR else "one value"
            yield path, f"must be {what} or null, not {shown(decision)}"
        elif isinstance(decision, tuple):
            for index, value in enumerate(decision):
                yield from _outside((*path, index), value, values)
        else:
            yield from _outside(path, decision, values)


@_check
def _expected_vectors(expect: Expect, n: int) -> Iterator[Flaw]:
    for general, decision in expect.decisions.items():
        if isinstance(decision, tuple) and len(decision) != n:
            path = ("expect", "decisions", general)
            yield path, f"must have n = {n} values, not {len(decision)}"


@_check
def _expected_tallies(expect: Expect, values: Any) -> Iterator[Flaw]:
    for general, tally in expect.tallies.items():
        for value in tally:
            yield from _outside(("expect", "tallies", general, value, KEY), value, values)


@_check
def _expected_messages(expect: Expect, rounds: int) -> Iterator[Flaw]:
    counts = expect.messages
    if isinstance(counts, tuple) and len(counts) != rounds:
        yield ("expect", "messages"), f"must have one count a round, {rounds} and not {len(counts)}"
