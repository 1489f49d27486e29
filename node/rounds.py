"""Lockstep: turns what a protocol says of its rounds into a machine.

A round ends once every awaited frame is in, and otherwise at its deadline, `start + r * delta`, on
the general's monotonic clock; what arrives at the deadline itself is in time. Its frames reach the
protocol together, ordered by sender, so nothing depends on who was first.

Who misses a deadline is an absentee here: no longer waited for, and unheard until the run ends.
This is sound under A1-A3: a loyal general's frame for round r leaves no later than the deadline of
round r - 1, so whoever is late is faulty by definition, and silence is one more thing that a
traitor may cause.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import assert_never

from node.effects import CancelTimer, Effect, Milestone, Miss, Reach, Reason, Refuse, SetTimer
from node.events import Event, Received, Resumed, Started, TimerFired
from node.messages import Content, Frame
from node.orders import GeneralId
from node.protocols.lockstep import Lockstep

DEADLINE = "deadline"


class Rounds:
    """The machine of one general under a lockstep protocol. `delta_s`: seconds a round at most.

    `barriers`: rounds that he opens when he is told to, and not when the one before has ended.
    """

    def __init__(self, protocol: Lockstep, delta_s: float, barriers: Collection[int] = ()) -> None:
        self._protocol = protocol
        self._delta_s = delta_s
        #: Rounds that open at a barrier, and when it opened, where it has.
        self._barriers: dict[int, float | None] = {r: None for r in barriers if r > 1}
        self._is_halted = False
        #: When round 1 began, or would have, had there been no halt since.
        self._started_s = 0.0
        #: 0 before the start, 1..rounds while they last, rounds + 1 afterwards.
        self.round = 0
        self._awaited: frozenset[GeneralId] = frozenset()
        self._absent: set[GeneralId] = set()
        #: Frames kept by round: this one's and, of generals who are ahead, later ones'.
        self._heard: dict[int, dict[GeneralId, Content]] = {
            r: {} for r in range(1, protocol.rounds + 1)
        }
        self._speakers = {r: protocol.speakers(r) for r in self._heard}

    def on_event(self, event: Event) -> list[Effect]:
        match event:
            case Received(sender, frame):
                return self._hear(sender, frame)
            case Started(at_s):
                return self._start(at_s)
            case Resumed(round, at_s):
                return self._resume(round, at_s)
            case TimerFired(name):
                return self._pass_deadline() if name == DEADLINE else []
            case _:
                assert_never(event)

    def _start(self, at_s: float) -> list[Effect]:
        if self.round:
            return []
        self._started_s = at_s
        return self._advance()

    def _resume(self, round: int, at_s: float) -> list[Effect]:
        """Who is behind is told before he comes to the barrier, and will not halt there."""
        if round not in self._barriers:
            return []
        self._barriers[round] = at_s
        if not self._is_halted or round != self.round:
            return []
        self._is_halted = False
        return self._open_round()

    def _hear(self, sender: GeneralId, frame: Frame) -> list[Effect]:
        fault = self._fault(sender, frame)
        if fault is not None:
            return [Refuse(sender, fault, rule="A2" if fault is Reason.NOT_AWAITED else "A3")]
        self._heard[frame.round][sender] = frame.body
        if frame.round == self.round and not self._is_halted and self._is_complete():
            return self._end_round()
        return []

    def _fault(self, sender: GeneralId, frame: Frame) -> Reason | None:
        if frame.round not in self._heard:
            return Reason.BAD_ROUND
        if sender not in self._speakers[frame.round]:
            return Reason.NOT_AWAITED
        if frame.round < self.round or sender in self._absent:
            return Reason.LATE
        return Reason.DUPLICATE if sender in self._heard[frame.round] else None

    def _pass_deadline(self) -> list[Effect]:
        missing = sorted(self._awaited - self._heard[self.round].keys())
        self._absent.update(missing)
        absences: list[Effect] = [Miss(general, self.round, rule="A3") for general in missing]
        return absences + self._end_round()

    def _end_round(self) -> list[Effect]:
        """Hands the round to the protocol, and opens the next one or decides."""
        heard = self._heard[self.round]
        effects = self._protocol.hear(self.round, dict(sorted(heard.items())))
        heard.clear()
        return effects + self._advance()

    def _advance(self) -> list[Effect]:
        self.round += 1
        if self.round > self._protocol.rounds:
            return [CancelTimer(DEADLINE, rule="A3"), self._protocol.decide()]
        if self.round in self._barriers and self._barriers[self.round] is None:
            self._is_halted = True
            reached = Reach(Milestone.ROUND, self.round, rule="A3")
            return [CancelTimer(DEADLINE, rule="A3"), reached]
        return self._open_round()

    def _open_round(self) -> list[Effect]:
        opened_s = self._barriers.get(self.round)
        if opened_s is not None:
            self._started_s = opened_s - (self.round - 1) * self._delta_s
        effects: list[Effect] = list(self._protocol.say(self.round))
        self._awaited = self._speakers[self.round] - self._absent
        # Frames of an absentee that were kept from before he was missed are unheard as well.
        for general in self._absent & self._heard[self.round].keys():
            del self._heard[self.round][general]
        if self._is_complete():
            return effects + self._end_round()
        deadline_s = self._started_s + self.round * self._delta_s
        return [*effects, SetTimer(DEADLINE, deadline_s, rule="A3")]

    def _is_complete(self) -> bool:
        """Counted, not compared: of an open round, only who is awaited is ever kept."""
        return len(self._heard[self.round]) == len(self._awaited)
