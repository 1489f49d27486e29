"""A traitor: a loyal machine whose effects a strategy may change before anyone sees them.

Loyal code never asks who is a traitor. A strategy overrides the narrowest hook that carries its
lie, from `lie` (values) over `alter` (one body), `tell` (one receiver) to `on_event` (everything),
and what it leaves alone is told truly.
"""

from __future__ import annotations

import hashlib
import inspect
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
import numpy as np

from node.effects import Effect, Lie, Send
from node.events import Event
from node.messages import Body, Bundle, Content, Oral, Parcel, Parcels, Signed, SignedOrder
from node.orders import Brief, Codes, GeneralId, Value
from node.protocols.catalogue import values_in_frame
from node.protocols.lockstep import Machine
from node.signatures import SIGNATURE_BYTES, Chains, Signer
from node.words import body_text

#: Bodies whose words a liar has at hand: the truth, and what he makes of it for some.
WORDS_KEPT: Final = 4


class Power(StrEnum):
    """What a lie needs to be able to do."""

    ALTER = "alters values"
    WITHHOLD = "withholds frames"
    DELAY = "delays frames"
    INJECT = "sends what nobody owes"
    SIGN = "signs with every key of the coalition"


@dataclass(frozen=True)
class Seat:
    """What a traitor knows and may use: who he is, the brief, his coalition's keys, and chance.

    `another` makes one more loyal machine of his, with another brief.
    """

    me: GeneralId
    brief: Brief
    seed: int
    keys: Mapping[GeneralId, Signer]
    chains: Chains
    another: Callable[[Brief], Machine] | None = None

    def chance(self, to: GeneralId, round: int, purpose: str) -> np.random.Generator:
        """Chance keyed by (seed, sender, receiver, round), never by arrival."""
        key = f"{purpose}/{self.seed}/{self.me}/{to}/{round}".encode()
        digest = hashlib.blake2b(key, digest_size=16).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big")))


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a traitor lies: in which rounds, to whom, with what probability. Absent: always."""

    rounds: tuple[int, ...] | None = None
    to: tuple[GeneralId, ...] | None = None
    probability: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"probability is {self.probability}, not within 0 and 1")

    def fires(self, seat: Seat, to: GeneralId, round: int) -> bool:
        if self.rounds is not None and round not in self.rounds:
            return False
        if self.to is not None and to not in self.to:
            return False
        if self.probability == 1.0:
            return True
        return float(seat.chance(to, round, "trigger").random()) < self.probability


class Strategy:
    """One lie. Subclasses take their parameters by keyword and refuse bad ones by ValueError."""

    summary: ClassVar[str]
    powers: ClassVar[frozenset[Power]]

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.domain = seat.brief.domain
        self.trigger = Trigger()
        self.name = type(self).__name__
        #: The last bodies that were put into words: what one is told, others are often told too.
        self._in_words: deque[tuple[Content, int, str]] = deque(maxlen=WORDS_KEPT)

    def hears(self, event: Event) -> bool:
        """Whether the loyal machine learns of an event at all."""
        return True

    def on_event(self, event: Event, effects: list[Effect]) -> list[Effect]:
        """What becomes of what the loyal machine asked for on this event."""
        changed: list[Effect] = []
        for effect in effects:
            if isinstance(effect, Send):
                for to in effect.to:
                    changed += self._to_one(msgspec.structs.replace(effect, to=(to,)), to)
            else:
                changed.append(effect)
        return changed

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        """What goes to one receiver instead of `send`, whose trigger has fired."""
        return self.substitute(send, to, self._altered(send.body, to, send.round))

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        """What becomes of one body: by default its values pass through `lie`."""
        match body:
            case Oral(values):
                count = values_in_frame(self.seat.brief, round)
                codes = self.domain.unpack(values, count)
                return Oral(self.domain.pack(self.lie(codes, to, round)))
            case Signed(orders):
                told = (self._falsified(order, to, round) for order in orders)
                return msgspec.structs.replace(body, orders=tuple(told))
            case _:
                return body

    def lie(self, codes: Codes, to: GeneralId, round: int) -> Codes:
        """What becomes of values, an array of codes."""
        return codes

    # What strategies build with.

    def substitute(self, send: Send, to: GeneralId, body: Content | None) -> list[Effect]:
        """`send` with another body, or with none, and the lie entered where there is one."""
        if body == send.body:
            return [send]
        truth, told = self.describe(send.body, send.round), self.describe(body, send.round)
        note = Lie(to, send.round, truth, told, rule=f"lie:{self.name}")
        if body is None:
            return [note]
        counted = len(body.orders) if isinstance(body, Signed) else send.messages
        return [note, msgspec.structs.replace(send, body=body, messages=counted)]

    def order(self, value: Value, signers: Iterable[GeneralId], instance: int) -> SignedOrder:
        """A signed order, true wherever the coalition holds the key, zeros from there on."""
        blank = SignedOrder(self.domain.token(value), tuple(signers), ())
        signed = self.seat.chains.complete(blank, instance, self.seat.keys)
        missing = len(signed.signers) - len(signed.signatures)
        padding = (bytes(SIGNATURE_BYTES),) * missing
        return msgspec.structs.replace(signed, signatures=signed.signatures + padding)

    def describe(self, body: Content | None, round: int) -> str:
        if body is None:
            return "nothing"
        for known, when, words in self._in_words:
            if known == body and when == round:
                return words
        words = body_text(body, self.seat.brief, round)
        self._in_words.append((body, round, words))
        return words

    def _to_one(self, send: Send, to: GeneralId) -> list[Effect]:
        if not self.trigger.fires(self.seat, to, send.round):
            return [send]
        return self.tell(send, to)

    def _altered(self, body: Content, to: GeneralId, round: int) -> Content:
        if isinstance(body, Parcels):
            step = (round - 1) // self.seat.brief.reach + 1
            return Parcels(tuple(self._opened(parcel, step) for parcel in body.parcels))
        if not isinstance(body, Bundle):
            return self.alter(body, to, round, self.seat.brief.commander or 0)
        parts = enumerate(body.parts)
        return Bundle(tuple(self.alter(part, to, round, index) for index, part in parts))

    def _opened(self, parcel: Parcel, round: int) -> Parcel:
        """What becomes of what is relayed, his own or another's, in the protocol's own round."""
        body = self._altered(parcel.body, parcel.path[-1], round)
        assert not isinstance(body, Parcels)
        return Parcel(parcel.path, body)

    def _falsified(self, order: SignedOrder, to: GeneralId, round: int) -> SignedOrder:
        """The order with its value through `lie`; signatures already there stay, good or not."""
        value = self.domain.read(order.token)
        if value is None:
            return order
        codes = np.array([self.domain.code(value)], dtype=self.domain.dtype)
        told = self.domain.value(self.lie(codes, to, round)[0])
        return msgspec.structs.replace(order, token=self.domain.token(told))


class Traitor:
    """The loyal machine under its strategy."""

    def __init__(self, machine: Machine, strategy: Strategy) -> None:
        self._machine = machine
        self._strategy = strategy

    def on_event(self, event: Event) -> list[Effect]:
        effects = self._machine.on_event(event) if self._strategy.hears(event) else []
        return self._strategy.on_event(event, effects)

    def learn(self, event: Event) -> None:
        """Tells the strategy what happened before its time."""
        self._strategy.on_event(event, [])


def parameters(strategy: type[Strategy]) -> dict[str, Any]:
    """The names and defaults of a strategy's parameters, `seat` and `**others` left out."""
    found = inspect.signature(strategy).parameters.values()
    return {p.name: p.default for p in found if p.name != "seat" and p.kind is not p.VAR_KEYWORD}


def takes_others(strategy: type[Strategy]) -> bool:
    """Whether a strategy takes parameters of any name, by `**others`."""
    found = inspect.signature(strategy).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in found)
