"""A camp of whole generals whose bytes are carried by hand, in virtual time.

Frames take no time at all; timers fire when nothing is left to carry, the earliest first. Keys are
the same in every test.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from node import wire
from node.control import Enlisted, Muster, Role, Roster, run_id
from node.effects import CancelTimer, Reason, SetTimer
from node.general import Action, Deliver, General
from node.messages import Frame
from node.orders import ATTACK, Brief, Combiner, Domain, Enumerated, GeneralId, Value

DELTA_S = 1.0


def secret_of(general: GeneralId) -> bytes:
    return bytes([general + 1]) * 32


class Camp:
    """Generals of one run, enlisted under one roster.

    `order`: the commander's; or every general's own value where nobody commands. `roles`: of the
    traitors. `nonce`: makes it another run.
    """

    def __init__(
        self,
        n: int = 4,
        m: int = 1,
        *,
        protocol: str = "oral",
        over: str | None = None,
        commander: GeneralId = 0,
        order: Value | Sequence[Value] = ATTACK,
        domain: Domain | None = None,
        combiner: Combiner = Combiner.MAJORITY,
        roles: Mapping[GeneralId, Role] | None = None,
        seed: int = 7,
        nonce: bytes = b"nonce",
    ) -> None:
        self.generals = {g: General(secret_of(g)) for g in range(n)}
        self.roster = Roster(
            tuple(Enlisted(g, "", b"", who.signer.public) for g, who in self.generals.items())
        )
        self.run = run_id(self.roster, b"scenario", nonce)
        self.now_s = 0.0
        #: What was delivered: (sender, receiver, bytes).
        self.carried: list[tuple[GeneralId, GeneralId, bytes]] = []
        self._road: deque[tuple[GeneralId, GeneralId, bytes]] = deque()
        self._timers: dict[tuple[GeneralId, str], float] = {}
        has_commander = protocol in ("oral", "signed")
        values = [order] * n if isinstance(order, str | int | float) else order
        for g in range(n):
            brief = Brief(
                protocol=protocol,
                n=n,
                m=m,
                commander=commander if has_commander else None,
                over=over,
                combiner=combiner,
                domain=domain or Enumerated(),
                value=values[g] if g == commander or not has_commander else None,
                delta_s=DELTA_S,
            )
            self.generals[g].enlist(self.muster_of(g, brief, (roles or {}).get(g), seed))

    def muster_of(
        self, general: GeneralId, brief: Brief, role: Role | None = None, seed: int = 7
    ) -> Muster:
        return Muster(
            me=general,
            run=self.run,
            roster=self.roster,
            brief=brief,
            role=role,
            seed=seed,
            wait_s=1.0,
        )

    def __getitem__(self, general: GeneralId) -> General:
        return self.generals[general]

    def meet(self) -> Camp:
        """The barrier: probes, echoes and a coalition's keys."""
        for g, who in self.generals.items():
            self.act(g, who.muster())
        self._carry_all()
        return self

    def play(self, start_s: float = 0.0) -> Camp:
        """From the start to the end of the last timer; then every journal is closed."""
        self.now_s = start_s
        for g, who in self.generals.items():
            self.act(g, who.start(start_s))
        self._carry_all()
        while self._timers:
            (g, name), self.now_s = min(self._timers.items(), key=lambda item: (item[1], item[0]))
            del self._timers[g, name]
            self.act(g, self.generals[g].wake(name, self.now_s))
            self._carry_all()
        for who in self.generals.values():
            who.close()
        return self

    def act(self, general: GeneralId, actions: list[Action]) -> None:
        """Carries out what a general asked for."""
        for action in actions:
            match action:
                case Deliver(to, data):
                    self._road.extend((general, receiver, data) for receiver in to)
                case SetTimer(name, at_s):
                    self._timers[general, name] = at_s
                case CancelTimer(name):
                    del self._timers[general, name]

    def values(self) -> dict[GeneralId, Any]:
        """What each general decided, None where he did not."""
        return {g: who.decision and who.decision.value for g, who in self.generals.items()}

    def refusals(self, general: GeneralId) -> dict[tuple[GeneralId, Reason], int]:
        return dict(self.generals[general].refusals)

    def journal(self, general: GeneralId) -> bytes:
        """The journal file."""
        return b"".join(self.generals[general].journal.lines())

    def frames(self, sender: GeneralId, to: GeneralId | None = None) -> list[Frame]:
        """The frames that were carried from a general."""
        messages = [
            wire.decode(data) for s, r, data in self.carried if s == sender and to in (None, r)
        ]
        return [message for message in messages if isinstance(message, Frame)]

    def _carry_all(self) -> None:
        while self._road:
            sender, receiver, data = self._road.popleft()
            self.carried.append((sender, receiver, data))
            self.act(receiver, self.generals[receiver].receive(sender, data, self.now_s))
