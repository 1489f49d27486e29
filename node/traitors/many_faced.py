"""Floods: a commander signs as many distinct values as he likes, to everyone."""

from __future__ import annotations

import numpy as np

from node.messages import Body, Oral, Signed
from node.orders import Enumerated, GeneralId, Value
from node.protocols.catalogue import values_in_frame
from node.traitors.traitor import Power, Seat, Strategy

#: Orders in one flood, at most: a frame is bounded, and so is what a traitor can put into it.
VALUES_MAX = 8192


class ManyFaced(Strategy):
    """`values`: how many distinct values he signs as commander. Oral: another one to each."""

    summary = "signs many distinct values to everyone as commander: values: 1000"
    powers = frozenset({Power.ALTER, Power.SIGN})

    def __init__(self, seat: Seat, *, values: int = 1000) -> None:
        super().__init__(seat)
        if not 1 <= values <= VALUES_MAX:
            raise ValueError(f"values is {values}, not within 1 and {VALUES_MAX}")
        self._faces = [self._face(index) for index in range(values)]

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        commands = round == 1 and instance == self.seat.me
        match body:
            case Signed() if commands:
                return Signed(
                    tuple(self.order(face, (self.seat.me,), instance) for face in self._faces)
                )
            case Oral():
                face = self._faces[to % len(self._faces)]
                if not self.domain.contains(face):
                    return body
                codes = np.full(
                    values_in_frame(self.seat.brief, round),
                    self.domain.code(face),
                    dtype=self.domain.dtype,
                )
                return Oral(self.domain.pack(codes))
            case _:
                return body

    def _face(self, index: int) -> Value:
        """Values of the domain first; beyond them, values that no general will accept."""
        if not isinstance(self.domain, Enumerated):
            return float(index)
        values = self.domain.values
        return values[index] if index < len(values) else f"order-{index}"
