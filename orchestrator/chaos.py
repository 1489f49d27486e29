"""The timetable of misfortunes, played: what befalls whom when, and what came of each step.

A backend tells how far the run has come; here is known what is due then. A step that could not be
carried out, or whose moment never came, is remembered: such a run shows nothing of how it is borne.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from node.control import Role
from node.effects import Milestone
from node.link_faults import LinkRule
from node.orders import GeneralId, others
from orchestrator.backends import BackendError, FaultError
from orchestrator.faults import (
    Cut,
    Disconnect,
    Disturb,
    Fault,
    Kill,
    Link,
    Pause,
    Recast,
    Skew,
    links_of,
)
from orchestrator.scenario.timetable import Moment, Step, described

_What = TypeVar("_What")

#: What `heal: all` leaves: those have words of their own.
_OWN_CURE = (Kill, Recast)


class Stricken(Protocol):
    """What befalls somebody is carried out here: see `Backend`, which has the same words."""

    def elapsed_s(self) -> float: ...

    def why_not(self, fault: Fault) -> str | None: ...

    def inflict(self, fault: Fault) -> None: ...

    def heal(self, fault: Fault) -> None: ...


@dataclass
class Incident:
    """What came of one step: when it happened, in seconds since the start, or why it did not."""

    text: str
    at_s: float | None = None
    failed: str | None = None

    @property
    def was_inflicted(self) -> bool:
        return self.at_s is not None and self.failed is None


@dataclass(frozen=True)
class Toll:
    """Whom chaos hit. `ended` are faulty whatever comes, and why: killed, or traitors for a while.
    `struck` and the ends of `links` are so only where somebody missed something."""

    ended: Mapping[GeneralId, str]
    struck: frozenset[GeneralId]
    links: frozenset[Link]


@dataclass
class Planned:
    """A step, or the end of one, and the moment that it waits for."""

    moment: Moment
    number: int
    undoes: bool = False


@dataclass
class Chaos:
    """The course of one run among n, as its timetable has it. `roles`: who plays what at first."""

    steps: tuple[Step, ...]
    n: int
    backend: Stricken
    roles: Mapping[GeneralId, Role | None] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._steps = self.steps
        self._roles = dict(self.roles)
        self._lasting: list[tuple[int, Fault]] = []
        self._inflicted: list[tuple[int, Fault]] = []
        self.incidents = [Incident(described(step)) for step in self._steps]
        self._planned = [Planned(step.at, number) for number, step in enumerate(self._steps)]
        for number, step in enumerate(self._steps):
            if step.until is not None:
                self._planned.append(Planned(step.until, number, undoes=True))

    def refuse_impossible(self) -> None:
        """BackendError where the backend can never do what the timetable asks for."""
        for number, step in enumerate(self._steps):
            for fault in self._faults(number, step):
                reason = self.backend.why_not(fault)
                if reason is not None:
                    raise BackendError(f"chaos.{number}: {step.verb}: {reason}")

    @property
    def is_over(self) -> bool:
        """Whether every moment has come."""
        return not self._planned

    # What a backend tells.

    def at_barrier(self, round: int) -> None:
        self._take(lambda moment: moment.round == round)

    def decided(self, general: GeneralId) -> None:
        self._take(lambda moment: (moment.what, moment.number) == ("decided", general))

    def reached(self, milestone: Milestone, number: int) -> None:
        self._take(lambda moment: moment.what == milestone and moment.number <= number)

    def due_s(self) -> float:
        due = (one.moment.seconds for one in self._planned if one.moment.what == "elapsed")
        return min(due, default=math.inf)

    def at_time(self, elapsed_s: float) -> None:
        self._take(lambda moment: moment.what == "elapsed" and moment.seconds <= elapsed_s)

    def end(self) -> None:
        """Heals what still lasts, the last first; the killed stay dead, the traitors traitors."""
        for number, fault in reversed(self._lasting):
            if not isinstance(fault, _OWN_CURE):
                self._attempt(number, self.backend.heal, fault)
        self._lasting.clear()
        self._planned = [one for one in self._planned if not one.undoes]
        for one in self._planned:
            self.incidents[one.number].failed = f"{one.moment} never came"

    # What came of it.

    def unborne(self) -> tuple[str, ...]:
        """Why the run shows nothing of some steps."""
        return tuple(f"{one.text}: {one.failed}" for one in self.incidents if one.failed)

    def toll(self) -> Toll:
        """Whom all that was inflicted hit."""
        n = self.n
        ended: dict[GeneralId, str] = {}
        struck: set[GeneralId] = set()
        links: set[Link] = set()
        for number, fault in self._inflicted:
            match fault:
                case Kill(general):
                    ended[general] = "was killed"
                case Recast(general, role):
                    if role is not None:
                        ended.setdefault(general, "turned traitor")
                case Pause(general) | Disconnect(general) | Skew(general):
                    struck.add(general)
                case Cut(cut):
                    links |= cut
                    struck.update(self._steps[number].isolate or ())
                case Disturb(senders, rule):
                    links |= {
                        (sender, receiver)
                        for sender in senders
                        for receiver in rule.receivers or others(range(n), sender)
                    }
        return Toll(ended, frozenset(struck), frozenset(links))

    # How a step is taken.

    def _take(self, is_due: Callable[[Moment], bool]) -> None:
        """Undoes what is to be undone at this moment, and then takes the steps for it."""
        due = [one for one in self._planned if is_due(one.moment)]
        self._planned = [one for one in self._planned if one not in due]
        for one in sorted(due, key=lambda one: (not one.undoes, one.number)):
            if one.undoes:
                self._attempt(one.number, self._undo, one.number)
            else:
                self.incidents[one.number].at_s = self.backend.elapsed_s()
                self._attempt(one.number, self._do, one.number)

    def _attempt(self, number: int, act: Callable[[_What], None], what: _What) -> None:
        try:
            act(what)
        except FaultError as fault:
            self.incidents[number].failed = str(fault)

    def _do(self, number: int) -> None:
        step = self._steps[number]
        if step.heal is not None:
            self._heal_all()
        elif step.restart is not None:
            for general in step.restart:
                self._restart(number, general)
        else:
            for fault in self._faults(number, step):
                self._inflict(number, fault)
        if step.lasting is not None and not step.lasting.rounds:
            until_s = self.backend.elapsed_s() + step.lasting.seconds
            self._planned.append(Planned(Moment("elapsed", seconds=until_s), number, undoes=True))

    def _inflict(self, number: int, fault: Fault) -> None:
        self._inflicted.append((number, fault))
        self.backend.inflict(fault)
        self._lasting.append((number, fault))
        if isinstance(fault, Recast):
            self._roles[fault.general] = fault.role

    def _undo(self, number: int) -> None:
        for one in [one for one in self._lasting if one[0] == number]:
            self._lasting.remove(one)
            self.backend.heal(one[1])
            if isinstance(one[1], Recast):
                self._roles[one[1].general] = one[1].before

    def _heal_all(self) -> None:
        for one in [one for one in reversed(self._lasting) if not isinstance(one[1], _OWN_CURE)]:
            self._lasting.remove(one)
            self.backend.heal(one[1])

    def _restart(self, number: int, general: GeneralId) -> None:
        """Who was not killed before is killed now: starting again is a thing of the dead."""
        if not any(fault == Kill(general) for _, fault in self._lasting):
            self._inflict(number, Kill(general))
        self._lasting = [one for one in self._lasting if one[1] != Kill(general)]
        self.backend.heal(Kill(general))

    def _faults(self, number: int, step: Step) -> Iterator[Fault]:
        """What a step comes down to."""
        n = self.n
        if step.partition is not None:
            side = {g: index for index, group in enumerate(step.partition) for g in group}
            yield Cut(frozenset((a, b) for a in side for b in side if side[a] != side[b]))
        if step.cut is not None:
            links = {(a, b) for a in step.cut.senders for b in step.cut.receivers if a != b}
            yield Cut(frozenset(links | {(b, a) for a, b in links if step.cut.both}))
        for general in step.isolate or ():
            yield Cut(links_of(general, n))
        for general in step.disconnect or ():
            yield Disconnect(general)
        for general in (*(step.kill or ()), *(step.restart or ())):
            yield Kill(general)
        for general in step.pause or ():
            yield Pause(general)
        if step.clock_skew is not None:
            for general in step.clock_skew.general:
                yield Skew(general, step.clock_skew.by)
        if step.links is not None:
            terms = step.links
            rule = LinkRule(
                key=number + 1,
                receivers=terms.receivers,
                rounds=terms.rounds,
                kinds=terms.kinds,
                lose=terms.lose,
                delay=terms.delay,
                duplicate=terms.duplicate,
                reorder=terms.reorder,
                corrupt=terms.corrupt,
            )
            yield Disturb(terms.senders or tuple(range(n)), rule)
        if step.promote is not None:
            terms_of = step.promote
            for general in terms_of.general:
                trigger = terms_of.when.model_dump(exclude_none=True)
                role = Role(strategy=terms_of.strategy, params=terms_of.params, trigger=trigger)
                yield Recast(general, role, self._roles[general])
        for general in step.demote or ():
            yield Recast(general, None, self._roles[general])
