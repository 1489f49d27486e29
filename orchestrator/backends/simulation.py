"""All generals in one thread, in virtual time: the real General objects, bytes and all.

Frames take `LATENCY_S` and nothing else takes any time, so a run depends on its scenario and seed
alone: keys and nonce are drawn from the seed too. Where a frame and a timer fall on the same
instant the frame comes first: what arrives at the deadline is in time.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias, assert_never

from node.control import Decided, Enlisted, Muster, Resume, Roster, run_id
from node.effects import CancelTimer, Decide, Milestone, Reach, SetTimer
from node.general import Action, Deliver, General
from node.logs import Log
from node.orders import GeneralId
from orchestrator.backends import (
    UNEVENTFUL,
    Backend,
    BackendError,
    Course,
    Mustered,
)
from orchestrator.casting import Cast
from orchestrator.faults import (
    Cut,
    Disconnect,
    Disturb,
    Fault,
    Kill,
    Pause,
    Recast,
    Skew,
    cut_links,
    links_of,
    suffering,
)

#: How long a frame takes, in seconds of virtual time. Less than any round may last.
LATENCY_S = 1e-4

# What stands in the agenda: (when, orders before frames before timers, order of entry, whom, what).
_What: TypeAlias = tuple[GeneralId, bytes] | str | Resume
_Item: TypeAlias = tuple[float, int, int, GeneralId, _What]
_ORDER, _FRAME, _TIMER = 0, 1, 2


class Simulation(Backend):
    """Plays a cast by an agenda of frames and timers, in order of virtual time."""

    name = "simulation"

    def __init__(self) -> None:
        self._generals: dict[GeneralId, General] = {}
        self._agenda: list[_Item] = []
        self._entered = 0
        self._now_s = 0.0
        self._start_s = 0.0
        #: The instant for which a timer is set; a timer at another instant is stale.
        self._timers: dict[tuple[GeneralId, str], float] = {}
        self._decided: dict[GeneralId, Decided] = {}
        self._logs: Path | None = None
        self._course: Course = UNEVENTFUL
        self._barriers: list[int] = []
        #: Who halts before which round.
        self._halted: dict[GeneralId, int] = {}
        #: What lasts of all that was inflicted.
        self._faults: list[Fault] = []
        self._dead: set[GeneralId] = set()
        #: What waits for a general who is paused.
        self._held: dict[GeneralId, list[_Item]] = {}

    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        self._logs = logs
        self._barriers = sorted(r for r in cast.parts[0].brief.barriers if r > 1)
        secrets = [_drawn(cast.seed, f"secret/{part.general}") for part in cast.parts]
        self._generals = {
            part.general: General(secret) for part, secret in zip(cast.parts, secrets, strict=True)
        }
        roster = Roster(
            tuple(Enlisted(g, "", b"", who.signer.public) for g, who in self._generals.items())
        )
        nonce = _drawn(cast.seed, "nonce")
        run = run_id(roster, cast.scenario, nonce)
        for part in cast.parts:
            self._generals[part.general].enlist(
                Muster(
                    me=part.general,
                    run=run,
                    roster=roster,
                    brief=part.brief,
                    role=part.role,
                    seed=cast.seed,
                    wait_s=0.0,
                )
            )
        self._meet()
        return Mustered(roster, run, nonce, dict.fromkeys(self._generals, self.name))

    def command(
        self, on_decided: Callable[[GeneralId], None], course: Course = UNEVENTFUL
    ) -> dict[GeneralId, Decided]:
        self._start_s = self._now_s
        self._course = course
        course.at_barrier(1)
        for general, _ in self._living():
            self._enter(self._now_s, _ORDER, general, Resume(1))
        self._play()
        course.end()
        self._play()
        for general in self._decided:
            on_decided(general)
        for general, who in self._living():
            if general not in self._decided and who.is_done:
                self._decided[general] = Decided(None, (), self._now_s - self._start_s)
        return dict(sorted(self._decided.items()))

    def elapsed_s(self) -> float:
        return self._now_s - self._start_s

    def inflict(self, fault: Fault) -> None:
        self._faults.append(fault)
        match fault:
            case Cut() | Disconnect() | Disturb() | Skew():
                self._tell_all()
            case Pause(general):
                self._held.setdefault(general, [])
            case Kill(general):
                self._dead.add(general)
            case Recast(general, role):
                self._generals[general].turn(role)
            case _:
                assert_never(fault)

    def heal(self, fault: Fault) -> None:
        self._faults.remove(fault)
        match fault:
            case Cut() | Disconnect() | Disturb() | Skew():
                self._tell_all()
            case Pause(general):
                if fault not in self._faults:
                    self._wake(general)
            case Kill():
                # Started again he has other keys, which are in nobody's roster: a mere onlooker.
                pass
            case Recast(general, _, before):
                self._generals[general].turn(before)
            case _:
                assert_never(fault)

    def collect(self) -> dict[GeneralId, bytes]:
        journals = {}
        for general, who in self._living():
            journals[general] = b"".join(who.hand_in())
            if self._logs is not None:
                with (self._logs / f"general-{general}.log").open("w") as stream:
                    Log(stream).catch_up(who.journal, len(who.journal.entries))
        return journals

    def disband(self) -> None:
        self._generals.clear()
        self._agenda.clear()

    def _meet(self) -> None:
        """The barrier: probes and echoes until every general is ready."""
        for general, who in self._generals.items():
            self._carry(general, who.muster())
        self._play()
        for general, who in self._generals.items():
            if not who.is_ready:
                raise BackendError(f"node {general} not ready: it misses {who.missing}")

    def _living(self) -> list[tuple[GeneralId, General]]:
        return [(g, who) for g, who in self._generals.items() if g not in self._dead]

    def _play(self) -> None:
        """Works the agenda off, and lets happen what is due meanwhile."""
        self._pass_barrier()
        while self._agenda:
            due_s = self._start_s + self._course.due_s()
            if due_s <= self._agenda[0][0] and not self._is_over():
                self._now_s = max(due_s, self._now_s)
                self._course.at_time(self._now_s - self._start_s)
            else:
                item = heapq.heappop(self._agenda)
                self._now_s = item[0]
                self._happen(item)
            self._pass_barrier()

    def _happen(self, item: _Item) -> None:
        _, _, _, general, what = item
        if general in self._dead:
            return
        if general in self._held:
            self._held[general].append(item)
            return
        who = self._generals[general]
        if isinstance(what, Resume):
            self._open(general, what.round)
        elif not isinstance(what, str):
            self._carry(general, who.receive(*what, self._now_s))
        elif self._timers.get((general, what)) == item[0]:
            del self._timers[general, what]
            self._carry(general, who.wake(what, self._now_s))

    def _open(self, general: GeneralId, round: int) -> None:
        """The barrier before a round is open to him; before the first one, he has yet to start."""
        who = self._generals[general]
        if round == 1:
            self._carry(general, who.start(self._now_s))
        else:
            self._carry(general, who.resume(round, self._now_s))

    def _is_over(self) -> bool:
        """Whether nobody who can act has anything left to do."""
        return all(who.is_done for g, who in self._living() if g not in self._held)

    def _pass_barrier(self) -> None:
        """Opens the next barrier once everyone who can stands before it."""
        while self._barriers and self._halted and self._all_stand_before(self._barriers[0]):
            round = self._barriers.pop(0)
            self._course.at_barrier(round)
            for general, _ in self._living():
                self._halted.pop(general, None)
                self._enter(self._now_s, _ORDER, general, Resume(round))

    def _all_stand_before(self, round: int) -> bool:
        return all(
            who.is_done or self._halted.get(general) == round
            for general, who in self._living()
            if general not in self._held
        )

    def _wake(self, general: GeneralId) -> None:
        """He hears what has come meanwhile, and then what his clock says."""
        for _, kind, _, _, what in sorted(self._held.pop(general)):
            if isinstance(what, str) and (general, what) in self._timers:
                self._timers[general, what] = self._now_s
            self._enter(self._now_s, kind, general, what)

    def _tell_all(self) -> None:
        """Lets each general suffer what now lasts."""
        n = len(self._generals)
        cut = cut_links(self._faults).union(
            *(links_of(f.general, n) for f in self._faults if isinstance(f, Disconnect))
        )
        for general, who in self._living():
            order = suffering(general, self._faults, cut)
            self._carry(general, who.suffer(order, self._now_s))

    def _carry(self, general: GeneralId, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Deliver(to, data):
                    for receiver in to:
                        self._enter(self._now_s + LATENCY_S, _FRAME, receiver, (general, data))
                case SetTimer(name, at_s):
                    # A clock that runs ahead has timers that are overdue.
                    due_s = max(at_s, self._now_s)
                    self._timers[general, name] = due_s
                    self._enter(due_s, _TIMER, general, name)
                case CancelTimer(name):
                    self._timers.pop((general, name), None)
                case Reach(milestone, number):
                    if milestone is Milestone.ROUND:
                        self._halted[general] = number
                    else:
                        self._course.reached(milestone, number)
                case Decide(value, tally):
                    elapsed_s = self._now_s - self._start_s
                    self._decided[general] = Decided(value, tally, elapsed_s)
                    self._course.decided(general)

    def _enter(self, at_s: float, kind: int, general: GeneralId, what: _What) -> None:
        self._entered += 1
        heapq.heappush(self._agenda, (at_s, kind, self._entered, general, what))


def _drawn(seed: int, purpose: str) -> bytes:
    """32 bytes that depend on the seed and the purpose alone."""
    return hashlib.blake2b(f"byzantine/1/{purpose}/{seed}".encode(), digest_size=32).digest()
