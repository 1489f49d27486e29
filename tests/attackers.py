"""Lies that no laboratory needs and every general must survive: strategies for tests.

A scenario names one as `tests.attackers:Class`. All of them act through the same hooks as the
shipped strategies, so they can be played on every backend.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from node.effects import Accuse, Decide, Effect, Send, SetTimer
from node.events import Event, Received, Started, TimerFired
from node.messages import Body, Frame, Oral, Signed, SignedOrder
from node.orders import GeneralId
from node.signatures import CONTEXT_ORDER, Chains
from node.traitors import Power, Seat, Strategy
from node.wire import decode

#: The order of the group of Ed25519: adding it to the half S of a signature changes no equation.
ED25519_L = 2**252 + 27742317777372353535851937790883648493


class Twice(Strategy):
    """Says the truth, and in a second frame of the same round the opposite."""

    summary = "a second frame for the same round, with other values"
    powers = frozenset({Power.INJECT})

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        assert isinstance(send.body, Oral)
        opposite = bytes(byte ^ 0x80 for byte in send.body.values)
        return [send, msgspec.structs.replace(send, body=Oral(opposite))]


class Whatever(Strategy):
    """Loyal, whatever parameters he is given: what a scenario says of them must arrive."""

    summary = "takes parameters of any name and lies about nothing"
    powers = frozenset()

    def __init__(self, seat: Seat, **others: Any) -> None:
        super().__init__(seat)
        self.others = others


class OralBytes(Strategy):
    """Sends these bytes where oral values are due. `values`: in hex."""

    summary = "raw bytes instead of oral values: values: '0000'"
    powers = frozenset({Power.ALTER})

    def __init__(self, seat: Seat, *, values: str) -> None:
        super().__init__(seat)
        self._values = bytes.fromhex(values)

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        return Oral(self._values)


class OtherRounds(Strategy):
    """Says what he should, and the same again under other round numbers."""

    summary = "the same frame under other rounds as well: rounds: [3, 0, -1]"
    powers = frozenset({Power.INJECT})

    def __init__(self, seat: Seat, *, rounds: Sequence[int]) -> None:
        super().__init__(seat)
        self._rounds = rounds

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        return [*(msgspec.structs.replace(send, round=r) for r in self._rounds), send]


class RawOrder(Strategy):
    """Sends one signed order that he composed himself, whatever was due.

    `token` is text, or hex where it begins with 0x; `repeat` makes it that many times as long.
    Signatures are true where the coalition holds the key and zeros elsewhere, `signatures` of them
    if it is given; where they are too few, the general adds what he has the keys for.
    """

    summary = "one signed order, every part of it chosen: token, signers, signatures"
    powers = frozenset({Power.ALTER, Power.SIGN})

    def __init__(
        self,
        seat: Seat,
        *,
        token: str,
        signers: Sequence[int],
        repeat: int = 1,
        signatures: int | None = None,
    ) -> None:
        super().__init__(seat)
        raw = bytes.fromhex(token[2:]) if token.startswith("0x") else token.encode()
        self._token = raw * repeat
        self._signers = tuple(signers)
        self._signatures = signatures

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        blank = SignedOrder(self._token, self._signers, ())
        order = self.seat.chains.complete(blank, instance, self.seat.keys)
        wanted = len(order.signers) if self._signatures is None else self._signatures
        kept = (order.signatures + (bytes(64),) * wanted)[:wanted]
        return Signed((SignedOrder(self._token, self._signers, kept),))


class Malleable(Strategy):
    """Gives each of his signatures the form S + L, which naive verifiers take for another one."""

    summary = "malleated signatures: the half S plus the order of the group"
    powers = frozenset({Power.ALTER})

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        assert isinstance(body, Signed)
        orders = (self.seat.chains.complete(o, instance, self.seat.keys) for o in body.orders)
        return Signed(tuple(self._malleated(order) for order in orders))

    def _malleated(self, order: SignedOrder) -> SignedOrder:
        *before, last = order.signatures
        s = int.from_bytes(last[32:], "little") + ED25519_L
        return SignedOrder(
            order.token, order.signers, (*before, last[:32] + s.to_bytes(32, "little"))
        )


class Misplaced(Strategy):
    """Gives an order of the coalition that is well signed, but for somewhere else.

    `what` is all that differs: the context, the protocol, the run, the instance or the value.
    """

    summary = "signs for another context, protocol, run, instance or value: what: protocol"
    powers = frozenset({Power.ALTER, Power.SIGN})

    def __init__(self, seat: Seat, *, what: str, value: str) -> None:
        super().__init__(seat)
        self._what = what
        self._value = value
        self._run = b""

    def on_event(self, event: Event, effects: list[Effect]) -> list[Effect]:
        if isinstance(event, Received):
            self._run = event.frame.run
        return super().on_event(event, effects)

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        token = self.domain.token(self._value)
        blank = SignedOrder(token, (instance, self.seat.me), ())
        return Signed((self._signed(blank, instance),))

    def _signed(self, blank: SignedOrder, instance: int) -> SignedOrder:
        publics = {g: signer.public for g, signer in self.seat.keys.items()}
        keys: Mapping[GeneralId, Any] = self.seat.keys
        here = Chains(self._run, "signed", publics)
        match self._what:
            case "nothing":
                return here.complete(blank, instance, keys)
            case "context":
                return here.complete(blank, instance, {g: _Elsewhere(keys[g]) for g in keys})
            case "protocol":
                return Chains(self._run, "pbft", publics).complete(blank, instance, keys)
            case "run":
                other = bytes(byte ^ 1 for byte in self._run)
                return Chains(other, "signed", publics).complete(blank, instance, keys)
            case "instance":
                return here.complete(blank, instance + 1, keys)
            case "value":
                other_value = msgspec.structs.replace(blank, token=b'"charge"')
                signed = here.complete(other_value, instance, keys)
                return msgspec.structs.replace(signed, token=blank.token)
            case what:
                raise ValueError(f"there is no {what!r}")


class _Elsewhere:
    """A key that signs the same statement as what it would be in another protocol's message."""

    def __init__(self, signer: Any) -> None:
        self._signer = signer

    def sign(self, context: bytes, statement: bytes) -> bytes:
        assert context == CONTEXT_ORDER
        return bytes(self._signer.sign(b"byzantine/1/prepare", statement))


