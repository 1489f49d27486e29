"""Each general an operating-system process of its own, forked from one warm parent.

The processes speak over CURVE on 127.0.0.1 and nothing else. Whatever happens here, a general's
process ends: by an order, by the fork server's hand, or because the fork server is gone.
"""

from __future__ import annotations

import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, assert_never

from node.control import (
    Decided,
    Disband,
    Muster,
    Resume,
    Roster,
    Start,
    Suffer,
    Turn,
    run_id,
)
from node.effects import Milestone
from node.endings import STATUS_NOWHERE, STATUSES
from node.links import TransportError
from node.orders import GeneralId
from node.protocols import catalogue
from node.settings import PORT_FIRST, PORTS, Settings
from orchestrator.backends import (
    UNEVENTFUL,
    Backend,
    BackendError,
    Course,
    FaultError,
    Mustered,
)
from orchestrator.backends.fork_client import GOING_ON, STOPPED, Child, ForkServer, state_of
from orchestrator.casting import Cast, Part
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
    cut_links,
    links_of,
    numbered,
    suffering,
)
from orchestrator.headquarters import Headquarters

HOST: Final = "127.0.0.1"
#: Seconds that generals have to enrol, and then to prove their links.
MUSTER_S: Final = 15.0
#: Seconds beyond all rounds' deadlines that a general may still calculate.
CALCULATION_S: Final = 60.0
#: Seconds that journals may take to arrive.
COLLECT_S: Final = 60.0
#: Seconds that generals have to end once they are told to; then they are killed.
DISBAND_S: Final = 1.0
#: How long before it the common start is announced: enough for the word to get around.
NOTICE_S: Final = 0.003
NOTICE_EACH_S: Final = 0.0003
#: Seconds that a fault may take until it is read back.
FAULT_S: Final = 10.0
#: A process that was sent a signal is looked at again after so long, in seconds.
LOOK_S: Final = 0.002
NONCE_BYTES: Final = 32


