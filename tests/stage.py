"""Plays a scenario in the simulator and asks what came of it.

A failing test repeats from its arguments alone: a simulated run depends on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from node import wire
from node.journal import Accused
from node.messages import Frame
from node.orders import Decision, GeneralId
from orchestrator.backends.simulation import _FRAME, Simulation
from orchestrator.results import Result
from orchestrator.scenario import Scenario, from_fields
from orchestrator.trial import play as _play

A, R = "attack", "retreat"


def scenario(
    protocol: str, n: int, m: int, traitors: Mapping[GeneralId, Any] | None = None, **fields: Any
) -> Scenario:
    """`traitors` by general: a strategy's name, or its fields as a scenario writes them."""
    written = {"protocol": protocol, "n": n, "m": m, "traitors": dict(traitors or {}), **fields}
    return from_fields(written, "test")


def play(
    protocol: str,
    n: int,
    m: int,
    traitors: Mapping[GeneralId, Any] | None = None,
    *,
    on: Simulation | None = None,
    out: Path | None = None,
    **fields: Any,
) -> Result:
    return _play(scenario(protocol, n, m, traitors, **fields), on or Simulation(), out)


def a(strategy: str, /, **params: Any) -> dict[str, Any]:
    """A traitor with parameters: `a("two-faced", faces={...})`."""
    return {"strategy": strategy, "with": params}


def script(*lines: Mapping[str, Any]) -> dict[str, Any]:
    """A traitor who says what the lines prescribe, and the truth where there is none."""
    return a("script", lines=list(lines))


def to(receiver: GeneralId, say: str | None, /, **where: Any) -> dict[str, Any]:
    """A line of a script: what is said to one receiver, None for silence."""
    return {"to": receiver, "say": say, **where}


def obeyed(result: Result) -> dict[GeneralId, Decision | None]:
    """What each loyal general decided who has to obey: the commander gives the order himself."""
    idle = result.scenario.faulty | {result.scenario.commander}
    return {g: value for g, value in result.decisions.items() if g not in idle}


def tally(result: Result, general: GeneralId) -> dict[Any, int]:
    return dict(result.decided[general].tally)


def messages(result: Result) -> list[int]:
    """The paper's messages by round."""
    return [count for count, _, _ in result.transcript.ledger().values()]


def frames(result: Result) -> list[int]:
    return [count for _, count, _ in result.transcript.ledger().values()]


def refused(result: Result) -> dict[tuple[GeneralId, GeneralId, str], int]:
    """How often (receiver, sender, reason) was refused, by every general."""
    return {
        (receiver, sender, reason.value): count
        for receiver, record in result.transcript.records.items()
        for (sender, reason), count in record.refusals().items()
    }


def accusations(result: Result) -> dict[GeneralId, list[Accused]]:
    """The proofs that each general holds."""
    found = {g: list(record.accusations()) for g, record in result.transcript.records.items()}
    return {general: held for general, held in found.items() if held}


def told(result: Result, general: GeneralId, round: int) -> list[bytes]:
    """The frames of a round that reached a general, byte for byte, in their order."""
    from node.journal import Heard

    heard = (e.data for e in result.transcript.records[general].entries if isinstance(e, Heard))
    return [data for data in heard if wire.decode(data).round == round]


#: Says what becomes of one frame: when it arrives where, as which bytes; nothing if it is lost.
Bend = Callable[
    ["Bent", float, GeneralId, GeneralId, Frame, bytes], Iterable[tuple[float, GeneralId, bytes]]
]


class Bent(Simulation):
    """A simulation whose links a test holds in its hands. The sender stays who he is (A2)."""

    def __init__(self, bend: Bend) -> None:
        super().__init__()
        self._bend = bend

    def deadline_s(self, round: int, delta_s: float) -> float:
        """When a round ends for those who still wait."""
        return self._start_s + round * delta_s

    def _enter(
        self, at_s: float, kind: int, general: GeneralId, what: tuple[GeneralId, bytes] | str
    ) -> None:
        frame = wire.decode(what[1]) if kind == _FRAME else None
        if not isinstance(frame, Frame):
            super()._enter(at_s, kind, general, what)
            return
        sender, data = what
        for when_s, receiver, became in self._bend(self, at_s, sender, general, frame, data):
            super()._enter(when_s, kind, receiver, (sender, became))