class Recorded(Strategy):
    """Tells what he recorded: the signed orders of an old frame. `frame`: in hex."""

    summary = "the orders of a recorded frame, in a new frame of this run: frame: hex"
    powers = frozenset({Power.ALTER})

    def __init__(self, seat: Seat, *, frame: str) -> None:
        super().__init__(seat)
        recorded = decode(bytes.fromhex(frame))
        assert isinstance(recorded, Frame)
        assert isinstance(recorded.body, Signed)
        self._body = recorded.body

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        return self._body


class Forwarder(Strategy):
    """Says nothing of his own in round 2, and hands what one lieutenant told him on to the others.

    `late_ms` after the deadline of round 2 where it is given, else as soon as he has it.
    """

    summary = "forwards chains of others without signing them: late_ms: 1"
    powers = frozenset({Power.WITHHOLD, Power.INJECT, Power.DELAY})

    def __init__(self, seat: Seat, *, late_ms: float | None = None) -> None:
        super().__init__(seat)
        self._late_ms = late_ms
        self._started_s = 0.0
        self._held: dict[str, list[Effect]] = {}

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        return [] if send.round == 2 else [send]

    def on_event(self, event: Event, effects: list[Effect]) -> list[Effect]:
        changed = super().on_event(event, effects)
        match event:
            case Started(at_s):
                self._started_s = at_s
            case Received(sender, frame) if frame.round == 2:
                return changed + self._forwarded(sender, frame)
            case TimerFired(name) if name in self._held:
                return self._held.pop(name)
            case _:
                pass
        return changed

    def _forwarded(self, author: GeneralId, frame: Frame) -> list[Effect]:
        to = tuple(g for g in self.seat.brief.lieutenants(0) if g not in (author, self.seat.me))
        forward: list[Effect] = [Send(to, 2, frame.body, messages=1, rule="lie:forwarder")]
        if self._late_ms is None:
            return forward
        name = f"forwarder/{author}"
        self._held[name] = forward
        due_s = self._started_s + 2 * self.seat.brief.delta_s + self._late_ms / 1000
        return [SetTimer(name, due_s, rule="lie:forwarder")]


class BogusFlood(Strategy):
    """Floods a round with long chains whose last signature is bad, each of another value.

    `chains` in all, in frames of `chains_a_frame`; `signers` of each, himself the last.
    """

    summary = "10,000 chains with a bad last signature: round: 3, signers: [0, 4, 3]"
    powers = frozenset({Power.INJECT, Power.SIGN})

    def __init__(
        self,
        seat: Seat,
        *,
        round: int,
        signers: Sequence[int],
        chains: int = 10_000,
        chains_a_frame: int = 2_500,
    ) -> None:
        super().__init__(seat)
        self._round = round
        self._signers = tuple(signers)
        self._chains = chains
        self._chains_a_frame = chains_a_frame
        self._bodies: list[Signed] = []

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        if send.round != self._round:
            return [send]
        bodies = self._bodies = self._bodies or self._flood()
        return [
            msgspec.structs.replace(send, body=body, messages=len(body.orders)) for body in bodies
        ]

    def _flood(self) -> list[Signed]:
        orders = [self._bogus(float(1000 + k)) for k in range(self._chains)]
        step = self._chains_a_frame
        return [Signed(tuple(orders[k : k + step])) for k in range(0, len(orders), step)]

    def _bogus(self, value: float) -> SignedOrder:
        true = self.order(value, self._signers, 0)
        *before, last = true.signatures
        return SignedOrder(true.token, true.signers, (*before, last[:-1] + bytes([last[-1] ^ 1])))


class Framer(Strategy):
    """Enters a proof against a loyal general into his own journal, spliced from what he heard.

    The second order bears the victim's signature on another value: `spliced`.
    """

    summary = "a proof against a loyal commander, made of one signature on two values"
    powers = frozenset({Power.INJECT})

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self._heard: SignedOrder | None = None

    def on_event(self, event: Event, effects: list[Effect]) -> list[Effect]:
        if isinstance(event, Received) and isinstance(event.frame.body, Signed):
            self._heard = self._heard or event.frame.body.orders[0]
        changed = super().on_event(event, effects)
        if not any(isinstance(effect, Decide) for effect in changed) or self._heard is None:
            return changed
        true = SignedOrder(self._heard.token, (0,), self._heard.signatures[:1])
        spliced = self._falsified(true, 0, 1)
        return [*changed, Accuse(0, 0, (true, spliced), rule="lie:framer")]

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        """What he relays is spliced as well: the victim's signature under another value."""
        if not isinstance(body, Signed):
            return body
        return Signed(tuple(self._falsified(order, to, round) for order in body.orders))

    def lie(self, codes: Any, to: GeneralId, round: int) -> Any:
        return self.domain.opposites(codes)


def named(strategy: type[Strategy], /, **params: Any) -> dict[str, Any]:
    """A traitor of this module, as a scenario writes it."""
    return {"strategy": f"{__name__}:{strategy.__name__}", "with": params}
