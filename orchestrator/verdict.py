"""What a run's promises came to: held, broken, vacuous or unknown, and whether they were owed.

Pure functions of the brief, the faulty, the inputs and the decisions. IC1 and IC2 are the paper's
(section 1), over the loyal generals; termination is that every loyal general decides.

A decision that combines n values has its own reading of IC2, since no commander gave an order:
of a vector, each loyal general's entry is his own value; of a median, it lies within what loyal
generals measured; of a majority, it is the loyal generals' value where they all have one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from node.orders import Brief, Combiner, Decision, Domain, GeneralId, Value
from node.protocols import catalogue
from orchestrator.assumptions import any_cover, smallest_covers
from orchestrator.faults import Link
from orchestrator.scenario import Outcome, Standing

#: The gravest first.
_GRAVITY = {
    outcome: rank
    for rank, outcome in enumerate(
        (Outcome.VIOLATION, Outcome.OUT_OF_MODEL, Outcome.UNKNOWN, Outcome.PASS)
    )
}
#: The smallest sets of generals at fault are searched up to this size: their number doubles with
#: each more, and so many are beyond what anything here tolerates.
COVER_MAX = 8


@dataclass(frozen=True)
class Property:
    """One promise: what became of it, and why, in a few words."""

    status: Standing
    reason: str


@dataclass(frozen=True)
class Verdict:
    """The judgement of one run. `not_owed`: why its promises were not owed, None if they were.
    `lost`: who is loyal as far as anyone knows, and whose decision or journal is missing."""

    outcome: Outcome
    properties: Mapping[str, Property]
    faulty: tuple[GeneralId, ...]
    not_owed: str | None
    lost: tuple[GeneralId, ...] = ()
    #: Why each of `faulty` counts as such, where he was no traitor from the start.
    charges: Mapping[GeneralId, str] = field(default_factory=dict)
    #: Faults that were to be borne and were not inflicted.
    unborne: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The verdict in one sentence."""
        broken = [f"{name.upper()}: {p.reason}" for name, p in self._with(Standing.BROKEN)]
        open_ = [f"{name.upper()}: {p.reason}" for name, p in self._with(Standing.UNKNOWN)]
        if broken:
            owed = f"not owed: {self.not_owed}" if self.not_owed else "owed, and broken"
            owed += self._charged()
            if self.outcome is Outcome.UNKNOWN:
                owed = f"owed or not, nobody knows: {_list(self.lost)} is lost, and may be faulty"
            return f"broken ({'; '.join(broken)}); {owed}"
        if self.lost and not open_:
            open_.append(f"the journal of {_list(self.lost)} is missing")
        open_ += [f"not inflicted: {what}" for what in self.unborne]
        if open_:
            return f"unknown ({'; '.join(open_)})"
        if self.not_owed:
            return f"every promise held, though not owed: {self.not_owed}{self._charged()}"
        return f"every promise held{self._charged()}"

    def _charged(self) -> str:
        """Who is faulty without having been a traitor from the start."""
        told = "; ".join(f"{general} {why}" for general, why in sorted(self.charges.items()))
        return f" ({told})" if told else ""

    def _with(self, status: Standing) -> list[tuple[str, Property]]:
        return [(name, p) for name, p in self.properties.items() if p.status is status]


@dataclass(frozen=True)
class Case:
    """What there is to judge. `decisions` lacks a general who is lost, and maps one to None who
    ended without deciding; `inputs` are the generals' own values, the commander's his order.
    `unrecorded`: who handed in no journal, so that nobody can check what he did.

    `faulty` are traitors and those whom chaos ended, `charges` says why of the latter. `struck` are
    whom it hit in passing, `harmed` the links on which something loyal went amiss: they are charged
    to generals here. `unborne` is what was to be inflicted and was not, `forged` why a signature
    proves nothing here."""

    brief: Brief
    faulty: frozenset[GeneralId]
    inputs: Mapping[GeneralId, Value]
    decisions: Mapping[GeneralId, Decision | None]
    unrecorded: frozenset[GeneralId] = frozenset()
    charges: Mapping[GeneralId, str] = field(default_factory=dict)
    struck: frozenset[GeneralId] = frozenset()
    harmed: frozenset[Link] = frozenset()
    unborne: tuple[str, ...] = ()
    forged: str | None = None

    @property
    def loyal(self) -> tuple[GeneralId, ...]:
        return tuple(g for g in range(self.brief.n) if g not in self.faulty)

    @property
    def obeying(self) -> tuple[GeneralId, ...]:
        """The loyal lieutenants; all loyal generals where none commands, or two are equals."""
        if self.brief.protocol == catalogue.TWO_GENERALS:
            return self.loyal
        return tuple(g for g in self.loyal if g != self.brief.commander)

    @property
    def abstaining(self) -> frozenset[GeneralId]:
        """Who ended without deciding where the rules allow that none of them does."""
        if not catalogue.played(self.brief).may_abstain or self.brief.commander not in self.faulty:
            return frozenset()
        return frozenset(g for g in self.loyal if g in self.decisions and self.decisions[g] is None)


