"""A journal run again: what its general should have said to what he heard, beside what he said.

Machines are deterministic, and every event that reached one stands in its general's journal. So a
loyal machine that is given those events asks for what a loyal general would have done, and the
first entry that differs convicts its writer by his own hand. Public keys are enough: his own last
signature on an order is verified, everything before it is compared.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

import msgspec

from node import wire
from node.effects import Accuse, CancelTimer, Decide, Effect, Reason, Send, SetTimer
from node.events import Event, Received, Resumed, Started, TimerFired
from node.journal import Accused, Began, Closed, Entry, Heard, Opened, Said, Settled, Woke
from node.journal import Resumed as WentOn
from node.messages import Body, Bundle, Content, Frame, Message, Parcels, Signed, SignedOrder
from node.orders import Brief, GeneralId
from node.protocols.lockstep import Machine
from node.signatures import Chains
from node.words import body_text, safe

#: Opens what was heard: the frame, or why a loyal general would have refused it.
Open: TypeAlias = Callable[[GeneralId, Message], Frame | Reason]


#: A general whose clock is ahead of his host's may be woken so much early, in seconds, and no more:
#: the difference is added and taken away again.
ROUNDING_S: Final = 1e-6


class Deviation(msgspec.Struct, frozen=True):
    """Where a journal is not a loyal general's: the line, from 1, and in what it differs."""

    line: int
    what: str


class _Copy(msgspec.Struct, frozen=True):
    """One copy of a frame that is owed: to send copies one by one is no lie."""

    to: GeneralId
    send: Send


_Owed: TypeAlias = "_Copy | Decide | Accuse"


def deviation(
    entries: Iterable[Entry], brief: Brief, machine: Machine, chains: Chains, open_: Open
) -> Deviation | None:
    """The first line in which a journal is not what a loyal general writes, if there is one.

    `brief`: what its general was told; `machine`: a loyal one, made for it anew. What was refused
    is not compared: most of it never reached a machine.
    """
    return _Replay(brief, machine, chains, open_).first(entries)


