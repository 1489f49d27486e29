"""All generals in one thread, in virtual time: the real General objects, bytes and all.

Frames take `LATENCY_S` and nothing else takes any time, so a run depends on its scenario and seed
alone: keys and nonce are drawn from the seed too. Where a frame and a timer fall on the same
instant the frame comes first: what arrives at the deadline is in time.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable
from pathlib import Path

from node.control import Decided, Enlisted, Muster, Roster, run_id
from node.effects import CancelTimer, Decide, SetTimer
from node.general import Action, Deliver, General
from node.logs import Log
from node.orders import GeneralId
from orchestrator.backends import Backend, BackendError, Mustered
from orchestrator.casting import Cast

#: How long a frame takes, in seconds of virtual time. Less than any round may last.
LATENCY_S = 1e-4

# What stands in the agenda: (when, frame before timer, order of entry, whom, what).
_Item = tuple[float, int, int, GeneralId, "tuple[GeneralId, bytes] | str"]
_FRAME, _TIMER = 0, 1


class Simulation(Backend):
    """Plays a cast by an agenda of frames and timers, in order of virtual time."""

    name = "simulation"

    def __init__(self) -> None:
        self._generals: dict[GeneralId, General] = {}
        self._agenda: list[_Item] = []
        self._entered = 0
        self._now_s = 0.0
        self._start_s = 0.0
        #: The instant for which a timer is set; a timer at another instant is stale.
        self._timers: dict[tuple[GeneralId, str], float] = {}
        self._decided: dict[GeneralId, Decided] = {}
        self._logs: Path | None = None

    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        self._logs = logs
        secrets = [_drawn(cast.seed, f"secret/{part.general}") for part in cast.parts]
        self._generals = {
            part.general: General(secret) for part, secret in zip(cast.parts, secrets, strict=True)
        }
        roster = Roster(
            tuple(Enlisted(g, "", b"", who.signer.public) for g, who in self._generals.items())
        )
        nonce = _drawn(cast.seed, "nonce")
        run = run_id(roster, cast.scenario, nonce)
        for part in cast.parts:
            self._generals[part.general].enlist(
                Muster(
                    me=part.general,
                    run=run,
                    roster=roster,
                    brief=part.brief,
                    role=part.role,
                    seed=cast.seed,
                    wait_s=0.0,
                )
            )
        self._meet()
        return Mustered(roster, run, nonce, dict.fromkeys(self._generals, self.name))

    def command(self, on_decided: Callable[[GeneralId], None]) -> dict[GeneralId, Decided]:
        self._start_s = self._now_s
        for general, who in self._generals.items():
            self._carry(general, who.start(self._now_s))
        self._play()
        for general in self._decided:
            on_decided(general)
        for general, who in self._generals.items():
            if general not in self._decided and who.is_done:
                self._decided[general] = Decided(None, (), self._now_s - self._start_s)
        return dict(sorted(self._decided.items()))

    def collect(self) -> dict[GeneralId, bytes]:
        journals = {}
        for general, who in self._generals.items():
            journals[general] = b"".join(who.hand_in())
            if self._logs is not None:
                with (self._logs / f"general-{general}.log").open("w") as stream:
                    Log(stream).catch_up(who.journal, len(who.journal.entries))
        return journals

    def disband(self) -> None:
        self._generals.clear()
        self._agenda.clear()

    def _meet(self) -> None:
        """The barrier: probes and echoes until every general is ready."""
        for general, who in self._generals.items():
            self._carry(general, who.muster())
        self._play()
        for general, who in self._generals.items():
            if not who.is_ready:
                raise BackendError(f"node {general} not ready: it misses {who.missing}")

    def _play(self) -> None:
        """Works the agenda off."""
        while self._agenda:
            self._now_s, _, _, general, what = heapq.heappop(self._agenda)
            who = self._generals[general]
            if not isinstance(what, str):
                self._carry(general, who.receive(*what, self._now_s))
            elif self._timers.get((general, what)) == self._now_s:
                del self._timers[general, what]
                self._carry(general, who.wake(what, self._now_s))

    def _carry(self, general: GeneralId, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Deliver(to, data):
                    for receiver in to:
                        self._enter(self._now_s + LATENCY_S, _FRAME, receiver, (general, data))
                case SetTimer(name, at_s):
                    self._timers[general, name] = at_s
                    self._enter(at_s, _TIMER, general, name)
                case CancelTimer(name):
                    self._timers.pop((general, name), None)
                case Decide(value, tally):
                    elapsed_s = self._now_s - self._start_s
                    self._decided[general] = Decided(value, tally, elapsed_s)

    def _enter(
        self, at_s: float, kind: int, general: GeneralId, what: tuple[GeneralId, bytes] | str
    ) -> None:
        self._entered += 1
        heapq.heappush(self._agenda, (at_s, kind, self._entered, general, what))


def _drawn(seed: int, purpose: str) -> bytes:
    """32 bytes that depend on the seed and the purpose alone."""
    return hashlib.blake2b(f"byzantine/1/{purpose}/{seed}".encode(), digest_size=32).digest()