class Processes(Backend):
    """A run among processes. `base_port`: general k listens there + k; else on any free port.

    `forks` is a fork server that outlives the run; without one the run has its own.
    """

    name = "processes"

    def __init__(
        self,
        base_port: int | None = None,
        forks: ForkServer | None = None,
        muster_s: float = MUSTER_S,
    ) -> None:
        self._base_port = base_port
        self._muster_s = muster_s
        self._own_forks = ForkServer() if forks is None else None
        self._forks = forks or self._own_forks
        self._clear()

    def _clear(self) -> None:
        """The state of a run that has not begun."""
        self._headquarters: Headquarters | None = None
        self._children: dict[GeneralId, Child] = {}
        self._silence_s = 0.0
        self._course: Course = UNEVENTFUL
        self._barriers: list[int] = []
        #: What lasts of all that was inflicted; who stands still; what each was last told of it.
        self._faults: list[Fault] = []
        self._paused: set[GeneralId] = set()
        self._suffering: dict[GeneralId, Suffer] = {}
        #: Those who were started again, by general: mere onlookers under other keys.
        self._restarted: dict[GeneralId, Child] = {}
        self._orders = 0
        #: When round 1 began, how long all have halted since, and since when they halt now.
        self._opened_s = self._halted_s = 0.0
        self._standstill_s: float | None = None

    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        self._learn(cast)
        deadline_s = time.monotonic() + self._muster_s
        self._open(cast.n)
        self._server.warm(cast.parts[0].brief)
        for part in cast.parts:
            log = logs / f"general-{part.general}.log" if logs else None
            self._children[part.general] = self._call_up(part.general, log)
        self._await_enrolment(deadline_s)
        roster, run, nonce = self._line_up(cast, self._muster_s)
        hosts = {general: str(child.pid) for general, child in self._children.items()}
        return Mustered(roster, run, nonce, hosts)

    def command(
        self, on_decided: Callable[[GeneralId], None], course: Course = UNEVENTFUL
    ) -> dict[GeneralId, Decided]:
        self._course = course
        course.at_barrier(1)
        start_s = time.monotonic() + self._notice_s
        self._opened_s = start_s
        self._hq.order_all(self._children, Start(start_s))
        told: set[GeneralId] = set()
        self._oversee(on_decided, told, start_s + self._silence_s)
        course.end()
        # Who stood still until now has all deadlines behind him.
        self._oversee(on_decided, told, time.monotonic() + self._silence_s)
        return self._decisions()

    def elapsed_s(self) -> float:
        now_s = time.monotonic() if self._standstill_s is None else self._standstill_s
        return max(0.0, now_s - self._opened_s - self._halted_s) if self._opened_s else 0.0

    def inflict(self, fault: Fault) -> None:
        self._faults.append(fault)
        match fault:
            case Cut() | Disconnect() | Disturb() | Skew():
                self._carry_out()
            case Pause(general):
                self._pause(general)
                self._paused.add(general)
            case Kill(general):
                self._kill(general)
            case Recast(general, role):
                self._told(general, Turn(self._next_order(), role))
            case _:
                assert_never(fault)

    def heal(self, fault: Fault) -> None:
        self._faults.remove(fault)
        match fault:
            case Cut() | Disconnect() | Disturb() | Skew():
                self._carry_out()
            case Pause(general):
                if fault not in self._faults:
                    self._unpause(general)
                    self._paused.discard(general)
                    self._carry_out()
            case Kill(general):
                self._restart(general)
            case Recast(general, _, before):
                self._told(general, Turn(self._next_order(), before))
            case _:
                assert_never(fault)

    def collect(self) -> dict[GeneralId, bytes]:
        present = self._present()
        self._hq.collect(present)
        standing = self._hq.standing
        self._hq.attend(
            lambda: all(standing[g].has_journal or self._is_lost(g) for g in present),
            time.monotonic() + COLLECT_S,
        )
        return {g: b"".join(standing[g].journal) for g in present if standing[g].has_journal}

    def disband(self) -> None:
        if self._headquarters is not None:
            self._end_generals(self._headquarters)
            self._headquarters.close()
            self._headquarters = None
        if self._own_forks is not None:
            self._own_forks.close()
            self._own_forks = None

    def _learn(self, cast: Cast) -> None:
        """What of a run's cast this file has to know."""
        self._silence_s = CALCULATION_S + _deadlines_s(cast)
        self._barriers = sorted(r for r in cast.parts[0].brief.barriers if r > 1)

    @property
    def _hq(self) -> Headquarters:
        if self._headquarters is None:
            raise BackendError("nobody is mustered")
        return self._headquarters

    # Muster.

    def _open(self, n: int) -> None:
        """Headquarters of this run, at the port behind the generals' where ports are given."""
        base = self._base_port
        first, ports = (PORT_FIRST, PORTS) if base is None else (base + n, 1)
        try:
            self._headquarters = Headquarters(HOST, port_first=first, ports=ports)
        except TransportError as fault:
            raise BackendError(f"the orchestrator cannot listen: {fault}") from fault
        self._headquarters.also_listen(self._server.fd, self._server.listen)

    @property
    def _server(self) -> ForkServer:
        if self._forks is None:
            raise BackendError("the fork server has been closed")
        return self._forks

    def _call_up(self, general: GeneralId, log: Path | None) -> Child:
        return self._server.fork(self._settings(general), log)

    def _settings(self, general: GeneralId) -> Settings:
        base = self._base_port
        return Settings(
            headquarters=self._hq.endpoint,
            headquarters_key=self._hq.public,
            token=self._hq.expect(general),
            bind_host=HOST,
            advertised_host=HOST,
            port_first=PORT_FIRST if base is None else base + general,
            ports=PORTS if base is None else 1,
        )

    def _await_enrolment(self, deadline_s: float) -> None:
        standing = self._hq.standing

        def is_settled() -> bool:
            return self._any_lost() or all(one.enrolment is not None for one in standing.values())

        self._hq.attend(is_settled, deadline_s)
        absent = [general for general, one in standing.items() if one.enrolment is None]
        lost = [general for general in self._children if self._is_lost(general)]
        if absent or lost:
            raise self._not_ready(lost or absent, "it never enrolled")

    def _await_barrier(self, deadline_s: float) -> None:
        standing = self._hq.standing

        def is_settled() -> bool:
            return self._any_lost() or all(one.is_ready for one in standing.values())

        if self._hq.attend(is_settled, deadline_s) and not self._any_lost():
            return
        lost = [general for general in self._children if self._is_lost(general)]
        raise self._not_ready(lost or self._blamed(), "its links never carried a message both ways")

    def _line_up(self, cast: Cast, wait_s: float) -> tuple[Roster, bytes, bytes]:
        """Hands out the parts to all who enrolled; roster, run and nonce of those who stand ready.

        They have `wait_s` seconds to prove their links.
        """
        roster, nonce = self._hq.roster(), secrets.token_bytes(NONCE_BYTES)
        run = run_id(roster, cast.scenario, nonce)
        for part in cast.parts:
            self._hq.order(part.general, _orders(part, cast, run, roster, wait_s))
        self._await_barrier(time.monotonic() + wait_s)
        return roster, run, nonce

    def _blamed(self) -> list[GeneralId]:
        """Whom most generals miss; where none could say, those who are not ready."""
        standing = self._hq.standing
        missed = Counter(general for one in standing.values() for general in one.missing)
        if not missed:
            return [general for general, one in standing.items() if not one.is_ready]
        most = max(missed.values())
        return sorted(general for general, times in missed.items() if times == most)

    def _not_ready(self, generals: Iterable[GeneralId], why: str) -> BackendError:
        reasons = [f"node {g} not ready: {self._end_of(g) or why}" for g in sorted(generals)]
        return BackendError("; ".join(reasons))

    # While the run lasts.

    @property
    def _notice_s(self) -> float:
        return NOTICE_S + len(self._children) * NOTICE_EACH_S

    def _oversee(
        self, on_decided: Callable[[GeneralId], None], told: set[GeneralId], until_s: float
    ) -> None:
        """Hears reports, and lets happen what is due, until nobody who can act has more to do."""
        reached: dict[Milestone, int] = {}

        def news() -> bool:
            return (
                self._is_over()
                or bool(self._decisions().keys() - told)
                or self._furthest() != reached
                or self._all_stand_before_barrier()
            )

        while True:
            due_s = self._opened_s + self._halted_s + self._course.due_s()
            is_news = self._hq.attend(news, min(due_s, until_s))
            for general in sorted(self._decisions().keys() - told):
                told.add(general)
                on_decided(general)
                self._course.decided(general)
            for milestone, number in self._furthest().items() - reached.items():
                reached[milestone] = number
                self._course.reached(milestone, number)
            if self._is_over():
                return
            if self._all_stand_before_barrier():
                until_s += self._open_barrier()
            now_s = time.monotonic()
            if now_s >= due_s:
                self._course.at_time(self.elapsed_s())
            elif not is_news and now_s >= until_s:
                return

    def _is_over(self) -> bool:
        return all(self._is_done(g) for g in self._children if g not in self._paused)

    def _furthest(self) -> dict[Milestone, int]:
        """The highest number of each milestone but rounds that any general has reached."""
        furthest: dict[Milestone, int] = {}
        for one in self._hq.standing.values():
            for milestone, number in one.reached.items():
                if milestone is not Milestone.ROUND:
                    furthest[milestone] = max(number, furthest.get(milestone, number))
        return furthest

    def _all_stand_before_barrier(self) -> bool:
        if not self._barriers:
            return False
        waiting = [g for g in self._children if g not in self._paused and not self._is_done(g)]
        standing = self._hq.standing
        return bool(waiting) and all(
            standing[g].reached.get(Milestone.ROUND, 0) >= self._barriers[0] for g in waiting
        )

    def _open_barrier(self) -> float:
        """Lets happen what is to happen here, and all go on; how long that took, in seconds."""
        self._standstill_s = halted_s = time.monotonic()
        round = self._barriers[0]
        self._course.at_barrier(round)
        # Who was let go on only here has yet to come up.
        self._hq.attend(self._all_stand_before_barrier, time.monotonic() + FAULT_S)
        self._barriers.pop(0)
        at_s = time.monotonic() + self._notice_s
        self._hq.order_all(self._children, Resume(round, at_s))
        self._standstill_s = None
        self._halted_s += at_s - halted_s
        return at_s - halted_s

    # What befalls the generals.

    def _carry_out(self) -> None:
        """Has all faults of links and clocks that now last carried out, and read back."""
        self._cut(cut_links(self._faults))
        self._tell_all(self._cut_in_messages())

    def _cut(self, links: frozenset[Link]) -> None:
        """Makes these links, and no others, carry nothing, where that is not the generals' part."""

    def _cut_in_messages(self) -> frozenset[Link]:
        """The links that generals themselves hold: here, all that are cut."""
        n = len(self._children)
        gone = (links_of(f.general, n) for f in self._faults if isinstance(f, Disconnect))
        return cut_links(self._faults).union(*gone)

    def _tell_all(self, cut: frozenset[Link]) -> None:
        for general in self._present():
            if general in self._paused:
                continue
            order = suffering(general, self._faults, cut)
            if order != self._suffering.get(general, Suffer(number=0)):
                self._suffering[general] = order
                self._told(general, numbered(order, self._next_order()))

    def _next_order(self) -> int:
        self._orders += 1
        return self._orders

    def _told(self, general: GeneralId, order: Suffer | Turn) -> None:
        """Gives a general an order and hears that it is carried out."""
        standing = self._hq.standing[general]
        if not self._hq.order(general, order):
            raise FaultError(f"general {general} has no link to the orchestrator any more")

        def is_done() -> bool:
            return self._is_lost(general) or standing.done >= order.number

        if not self._hq.attend(is_done, time.monotonic() + FAULT_S) or self._is_lost(general):
            raise FaultError(f"general {general} never said that it was done")

    def _pause(self, general: GeneralId) -> None:
        self._signal(general, signal.SIGSTOP, STOPPED)

    def _unpause(self, general: GeneralId) -> None:
        self._signal(general, signal.SIGCONT, GOING_ON)

    def _signal(self, general: GeneralId, number: int, then: frozenset[str]) -> None:
        """A signal to a general's process, and a look at the state that it puts it in."""
        child = self._children[general]
        self._server.kill(child, number)

        def is_over() -> bool:
            return child.has_ended or state_of(child.pid) in then

        deadline_s = time.monotonic() + FAULT_S
        if not self._hq.attend(is_over, deadline_s, look_s=LOOK_S) or child.has_ended:
            raise FaultError(f"general {general}'s process did not obey signal {number}")

    def _kill(self, general: GeneralId) -> None:
        child = self._children[general]
        self._server.kill(child)
        if not self._hq.attend(lambda: child.has_ended, time.monotonic() + FAULT_S):
            raise FaultError(f"general {general}'s process did not end")

    def _restart(self, general: GeneralId) -> None:
        """A new process under a token of its own: its keys are in nobody's roster."""
        outsider = len(self._children) + general
        again = self._call_up_as(outsider, general)
        self._restarted[general] = again
        standing = self._hq.standing

        def is_settled() -> bool:
            return again.has_ended or standing[outsider].enrolment is not None

        self._hq.attend(is_settled, time.monotonic() + self._muster_s)
        if standing[outsider].enrolment is None:
            raise FaultError(f"general {general} was started again and never enrolled")

    def _call_up_as(self, number: GeneralId, general: GeneralId) -> Child:
        return self._server.fork(self._settings(number), None)

    # Who is still there.

    def _any_lost(self) -> bool:
        return any(map(self._is_lost, self._children))

    def _is_lost(self, general: GeneralId) -> bool:
        return self._children[general].has_ended or self._hq.standing[general].failed is not None

    def _end_of(self, general: GeneralId) -> str | None:
        """How a general came to an end, for people; None where he still runs."""
        failed, status = self._hq.standing[general].failed, self._children[general].status
        if failed is not None:
            return failed
        if status is None:
            return None
        if status < 0:
            return f"its process was ended by signal {-status}"
        if status == STATUS_NOWHERE and self._base_port is not None:
            port = self._base_port + general
            return f"it could not listen on port {port}: choose another --base-port"
        return f"{STATUSES.get(status, 'it failed')} (exit status {status})"

    def _present(self) -> list[GeneralId]:
        return [general for general in self._children if not self._is_lost(general)]

    def _is_done(self, general: GeneralId) -> bool:
        decided = self._hq.standing[general].decided
        return self._is_lost(general) or (decided is not None and decided.is_done)

    def _decisions(self) -> dict[GeneralId, Decided]:
        return {
            general: one.decided
            for general, one in sorted(self._hq.standing.items())
            if one.decided is not None
        }

    # The end.

    def _end_generals(self, headquarters: Headquarters) -> None:
        def all_have_ended() -> bool:
            return all(child.has_ended for child in children)

        children = [*self._children.values(), *self._restarted.values()]
        headquarters.order_all(headquarters.standing, Disband())
        if not headquarters.attend(all_have_ended, time.monotonic() + DISBAND_S):
            for child in children:
                if not child.has_ended:
                    self._server.kill(child)
            headquarters.attend(all_have_ended, time.monotonic() + DISBAND_S)
        headquarters.stop_listening(self._server.fd)
        self._children.clear()
        self._restarted.clear()


def _orders(part: Part, cast: Cast, run: bytes, roster: Roster, wait_s: float) -> Muster:
    return Muster(
        me=part.general,
        run=run,
        roster=roster,
        brief=part.brief,
        role=part.role,
        seed=cast.seed,
        wait_s=wait_s,
    )


def _deadlines_s(cast: Cast) -> float:
    """All rounds' lengths together, and one more for who speaks late."""
    brief = cast.parts[0].brief
    return (catalogue.rounds(brief) + 1) * brief.delta_s