class _Replay:
    def __init__(self, brief: Brief, machine: Machine, chains: Chains, open_: Open) -> None:
        self._brief = brief
        self._machine = machine
        self._chains = chains
        self._open = open_
        self._owed: deque[_Owed] = deque()
        self._timers: dict[str, float] = {}

    def first(self, entries: Iterable[Entry]) -> Deviation | None:
        line = 0
        for line, entry in enumerate(entries, start=1):
            what = self._fault(entry)
            if what is not None:
                return Deviation(line, what)
        return None

    def _fault(self, entry: Entry) -> str | None:
        """What is wrong with the next entry, if anything is."""
        match entry:
            case Opened(brief=brief):
                return None if brief == self._brief else "he plays by another brief than his own"
            case Said():
                return self._said(entry)
            case Settled() | Accused():
                return self._concluded(entry)
            case Began() | WentOn() | Heard() | Woke() | Closed() if self._owed:
                return f"he does not do what is his to do: {self._told(self._owed[0])}"
            case Began(at_s):
                self._feed(Started(at_s))
                return None
            case WentOn(round, at_s):
                self._feed(Resumed(round, at_s))
                return None
            case Heard(_, sender, data):
                return self._heard(sender, data)
            case Woke(at_s, timer):
                return self._woke(at_s, timer)
            case _:
                return None

    # What reached him.

    def _feed(self, event: Event) -> None:
        for effect in self._machine.on_event(event):
            self._expect(effect)

    def _expect(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._owed.extend(_Copy(to, effect) for to in effect.to)
            case Decide() | Accuse():
                self._owed.append(effect)
            case SetTimer(name, at_s):
                self._timers[name] = at_s
            case CancelTimer(name):
                self._timers.pop(name, None)
            case _:
                pass

    def _heard(self, sender: GeneralId, data: bytes) -> str | None:
        message = wire.decode(data)
        if isinstance(message, wire.Malformed):
            return f"he claims to have heard what is no message: {message.reason.value}"
        frame = self._open(sender, message)
        if isinstance(frame, Reason):
            return f"he claims to have heard of {sender} what he had to refuse: {frame.value}"
        self._feed(Received(sender, frame))
        return None

    def _woke(self, at_s: float, timer: str) -> str | None:
        due_s = self._timers.pop(timer, None)
        if due_s is None:
            return f"he is woken by a timer that he had not set: {safe(timer)}"
        if at_s < due_s - ROUNDING_S:
            return f"he is woken by the {safe(timer)} before it is due"
        self._feed(TimerFired(timer))
        return None

    # What he made of it.

    def _said(self, said: Said) -> str | None:
        for to in said.to:
            owed = self._owed.popleft() if self._owed else None
            if not isinstance(owed, _Copy):
                return f"he tells {to} what nothing makes him say: {self._spoken(said)}"
            if owed.to != to or not self._follows(said, owed.send):
                return f"he tells {to} {self._spoken(said)} and not {self._told(owed)}"
        return None

    def _concluded(self, entry: Settled | Accused) -> str | None:
        owed = self._owed.popleft() if self._owed else None
        match entry, owed:
            case Settled(value, tally, rule), Decide() if owed == Decide(value, tally, rule):
                return None
            case Accused(culprit, instance, proof, rule), Accuse() if owed == Accuse(
                culprit, instance, proof, rule
            ):
                return None
            case Settled(value=value), _:
                what = f"he decides {safe(str(value))}"
            case _:
                what = f"he accuses {entry.culprit}"
        return f"{what}, and not: {self._told(owed)}" if owed else f"{what} for no reason"

    def _follows(self, said: Said, send: Send) -> bool:
        """Whether what was said is what was to be said, under his own good signature."""
        if (said.round, said.messages, said.rule) != (send.round, send.messages, send.rule):
            return False
        frame = wire.decode(said.data)
        return (
            isinstance(frame, Frame)
            and frame.run == self._chains.run
            and frame.round == send.round
            and self._agrees(frame.body, send.body)
        )

    def _agrees(self, body: Content, owed: Content) -> bool:
        if isinstance(body, Parcels) or isinstance(owed, Parcels):
            return body == owed
        if isinstance(owed, Bundle):
            if not isinstance(body, Bundle) or len(body.parts) != len(owed.parts):
                return False
            pairs = zip(body.parts, owed.parts, strict=True)
            return all(self._is_as(one, other, i) for i, (one, other) in enumerate(pairs))
        return not isinstance(body, Bundle) and self._is_as(body, owed, self._brief.commander or 0)

    def _is_as(self, body: Body, owed: Body, instance: int) -> bool:
        if not (isinstance(body, Signed) and isinstance(owed, Signed)):
            return body == owed
        if len(body.orders) != len(owed.orders) or body.proof != owed.proof:
            return False
        pairs = zip(body.orders, owed.orders, strict=True)
        return all(self._is_signed_as(one, other, instance) for one, other in pairs)

    def _is_signed_as(self, order: SignedOrder, owed: SignedOrder, instance: int) -> bool:
        return (
            (order.token, order.signers) == (owed.token, owed.signers)
            and order.signatures[: len(owed.signatures)] == owed.signatures
            and self._chains.verify(order, instance)
        )

    # In words.

    def _told(self, owed: _Owed) -> str:
        match owed:
            case _Copy(to, send):
                return f"to tell {to}, {self._worded(send.body, send.round)}"
            case Decide(value=value):
                return f"to decide {safe(str(value))}"
            case Accuse(culprit=culprit):
                return f"to accuse {culprit}"

    def _spoken(self, said: Said) -> str:
        frame = wire.decode(said.data)
        if not isinstance(frame, Frame):
            return f"{len(said.data)} bytes"
        return self._worded(frame.body, frame.round)

    def _worded(self, body: Content, round: int) -> str:
        return f"in round {round}, {body_text(body, self._brief, round)}"
