"""One general's loop: what arrives goes to the `General`, what he asks for is carried out.

One thread, and one blocking poll without fixed ticks. A readable socket is drained, a bounded
number of messages a turn, before anything is polled again. When a timer is due, what had arrived by
then is heard first: the deadline itself is in time. Logs are written while nothing else is to do.
"""

from __future__ import annotations

import gc
import math
import os
import select
import signal
import time
from collections.abc import Callable
from typing import Final, assert_never

import msgspec

from node.control import (
    Collect,
    Decided,
    Disband,
    Done,
    Enrol,
    Failed,
    JournalPart,
    Muster,
    NotReady,
    Order,
    Reached,
    Ready,
    Resume,
    Start,
    Suffer,
    Turn,
)
from node.effects import CancelTimer, Decide, Reach, SetTimer
from node.endings import (
    STATUS_DISBANDED,
    STATUS_DISMISSED,
    STATUS_FAILED,
    STATUS_NOWHERE,
    STATUS_ORPHANED,
)
from node.general import Action, Deliver, General
from node.links import LINK_FRAMES_MAX, Control, Field, KeyPair, TransportError, Trouble
from node.logs import Log
from node.orders import Decision, GeneralId, Value
from node.rehearsal import rehearse
from node.settings import Settings

#: Frames that are heard before timers and the orchestrator have their turn.
FRAMES_PER_TURN: Final = 256
REQUESTS_PER_TURN: Final = 32
#: Nothing happened for so long, in milliseconds: there is time for the log.
IDLE_MS: Final = 100
#: Lines that are still written once the end has come.
LAST_LINES_MAX: Final = 10_000
#: The longest that a poll is asked to block, where nothing is due at all.
POLL_S_MAX: Final = 3600.0
#: A poll ends to the millisecond, a sleep late by a tenth of one: who speaks first wakes before the
#: start by so many seconds, and watches the clock for the last ones.
EARLY_S: Final = 0.002
WATCH_S: Final = 0.0003
#: A timer so late, in seconds, tells that the process stood still, the thread of its links too:
#: what reached the machine meanwhile came in time, and that thread needs so long to bring it in.
STOOD_STILL_S: Final = 0.1
BRING_IN_S: Final = 0.05
#: A decision is told so many seconds later for each general: others may still deliberate, and
#: whoever tells takes processor time from them. Its moment was noted when it fell.
TELL_EACH_S: Final = 0.0005
#: No start is announced longer before, in seconds.
START_NOTICE_S_MAX: Final = 10.0
#: A journal travels in pieces of about so many bytes.
JOURNAL_PART_BYTES: Final = 1 << 20
#: Last words have so long to leave, in milliseconds.
LINGER_MS: Final = 200


class Dismissed(Exception):  # noqa: N818 - no error: the general was told to go
    """SIGTERM."""


def play(settings: Settings, lifeline: int | None = None, keys: KeyPair | None = None) -> int:
    """One general from enrolment to his end; his exit status.

    `lifeline` is a descriptor that becomes readable when whoever started this process has ended.
    `keys` are who he is to his peers, where that is to outlast the run.
    """
    signal.signal(signal.SIGTERM, _dismiss)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the orchestrator's to handle.
    log = Log()
    runtime = None
    try:
        runtime = Runtime(settings, log, lifeline, keys)
        return runtime.run()
    except Dismissed:
        log.event("INFO", "dismissed")
        return STATUS_DISMISSED
    except TransportError as error:
        log.event("ERROR", "failed", reason=str(error))
        return STATUS_NOWHERE if runtime is None else STATUS_FAILED
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        log.event("ERROR", "failed", reason=reason)
        if runtime is not None:
            runtime.confess(reason)
        return STATUS_FAILED
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if runtime is not None:
            runtime.close()


