"""A field where one protocol is played by hand: what is said in a round is heard in that round.

There is no clock here and nobody is ever late: `rounds.py` has tests of its own. A test may change
what one general says to another on the way, which makes the speaker a traitor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from node.effects import Accuse, Decide, Reason, Refuse
from node.messages import Content
from node.orders import GeneralId
from node.protocols.lockstep import Lockstep

#: What becomes of (round, sender, receiver, body) on the way; None is silence.
OnTheWay = Callable[[int, GeneralId, GeneralId, Any], Any]


@dataclass
class Frame:
    """One frame as its sender meant it."""

    round: int
    sender: GeneralId
    receiver: GeneralId
    body: Content
    messages: int
    rule: str


@dataclass
class Field:
    """The parts of a protocol, one a general, and what became of them."""

    parts: Mapping[GeneralId, Lockstep]
    on_the_way: OnTheWay = lambda round, sender, receiver, body: body
    frames: list[Frame] = field(default_factory=list)
    effects: dict[GeneralId, list[Any]] = field(default_factory=dict)
    decisions: dict[GeneralId, Decide] = field(default_factory=dict)

    def play(self) -> Field:
        for round in range(1, max(part.rounds for part in self.parts.values()) + 1):
            self._play_round(round)
        self.decisions = {general: part.decide() for general, part in self.parts.items()}
        return self

    def values(self) -> dict[GeneralId, object]:
        return {general: decision.value for general, decision in self.decisions.items()}

    def refusals(self, general: GeneralId) -> list[tuple[GeneralId, Reason]]:
        return [(e.sender, e.reason) for e in self.effects[general] if isinstance(e, Refuse)]

    def accusations(self, general: GeneralId) -> list[Accuse]:
        return [e for e in self.effects[general] if isinstance(e, Accuse)]

    def messages(self) -> list[int]:
        """The paper's messages, by round."""
        last = max(frame.round for frame in self.frames)
        return [sum(f.messages for f in self.frames if f.round == r) for r in range(1, last + 1)]

    def _play_round(self, round: int) -> None:
        heard: dict[GeneralId, dict[GeneralId, Content]] = {g: {} for g in self.parts}
        for frame in self._said(round):
            body = self.on_the_way(round, frame.sender, frame.receiver, frame.body)
            if body is not None:
                heard[frame.receiver][frame.sender] = body
        for general, part in self.parts.items():
            owed = part.speakers(round)
            spoken = {s: body for s, body in sorted(heard[general].items()) if s in owed}
            self.effects.setdefault(general, []).extend(part.hear(round, spoken))

    def _said(self, round: int) -> list[Frame]:
        said = [
            Frame(send.round, general, to, send.body, send.messages, send.rule)
            for general, part in self.parts.items()
            for send in part.say(round)
            for to in send.to
        ]
        self.frames += said
        return said
