"""Says exactly what a table prescribes: which value, to whom, in which round, along which path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from node.effects import Effect, Send
from node.messages import Body, Empty, Oral, Signed
from node.orders import GeneralId, Value
from node.protocols import catalogue, paths
from node.traitors.traitor import Power, Seat, Strategy


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of the table; what it leaves out matches everything.

    `say`: the value, or null for silence. `path`: of one value, the generals it came by, the
    commander first and the speaker last, as many as the round's number. `chain`: the exact signers
    of a signed order, which then replaces the orders that would have been sent; of several such
    lines, all are sent. `instance`: under interactive consistency, whose value it is.
    """

    say: Value | None
    round: int | None = None
    to: int | tuple[GeneralId, ...] | None = None
    path: tuple[GeneralId, ...] | None = None
    chain: tuple[GeneralId, ...] | None = None
    instance: GeneralId | None = None

    def matches(self, to: GeneralId, round: int) -> bool:
        audience = (self.to,) if isinstance(self.to, int) else self.to
        return (
            self.round in (None, round)
            and (audience is None or to in audience)
            and (self.path is None or len(self.path) == round)
        )

    def concerns(self, instance: GeneralId) -> bool:
        """Whether it is about the orders of that commander."""
        commander = self.path[0] if self.path else instance
        return self.instance in (None, instance) and commander == instance


class Script(Strategy):
    summary = "says what a table prescribes: lines: [{round: 2, to: 1, path: [0, 3], say: retreat}]"
    powers = frozenset({Power.ALTER, Power.WITHHOLD, Power.SIGN})

    def __init__(self, seat: Seat, *, lines: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(seat)
        self._lines: list[Line] = []
        for number, fields in enumerate(lines, start=1):
            try:
                self._lines.append(self._checked(msgspec.convert(fields, Line)))
            except (msgspec.ValidationError, ValueError) as fault:
                raise ValueError(f"line {number} of the script: {fault}") from None

    def tell(self, send: Send, to: GeneralId) -> list[Effect]:
        lines = [line for line in self._lines if line.matches(to, send.round)]
        if any(line.say is None and line.instance is None for line in lines):
            return self.substitute(send, to, None)
        return super().tell(send, to)

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        lines = [
            line for line in self._lines if line.matches(to, round) and line.concerns(instance)
        ]
        if any(line.say is None for line in lines):
            return Empty()
        chains = [line for line in lines if line.chain is not None and line.say is not None]
        if chains:
            return Signed(
                tuple(self.order(line.say, line.chain or (), instance) for line in chains)  # type: ignore[arg-type]
            )
        for line in lines:
            body = self._retold(body, line, round, instance)
        return body

    def _checked(self, line: Line) -> Line:
        """The line as the domain holds its value; a chain may bear any value that can be spelt."""
        if line.path is not None:
            self._check_path(line.path)
        if line.say is None:
            return line
        if line.chain is None:
            return msgspec.structs.replace(line, say=self.domain.admitted(line.say))
        self.domain.token(line.say)
        return line

    def _check_path(self, path: tuple[GeneralId, ...]) -> None:
        n, me = self.seat.brief.n, self.seat.me
        if not catalogue.played(self.seat.brief).has_paths:
            raise ValueError(
                f"the values of {self.seat.brief.protocol} have no paths: leave it out"
            )
        if not path or path[-1] != me:
            raise ValueError(f"the path {list(path)} does not end with its speaker, general {me}")
        if len(set(path)) != len(path) or not all(0 <= general < n for general in path):
            raise ValueError(f"the path {list(path)} is none of distinct generals below {n}")

    def _retold(self, body: Body, line: Line, round: int, instance: int) -> Body:
        """The body with the line's value in place of all values, or of the one on its path."""
        assert line.say is not None
        match body:
            case Oral(values):
                codes = self.domain.unpack(
                    values, catalogue.values_in_frame(self.seat.brief, round)
                ).copy()
                where = self._position(line.path, instance)
                codes[where] = self.domain.code(line.say)
                return Oral(self.domain.pack(codes))
            case Signed(orders):
                token = self.domain.token(line.say)
                told = (
                    msgspec.structs.replace(o, token=token) if line.path in (None, o.signers) else o
                    for o in orders
                )
                return msgspec.structs.replace(body, orders=tuple(told))
            case _:
                return body

    def _position(self, path: tuple[GeneralId, ...] | None, commander: GeneralId) -> slice | int:
        """Where a path's value stands in my frame of its round; everywhere without a path."""
        if path is None:
            return slice(None)
        me = self.seat.me
        ranks = tuple(g - (g > commander) - (g > me) for g in path[1:-1])
        return paths.position(self.seat.brief.n - 2, ranks)