def judge(case: Case) -> Verdict:
    """The gravest judgement of all readings of who was at fault: broken if broken under any."""
    return min((_judged(reading) for reading in readings(case)), key=lambda v: _GRAVITY[v.outcome])


def readings(case: Case) -> list[Case]:
    """The case under each smallest set of generals that explains every link on which something
    went amiss. Whom chaos struck is charged first, with all that his links did to him.

    Of two generals none is charged: that nobody betrays and links lose is what they are about."""
    if case.brief.protocol == catalogue.TWO_GENERALS:
        return [case]
    links = _unexplained(case.harmed, case.faulty)
    struck = {g for link in links for g in link if g in case.struck}
    told = dict.fromkeys(struck, "was struck")
    case = replace(case, faulty=case.faulty | struck, charges={**case.charges, **told})
    links = _unexplained(links, case.faulty)
    if not links:
        return [case]
    covers = smallest_covers(links, COVER_MAX) or [any_cover(links)]
    return [_charged(case, links, cover) for cover in covers]


def _unexplained(links: frozenset[Link], faulty: frozenset[GeneralId]) -> frozenset[Link]:
    return frozenset(link for link in links if not faulty & set(link))


def _charged(case: Case, links: frozenset[Link], cover: frozenset[GeneralId]) -> Case:
    """The case where `cover` is to blame for what went amiss on the links."""
    told: dict[GeneralId, str] = {}
    for general in cover:
        amiss = sorted(f"{a} -> {b}" for a, b in links if general in (a, b))
        more = f" and {len(amiss) - 3} more" if len(amiss) > 3 else ""
        told[general] = f"answers for {', '.join(amiss[:3])}{more}"
    return replace(case, faulty=case.faulty | cover, charges={**case.charges, **told})


def _judged(case: Case) -> Verdict:
    properties = _properties(case)
    not_owed = why_not_owed(case)
    lost = tuple(g for g in case.loyal if g in case.unrecorded or g not in case.decisions)
    if _is_any_broken(properties):
        outcome = Outcome.OUT_OF_MODEL if not_owed else Outcome.VIOLATION
        if outcome is Outcome.VIOLATION and not _is_violation_without(lost, case):
            outcome = Outcome.UNKNOWN
    elif lost or Standing.UNKNOWN in {p.status for p in properties.values()} or case.unborne:
        outcome = Outcome.UNKNOWN
    else:
        outcome = Outcome.PASS
    faulty = tuple(sorted(case.faulty))
    return Verdict(outcome, properties, faulty, not_owed, lost, case.charges, case.unborne)


def _is_violation_without(lost: tuple[GeneralId, ...], case: Case) -> bool:
    """Whether a promise is owed and broken even if who is lost is taken for faulty."""
    harsher = replace(case, faulty=case.faulty | set(lost))
    return why_not_owed(harsher) is None and _is_any_broken(_properties(harsher))


def _properties(case: Case) -> dict[str, Property]:
    return {"ic1": ic1(case), "ic2": ic2(case), "termination": termination(case)}


def _is_any_broken(properties: Mapping[str, Property]) -> bool:
    return any(p.status is Standing.BROKEN for p in properties.values())


def why_not_owed(case: Case) -> str | None:
    """Why the protocol promises nothing here: too many traitors, or too few generals."""
    if case.forged is not None:
        return f"A4 is broken: {case.forged}"
    if case.brief.protocol == catalogue.TWO_GENERALS and case.harmed:
        return "A1 is broken, and without it two generals cannot agree for certain"
    return catalogue.why_not_owed(case.brief, case.faulty)


def ic1(case: Case) -> Property:
    """IC1: all loyal lieutenants obey the same order."""
    if len(case.obeying) < 2:
        return Property(Standing.VACUOUS, "fewer than two loyal generals have to agree")
    if case.abstaining.issuperset(case.obeying):
        return Property(Standing.HELD, "none decides, as a traitorous commander can bring about")
    known = _known(case, case.obeying)
    for general, decision in known:
        first, other = known[0]
        if decision != other:
            told = f"{first} decides {text(other)} and {general} {text(decision)}"
            return Property(Standing.BROKEN, told)
    if len(known) < len(case.obeying):
        return _unknown(case, case.obeying)
    return Property(Standing.HELD, f"all decide {text(known[0][1])}")


