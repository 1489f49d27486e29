"""What follows from the fields that were written: defaults, the domain, and the whole scenario."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from node.orders import (
    ATTACK,
    RETREAT,
    Brief,
    Combiner,
    Domain,
    Enumerated,
    Numbers,
    Value,
)
from orchestrator.scenario.model import Expect, Scenario, Traitor, layout_of
from orchestrator.scenario.model import rounds as rounds_of
from orchestrator.scenario.terms import NUMBERS, Over, Protocol
from orchestrator.scenario.written import Entry
from orchestrator.topology import COMPLETE, Layout

#: Fields by name, as far as they could be read or follow from others.
Known: TypeAlias = dict[str, Any]

#: What is worked out of other fields, for those who ask which field is to blame.
DERIVED = {
    "domain": ("values", "default"),
    "rounds": ("protocol", "m", "messages"),
    "brief": ("protocol", "n", "m", "values", "default"),
}


def completed(fields: Known, written: frozenset[str]) -> Known:
    """The fields with the defaults of those that were not written, and what follows from them."""
    unwritten: Known = {
        "seed": 1,
        "delta": 0.5,
        "messages": None,
        "traitors": {},
        "topology": COMPLETE,
        "chaos": {},
        "coalition": True,
        "accountable": False,
        "force": False,
    }
    unwritten |= {"summary": "", "reference": (), "expect": Expect(), "values": (RETREAT, ATTACK)}
    known: Known = {**unwritten, **_by_protocol(fields.get("protocol")), **fields}
    known = {name: one for name, one in known.items() if name in fields or name not in written}
    known["written"] = written
    _complete_orders(known)
    _complete_rounds(known)
    return known


def fitted(value: Any, domain: Domain) -> Any:
    """A value as the domain spells it: among numbers, 9 is 9.0."""
    if isinstance(domain, Numbers) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _by_protocol(protocol: Protocol | None) -> Known:
    commanded = {"commander": 0, "over": None, "combiner": None, "inputs": None}
    nobody = {"commander": None, "order": None, "over": None}
    match protocol:
        case Protocol.EXCHANGE:
            return {**nobody, "m": 1, "combiner": Combiner.MAJORITY}
        case Protocol.INTERACTIVE_CONSISTENCY:
            return {**nobody, "over": Over.ORAL, "combiner": Combiner.VECTOR}
        case Protocol.TMR:
            return {**commanded, "m": 1}
        case Protocol.TWO_GENERALS:
            return {**commanded, "m": 0}
        case None:
            return {}
        case _:
            return commanded


def _complete_orders(known: Known) -> None:
    """The domain, its default, and the commander's order, each where it can be known."""
    values, written = known.get("values"), known["written"]
    if values is None:
        return
    if "default" not in written and values == NUMBERS:
        known["default"] = 0.0
    elif "default" not in written and RETREAT in values:
        known["default"] = RETREAT
    if "default" in known:
        domain = _domain(values, known["default"])
        if domain is not None:
            known["domain"] = domain
            known["default"] = domain.default
    if "order" not in known and "order" not in written and values != NUMBERS and ATTACK in values:
        known["order"] = ATTACK


def _domain(values: Any, default: Value) -> Domain | None:
    """The domain, or None where a check will say why there is none."""
    try:
        if values == NUMBERS:
            number = fitted(default, Numbers())
            return Numbers(default=number) if Numbers().contains(number) else None
        return Enumerated(values=tuple(values), default=default)
    except ValueError:
        return None


def _complete_rounds(known: Known) -> None:
    laid = _laid_out(known)
    reach = laid.reach if laid else 1
    if "protocol" in known and "m" in known and "topology" in known:
        over, messages = known.get("over"), known.get("messages")
        known["rounds"] = rounds_of(known["protocol"], over, known["m"], messages, reach)
    if {"protocol", "n", "m", "domain"} <= known.keys():
        known["brief"] = Brief(
            protocol=known["protocol"].value,
            n=known["n"],
            m=known["m"],
            commander=known.get("commander"),
            over=known["over"].value if known.get("over") else None,
            combiner=known.get("combiner") or Combiner.MAJORITY,
            domain=known["domain"],
            delta_s=known.get("delta", 0.5),
            messages=known.get("messages") or 0,
            neighbours=laid.neighbours if laid else (),
            paths=laid.paths if laid else (),
            reach=reach,
        )


def _laid_out(known: Known) -> Layout | None:
    """The graph, where it can be known; where it cannot carry the run, a check will say why."""
    needed = {"protocol", "n", "m", "topology", "seed", "force"}
    if not needed <= known.keys() or ("over" in known["written"] and "over" not in known):
        return None
    try:
        return layout_of(
            known["protocol"],
            known.get("over"),
            known["n"],
            known["m"],
            known["topology"],
            known["seed"],
            known["force"],
        )
    except (ValueError, KeyError, IndexError):
        return None


#: What of an entry each of its traitors gets.
_PLAYED = {"strategy", "params", "when", "conceals"}


def scenario(known: Known, name: str) -> Scenario:
    """The scenario that checked fields spell, complete and with every value as its domain has it.

    What nobody can read in this protocol is left out.
    """
    domain: Domain = known["domain"]
    fields = {field: known[field] for field in Scenario.model_fields if field in known}
    return Scenario(
        **{
            **fields,
            "name": known.get("name", name),
            "values": _all_fitted(known["values"], domain),
            "order": fitted(known["order"], domain),
            "inputs": _inputs(known["inputs"], known["n"], domain),
            "traitors": _traitors(known["traitors"]),
            "chaos": tuple(known["chaos"].values()),
            "expect": _expect(known["expect"], domain),
        }
    )


def _all_fitted(values: Any, domain: Domain) -> Any:
    return values if values == NUMBERS else tuple(fitted(value, domain) for value in values)


def _inputs(inputs: Any, n: int, domain: Domain) -> tuple[Value, ...] | None:
    if inputs is None:
        return None
    by_general = inputs if isinstance(inputs, dict) else dict.fromkeys(range(n), inputs)
    return tuple(fitted(by_general[general], domain) for general in range(n))


def _traitors(entries: Mapping[Any, Entry]) -> tuple[Traitor, ...]:
    found = [
        Traitor.model_validate({**entry.model_dump(by_alias=True, include=_PLAYED), "general": who})
        for entry in entries.values()
        for who in entry.who()
    ]
    return tuple(sorted(found, key=lambda traitor: traitor.general))


def _expect(expect: Expect, domain: Domain) -> Expect:
    decisions = {
        general: tuple(fitted(one, domain) for one in decision)
        if isinstance(decision, tuple)
        else fitted(decision, domain)
        for general, decision in expect.decisions.items()
    }
    tallies = {
        general: {fitted(value, domain): count for value, count in tally.items()}
        for general, tally in expect.tallies.items()
    }
    return expect.model_copy(update={"decisions": decisions, "tallies": tallies})
