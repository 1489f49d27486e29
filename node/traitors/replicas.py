"""Traitors of PBFT: each runs the loyal replica and changes what it asked to be sent.

A strategy overrides the narrowest hook that carries its lie. It has its own replica's key, and no
other's; chance comes from `seat.chance` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import msgspec
import numpy as np

from node.protocols.pbft.authentication import Authenticity, batch_digest, results_digest
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.effects import Answer, Effect, Persist, Send, SetTimer
from node.protocols.pbft.messages import (
    NULL,
    Batch,
    BatchFound,
    Checkpoint,
    Commit,
    Manifest,
    Message,
    NewView,
    Page,
    Prepare,
    PrePrepare,
    ReplicaId,
    Request,
    Status,
    ViewChange,
    Vote,
)
from node.protocols.pbft.replica import STATUS

#: Names of timers that a traitor sets for himself begin so.
LIE = "lie/"


class ReplicaSeat(msgspec.Struct):
    """Where a traitor sits: who he is, what he may sign with, and his chance."""

    me: ReplicaId
    configuration: Configuration
    authenticity: Authenticity
    chance: np.random.Generator

    @property
    def others(self) -> tuple[ReplicaId, ...]:
        return tuple(r for r in range(self.configuration.n) if r != self.me)


class ReplicaStrategy:
    """Honest defaults: whatever is not overridden is told as the loyal replica would."""

    summary: ClassVar[str] = "plays by the rules"

    def __init__(self, seat: ReplicaSeat) -> None:
        self.seat = seat

    def change(self, effects: list[Effect]) -> list[Effect]:
        """What becomes of what the loyal replica asks for."""
        changed: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send):
                changed += self._told(effect)
            elif isinstance(effect, Answer):
                answer = self.answer(effect)
                changed += [answer] if answer is not None else []
            else:
                changed.append(effect)
        return changed

    def wake(self, name: str) -> list[Effect]:
        """A timer of the traitor's own is due."""
        return []

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        """What one other hears instead of one message."""
        return [message]

    def answer(self, answer: Answer) -> Answer | None:
        """What a client hears instead of a reply."""
        return answer

    def _told(self, send: Send) -> list[Effect]:
        told = [(to, self.tell(send.message, to)) for to in send.to]
        if all(len(m) == 1 and m[0] is send.message for _, m in told):
            return [send]
        return [Send((to,), message, send.rule) for to, messages in told for message in messages]


class Silent(ReplicaStrategy):
    summary = "says nothing, to replicas and clients"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        return []

    def answer(self, answer: Answer) -> Answer | None:
        return None


class Equivocator(ReplicaStrategy):
    """As primary; `withholds_commits` in the way of ATTACKS.md, PB1."""

    summary = "as primary proposes one batch to the next replica and another to the rest"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        if isinstance(message, Commit):
            return []
        if isinstance(message, PrePrepare) and to != self.seat.others[0]:
            batch = msgspec.structs.replace(message.batch, time_ns=message.batch.time_ns + 1)
            return [msgspec.structs.replace(message, batch=batch)]
        return [message]


class Liar(ReplicaStrategy):
    summary = "prepares and commits digests that nobody proposed, and answers clients falsely"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        if isinstance(message, Prepare | Commit):
            return [msgspec.structs.replace(message, digest=self.seat.chance.bytes(32))]
        return [message]

    def answer(self, answer: Answer) -> Answer | None:
        true, chance = answer.reply.results, self.seat.chance
        results = None if true is None else tuple(chance.bytes(8) for _ in true)
        digest = chance.bytes(32) if results is None else results_digest(results)
        false = msgspec.structs.replace(answer.reply, digest=digest, results=results)
        return msgspec.structs.replace(answer, reply=false)


class Repeater(ReplicaStrategy):
    summary = "says every vote three times over"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        return [message] * 3 if isinstance(message, Prepare | Commit | Checkpoint) else [message]


class Slow(ReplicaStrategy):
    """PB14. The pre-prepare is held for `SHARE` of the view-change timeout."""

    summary = "as primary holds each proposal for nine tenths of the timeout"
    SHARE: ClassVar[float] = 0.9

    def __init__(self, seat: ReplicaSeat) -> None:
        super().__init__(seat)
        self._held: dict[str, Effect] = {}
        self._number = 0

    def _told(self, send: Send) -> list[Effect]:
        if not isinstance(send.message, PrePrepare):
            return [send]
        self._number += 1
        name = f"{LIE}{self._number}"
        self._held[name] = send
        return [SetTimer(name, self.SHARE * self.seat.configuration.timeout_s, send.rule)]

    def wake(self, name: str) -> list[Effect]:
        held = self._held.pop(name, None)
        return [held] if held is not None else []


class Reorderer(ReplicaStrategy):
    summary = "as primary proposes a batch's requests in backward order"

    def change(self, effects: list[Effect]) -> list[Effect]:
        return super().change([self._turned(effect) for effect in effects])

    def _turned(self, effect: Effect) -> Effect:
        if isinstance(effect, Send) and isinstance(effect.message, PrePrepare):
            batch = effect.message.batch
            turned = msgspec.structs.replace(batch, requests=batch.requests[::-1])
            message = msgspec.structs.replace(effect.message, batch=turned)
            return msgspec.structs.replace(effect, message=message)
        return effect


class Starver(ReplicaStrategy):
    """The starved client is number 0; a batch with nothing else in it is not proposed at all."""

    summary = "as primary leaves out the requests of client 0"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        if not isinstance(message, PrePrepare):
            return [message]
        kept = tuple(r for r in message.batch.requests if r.client != 0)
        if not kept:
            return []
        batch = msgspec.structs.replace(message.batch, requests=kept)
        return [msgspec.structs.replace(message, batch=batch)]