def ic2(case: Case) -> Property:
    """IC2: if the commander is loyal, every loyal lieutenant obeys his order."""
    if case.brief.commander is None:
        return _validity(case)
    if case.brief.protocol == catalogue.TWO_GENERALS and case.harmed:
        return Property(Standing.VACUOUS, "a message was lost, and nobody has to attack")
    if case.brief.commander in case.faulty:
        return Property(Standing.VACUOUS, "the commander is a traitor")
    if not case.obeying:
        return Property(Standing.VACUOUS, "no lieutenant is loyal")
    order = case.inputs[case.brief.commander]
    owed = catalogue.owed_order(case.brief, order)
    wanted = f"the loyal commander's order was {text(order)}"
    if owed != order:
        wanted = f"the sensor is loyal and reads {text(order)}, which makes {text(owed)}"
    return _each(case, lambda decision: decision == owed, wanted)


def termination(case: Case) -> Property:
    """Every loyal general decides."""
    if not case.loyal:
        return Property(Standing.VACUOUS, "no general is loyal")
    stuck = [g for g in case.loyal if g in case.decisions and case.decisions[g] is None]
    if case.abstaining.issuperset(case.loyal):
        return Property(Standing.VACUOUS, "the commander is a traitor, and no general decides")
    if stuck:
        return Property(Standing.BROKEN, f"{_list(stuck)} never decided")
    if any(g not in case.decisions for g in case.loyal):
        return _unknown(case, case.loyal)
    return Property(Standing.HELD, "every loyal general decided")


def text(decision: object) -> str:
    """A value or a vector for people: whole numbers without their point."""
    if isinstance(decision, tuple | list):
        return "(" + ", ".join(map(text, decision)) + ")"
    if decision is None:
        return "nothing"
    if isinstance(decision, float) and decision.is_integer():
        return str(int(decision))
    return str(decision)


def _validity(case: Case) -> Property:
    """IC2 where everyone commanded once: what loyal generals said counts for what it is."""
    own = {g: case.inputs[g] for g in case.loyal}
    if not own:
        return Property(Standing.VACUOUS, "no general is loyal")
    match case.brief.combiner:
        case Combiner.VECTOR:
            wanted = "each loyal general's entry is his own value"
            return _each(case, lambda v: _holds(v, own, case.brief.n), wanted)
        case Combiner.MEDIAN:
            wanted = "the median lies within what loyal generals measured"
            return _each(case, lambda v: _lies_within(v, own.values(), case.brief.domain), wanted)
        case Combiner.MAJORITY:
            if len(set(own.values())) > 1:
                return Property(Standing.VACUOUS, "the loyal generals differ themselves")
            common = next(iter(own.values()))
            return _each(case, lambda v: v == common, f"all loyal said {text(common)}")


def _lies_within(median: Decision, own: Iterable[Value], domain: Domain) -> bool:
    codes = [domain.code(value) for value in own]
    if isinstance(median, tuple) or not domain.contains(median):
        return False
    return min(codes) <= domain.code(median) <= max(codes)


def _holds(vector: Decision, own: Mapping[GeneralId, Value], n: int) -> bool:
    if not isinstance(vector, tuple) or len(vector) != n:
        return False
    return all(vector[g] == value for g, value in own.items())


def _each(case: Case, test: Callable[[Decision], bool], wanted: str) -> Property:
    """Held if every obeying general's decision passes the test, which `wanted` puts in words."""
    known = _known(case, case.obeying)
    for general, decision in known:
        if not test(decision):
            return Property(Standing.BROKEN, f"{wanted}, but {general} decides {text(decision)}")
    if len(known) < len(case.obeying):
        return _unknown(case, case.obeying)
    return Property(Standing.HELD, wanted)


def _known(case: Case, generals: Sequence[GeneralId]) -> list[tuple[GeneralId, Decision]]:
    found = [(g, case.decisions.get(g)) for g in generals]
    return [(g, decision) for g, decision in found if decision is not None]


def _unknown(case: Case, generals: Sequence[GeneralId]) -> Property:
    missing = [g for g in generals if case.decisions.get(g) is None]
    return Property(Standing.UNKNOWN, f"the decision of {_list(missing)} is missing")


def _list(generals: Sequence[GeneralId]) -> str:
    return ", ".join(map(str, generals))