class Runtime:
    """The loop. The handler of a descriptor says whether there may be more to be had from it."""

    def __init__(
        self, settings: Settings, log: Log, lifeline: int | None, keys: KeyPair | None = None
    ) -> None:
        self._settings = settings
        self._log = log
        self._troubles_told: dict[tuple[Trouble, GeneralId | None], int] = {}
        self._general = General()
        self._field = Field(settings, keys)
        self._control = Control(self._field, settings)
        self._timers: dict[str, float] = {}
        self._is_mustered = False
        #: When round 1 begins; what is to be done just then, and when to be awake for it.
        self._started_s: float | None = None
        self._first_words: list[Action] = []
        self._alarm_s = math.inf
        self._has_greeted = False
        #: The last thing that was reported of this general's own standing.
        self._standing: Ready | NotReady | Decided | None = None
        self._tell_s = math.inf
        self._tell_after_s = 0.0
        self._status: int | None = None
        #: When to give up: on links that do not come up, and on the orchestrator.
        self._barrier_s = math.inf
        self._orphaned_s = time.monotonic() + settings.patience_s
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], bool]] = {}
        self._busy: set[int] = set()
        self._listen(self._control.fd, self._hear_orders)
        self._listen(self._field.alarm_fd, self._hear_alarms)
        if lifeline is not None:
            self._listen(lifeline, lambda: self._feel(lifeline))

    def run(self) -> int:
        """Turns until the end; the exit status."""
        is_idle = False
        while self._status is None:
            ready = self._poll.poll(self._wait_ms(is_idle))
            if self._first_words and time.monotonic() >= self._alarm_s:
                self._begin()
            # The log waits until what is to be told has been told.
            is_idle = not ready and not self._busy and self._tell_s == math.inf
            if ready:
                self._busy.update([fd for fd, _ in ready])
            for fd in tuple(self._busy):
                if not self._handlers[fd]():
                    self._busy.discard(fd)
            self._keep_time()
            if is_idle:
                self._log.catch_up(self._general.journal)
                self._warn()
        return self._status

    def confess(self, reason: str) -> None:
        """Tells the orchestrator that this general cannot go on."""
        self._control.report(Failed(reason))

    def close(self) -> None:
        """Writes what the log still lacks and ends all links."""
        self._log.catch_up(self._general.journal, LAST_LINES_MAX)
        self._warn()
        self._control.close(LINGER_MS)
        self._field.close()
        gc.enable()

    def _wait_ms(self, is_idle: bool) -> int:
        """How long the next poll may block, in milliseconds: a deadline's own is rounded up."""
        if self._busy:
            return 0
        next_s = min(
            *self._timers.values(),
            self._alarm_s,
            self._tell_s,
            self._barrier_s,
            self._orphaned_s,
        )
        wait_s = min(next_s - time.monotonic(), POLL_S_MAX)
        wait_ms = max(0, math.ceil(wait_s * 1000))
        if self._log.is_behind(self._general.journal):
            return 0 if is_idle else min(IDLE_MS, wait_ms)
        return wait_ms

    # What is readable.

    def _listen(self, fd: int, handler: Callable[[], bool]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)
        # What became readable before we listened is not told again.
        self._busy.add(fd)

    def _hear(self) -> bool:
        return self._hear_frames() == FRAMES_PER_TURN

    def _hear_frames(self) -> int:
        """Gives the general what has arrived, a turn's worth at most; how many frames it was."""
        heard = self._field.drain(FRAMES_PER_TURN)
        at_s = time.monotonic()
        receive = self._general.receive
        for sender, data in heard:
            actions = receive(sender, data, at_s)
            if actions:
                self._carry_out(actions)
        if self._barrier_s < math.inf:
            self._report_if_ready()
        return len(heard)

    def _hear_orders(self) -> bool:
        for order in self._control.orders():
            self._obey(order)
        is_up, has_more = self._control.look()
        if is_up == self._has_greeted:
            return has_more
        if is_up:
            self._greet()
        self._has_greeted = is_up
        # A general without orders needs a word soon; one with orders, a link over which to report.
        is_content = is_up and self._is_mustered
        self._orphaned_s = math.inf if is_content else time.monotonic() + self._settings.patience_s
        return True

    def _hear_alarms(self) -> bool:
        self._field.hear_alarms()
        return False

    def _admit(self) -> bool:
        return self._field.admit(REQUESTS_PER_TURN)

    def _feel(self, lifeline: int) -> bool:
        """Ends with the one who forked us: nothing is ever written, so only an end is readable."""
        if is_readable(lifeline):
            self._status = STATUS_ORPHANED
        return False

    def _warn(self) -> None:
        """Logs what the transport saw, each time that a count has doubled: bounded lines."""
        for (trouble, general), count in self._field.troubles.items():
            told = self._troubles_told.get((trouble, general), 0)
            if count > told and count >= 2 * told:
                self._troubles_told[trouble, general] = count
                self._log.event("WARNING", trouble, of=general, count=count)

    # The orchestrator.

    def _greet(self) -> None:
        """Enrols, again after every lost connection, and says how things stand."""
        self._control.report(
            Enrol(
                token=self._settings.token,
                pid=os.getpid(),
                endpoint=self._field.endpoint,
                curve_public=self._field.public,
                signing_public=self._general.signer.public,
            )
        )
        if self._standing is not None:
            self._tell()

    def _obey(self, order: Order) -> None:
        match order:
            case Muster():
                self._take_place(order)
            case Start(at_s):
                self._open_barrier(at_s)
            case Resume(round, at_s):
                self._open_round(round, at_s)
            case Suffer(number=number):
                self._carry_out(self._general.suffer(order, time.monotonic()))
                self._control.report(Done(number))
            case Turn(number, role):
                self._general.turn(role)
                self._control.report(Done(number))
            case Collect():
                self._hand_in()
            case Disband():
                self._status = STATUS_DISBANDED
            case _:
                assert_never(order)

    def _take_place(self, muster: Muster) -> None:
        """Learns the roster, lets its generals in, and probes them."""
        if self._is_mustered:
            return
        self._general.enlist(muster)
        rehearse(muster.brief, muster.role)
        self._is_mustered = True
        self._tell_after_s = TELL_EACH_S * muster.brief.n
        self._field.deploy(muster.me, muster.roster)
        self._barrier_s = time.monotonic() + muster.wait_s
        self._orphaned_s = math.inf
        self._carry_out(self._general.muster())
        self._listen(self._field.gate_fd, self._admit)
        self._listen(self._field.fd, self._hear)
        self._frames_max = LINK_FRAMES_MAX * len(muster.roster.generals)

    def _report_if_ready(self) -> None:
        if self._general.is_ready:
            self._barrier_s = math.inf
            self._report(Ready())

    def _open_barrier(self, at_s: float | None) -> None:
        """Begins at a moment in the near future, or now.

        All that needs no peer is done before: at the moment itself nothing is left but to speak.
        """
        if self._started_s is not None or not self._is_mustered:
            return
        self._started_s = _announced(at_s)
        gc.disable()  # Rounds make no cycles to speak of, and a collection would fall into one.
        self._first_words = self._general.start(self._started_s)
        if any(isinstance(action, Deliver) for action in self._first_words):
            self._alarm_s = self._started_s - EARLY_S
        else:
            self._begin()

    def _open_round(self, round: int, at_s: float | None) -> None:
        """The barrier before a later round: nobody's first frame has to come on the instant."""
        if self._started_s is None:
            return
        start_s = _announced(at_s)
        wait_until(start_s)
        self._carry_out(self._general.resume(round, start_s))

    def _begin(self) -> None:
        """Does what the start asks of this general: who speaks first does so to the point."""
        if self._alarm_s < math.inf:
            assert self._started_s is not None
            wait_until(self._started_s)
        self._alarm_s = math.inf
        words, self._first_words = self._first_words, []
        self._carry_out(words)

    def _hand_in(self) -> None:
        """Closes the journal and sends it, in pieces."""
        if not self._is_mustered:
            return
        self._hear_all_that_arrived()
        piece = bytearray()
        for line in self._general.hand_in():
            piece += line
            if len(piece) >= JOURNAL_PART_BYTES:
                self._control.report(JournalPart(bytes(piece), last=False))
                piece.clear()
        self._control.report(JournalPart(bytes(piece), last=True))

    def _report(self, standing: Ready | NotReady | Decided, after_s: float = 0.0) -> None:
        self._standing = standing
        self._tell_s = time.monotonic() + after_s
        if not after_s:
            self._tell()

    def _tell(self) -> None:
        assert self._standing is not None
        self._tell_s = math.inf
        self._control.report(self._standing)
        self._busy.add(self._control.fd)

    # What the general asks for.

    def _carry_out(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Deliver(to, data):
                    self._field.deliver(to, data)
                case SetTimer(name, at_s):
                    self._timers[name] = at_s
                case CancelTimer(name):
                    self._timers.pop(name, None)
                case Reach(milestone, number):
                    self._control.report(Reached(milestone, number))
                    self._busy.add(self._control.fd)
                case Decide(value, tally):
                    self._report_decision(value, tally)
                case _:
                    assert_never(action)
        if self._general.is_done and not self._first_words:
            self._report_done()

    def _report_decision(
        self, value: Decision | None, tally: tuple[tuple[Value, int], ...]
    ) -> None:
        at_s = time.monotonic()
        gc.enable()
        seconds = max(0.0, at_s - (self._started_s or at_s))
        decided = Decided(value, tally, seconds, at_s, is_done=self._general.is_done)
        self._report(decided, self._tell_after_s)

    def _report_done(self) -> None:
        """Says, once, that nothing more will come from here: of a traitor who crashed, too."""
        match self._standing:
            case Decided(is_done=False):
                done = msgspec.structs.replace(self._standing, is_done=True)
                self._report(done, self._tell_after_s)
            case Ready():
                self._timers.clear()
                self._report_decision(None, ())

    # Time.

    def _keep_time(self) -> None:
        """Wakes the general for timers that are due, and gives up where giving up is due."""
        now_s = time.monotonic()
        if self._timers and (due_s := min(self._timers.values())) <= now_s:
            if now_s - due_s > STOOD_STILL_S:
                time.sleep(BRING_IN_S)
            self._hear_all_that_arrived()
            for name in [name for name, at_s in self._timers.items() if at_s <= now_s]:
                # What another timer's action cancelled or set anew is no longer due.
                if self._timers.get(name, math.inf) <= now_s:
                    del self._timers[name]
                    self._carry_out(self._general.wake(name, now_s))
        if now_s >= self._tell_s:
            self._tell()
        if now_s >= self._barrier_s:
            self._barrier_s = math.inf
            self._report(NotReady(self._general.missing))
        if now_s >= self._orphaned_s:
            self._log.event("WARNING", "orphaned")
            self._status = STATUS_ORPHANED

    def _hear_all_that_arrived(self) -> None:
        """Every queued frame of every link, however many one of them has: the bound is theirs."""
        left = self._frames_max
        while left > 0:
            heard = self._hear_frames()
            if heard < FRAMES_PER_TURN:
                return
            left -= heard


def is_readable(fd: int) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))


def wait_until(at_s: float) -> None:
    """Returns at that moment of the monotonic clock, a near one: not before, hardly after."""
    while (left_s := at_s - time.monotonic()) > 0:
        if left_s > WATCH_S:
            time.sleep(left_s - WATCH_S)


def _announced(at_s: float | None) -> float:
    """The moment that a round is to begin at: in the near future, or now."""
    now_s = time.monotonic()
    return now_s if at_s is None else min(at_s, now_s + START_NOTICE_S_MAX)


def _dismiss(_number: int, _frame: object) -> None:
    raise Dismissed