class Inventor(ReplicaStrategy):
    """PB12."""

    summary = "as primary adds a request that its client never made"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        if not isinstance(message, PrePrepare):
            return [message]
        real = message.batch.requests[0]
        false = Request(real.client, real.timestamp + 1, 0, real.operations, False, real.macs)
        batch = msgspec.structs.replace(message.batch, requests=(*message.batch.requests, false))
        return [msgspec.structs.replace(message, batch=batch)]


class CertificateForger(ReplicaStrategy):
    """Claims in its view-changes to have prepared what it never did, and hides what it did."""

    summary = "lists batches in its view-changes that it invented"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        if not isinstance(message, ViewChange):
            return [message]
        numbers = [v.sequence for v in message.pre_prepared] or [message.stable + 1]
        view = message.view - 1
        false = tuple(Vote(n, b"\xaa" * 32, view) for n in sorted(set(numbers)))
        forged = msgspec.structs.replace(message, prepared=false, pre_prepared=false, signature=b"")
        return [self.seat.authenticity.signed_view_change(forged)]


class TwoFacedViewChanger(ReplicaStrategy):
    """Signs two view-changes for one view, which is evidence once two replicas compare."""

    summary = "hides what it prepared from half of the replicas when it changes views"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        if not isinstance(message, ViewChange) or to % 2:
            return [message]
        empty = msgspec.structs.replace(message, prepared=(), pre_prepared=(), signature=b"")
        return [self.seat.authenticity.signed_view_change(empty)]


class NewViewForger(ReplicaStrategy):
    """PB5: what was prepared becomes the null request, or a view-change is left out."""

    summary = "as the new primary begins the view without what was prepared"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        if not isinstance(message, NewView):
            return [message]
        if message.chosen and any(message.chosen):
            forged = msgspec.structs.replace(
                message, chosen=(NULL,) * len(message.chosen), signature=b""
            )
        else:
            fewer = message.view_changes[:-1]
            forged = msgspec.structs.replace(message, view_changes=fewer, signature=b"")
        return [self.seat.authenticity.signed_new_view(forged)]


class CheckpointForger(ReplicaStrategy):
    """PB9."""

    summary = "says that the state is another, and hands out pages of it"

    def tell(self, message: Message, to: ReplicaId) -> list[Message]:
        match message:
            case Checkpoint(sequence):
                return [Checkpoint(sequence, b"\xbb" * 32)]
            case Manifest(sequence, pages):
                return [Manifest(sequence, (b"\xcc" * 32,) * max(1, len(pages)))]
            case Page(data):
                return [Page(data[::-1] + b"x")]
            case BatchFound(batch):
                return [BatchFound(msgspec.structs.replace(batch, time_ns=batch.time_ns + 1))]
            case _:
                return [message]


class ViewChangeSpammer(ReplicaStrategy):
    """PB7: at every status period a view-change for a later view, up to a million."""

    summary = "asks for view after view"

    def __init__(self, seat: ReplicaSeat) -> None:
        super().__init__(seat)
        self._view = 0

    def change(self, effects: list[Effect]) -> list[Effect]:
        spam: list[Effect] = []
        if any(isinstance(e, SetTimer) and e.name == STATUS for e in effects):
            for _ in range(5):
                self._view = min(self._view + int(self.seat.chance.integers(1, 50_001)), 1_000_000)
                spam.append(Send(self.seat.others, self._asking(), "1999-4.4 view-change"))
        return super().change(effects) + spam

    def _asking(self) -> ViewChange:
        genesis = (Checkpoint(0, b"\xdd" * 32),)
        return self.seat.authenticity.signed_view_change(
            ViewChange(self._view, self.seat.me, 0, genesis, (), ())
        )


class Babbler(ReplicaStrategy):
    """PB2 and the like, from whatever place: wrong views, huge numbers, another's office."""

    summary = "says pre-prepares, votes and statuses of impossible views and numbers"

    def change(self, effects: list[Effect]) -> list[Effect]:
        babble: list[Effect] = []
        if any(isinstance(effect, Persist | SetTimer) for effect in effects):
            babble = [Send(self.seat.others, m, "babble") for m in self._nonsense()]
        return super().change(effects) + babble

    def _nonsense(self) -> list[Message]:
        chance = self.seat.chance
        huge, digest = (1 << 63) - 1, chance.bytes(32)
        batch = Batch(1, b"", ())

        def one_of(*numbers: int) -> int:
            return numbers[int(chance.integers(len(numbers)))]

        return [
            PrePrepare(one_of(0, 1, 2, 3), one_of(1, huge), batch),
            Prepare(one_of(*range(10)), one_of(1, 5, huge), digest),
            Commit(one_of(0, huge), one_of(1, 7, huge), batch_digest(batch)),
            Checkpoint(one_of(huge - huge % 8, 8, 16), digest),
            Status(one_of(*range(6)), True, 0, one_of(0, huge)),
        ]


REPLICA_STRATEGIES: dict[str, type[ReplicaStrategy]] = {
    "silent": Silent,
    "equivocator": Equivocator,
    "liar": Liar,
    "repeater": Repeater,
    "slow": Slow,
    "reorderer": Reorderer,
    "starver": Starver,
    "inventor": Inventor,
    "certificate-forger": CertificateForger,
    "two-faced-view-changer": TwoFacedViewChanger,
    "new-view-forger": NewViewForger,
    "checkpoint-forger": CheckpointForger,
    "view-change-spammer": ViewChangeSpammer,
    "babbler": Babbler,
}

#: Makes a traitor of whoever sits there.
Corruption: TypeAlias = Callable[[ReplicaSeat], ReplicaStrategy]
