"""Shows each general the face that was chosen for him: one value in place of all others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from node.orders import Codes, GeneralId, Value
from node.traitors.traitor import Power, Seat, Strategy


class TwoFaced(Strategy):
    """`faces`: which value is told to whom. Generals named under none hear the truth."""

    summary = "tells each general the value chosen for him: faces: {attack: [1, 3], retreat: [2]}"
    powers = frozenset({Power.ALTER})

    def __init__(
        self, seat: Seat, *, faces: Mapping[Value, GeneralId | Sequence[GeneralId]]
    ) -> None:
        super().__init__(seat)
        self._face: dict[GeneralId, Value] = {}
        for told, audience in faces.items():
            value = seat.brief.domain.admitted(told)
            for general in [audience] if isinstance(audience, int) else audience:
                if self._face.setdefault(general, value) != value:
                    raise ValueError(f"general {general} is shown two faces")

    def lie(self, codes: Codes, to: GeneralId, round: int) -> Codes:
        if to not in self._face:
            return codes
        return np.full_like(codes, self.domain.code(self._face[to]))
