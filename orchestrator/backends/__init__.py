"""One interface for all backends: muster, command, inflict, heal, collect, disband."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self

from node.control import Decided, Roster
from node.effects import Milestone
from node.orders import GeneralId
from orchestrator.casting import Cast
from orchestrator.faults import Fault


class BackendError(Exception):
    """The generals could not be brought up or spoken to; the text says why and what to do."""


class FaultError(BackendError):
    """A fault was not inflicted, or not healed: the run shows nothing of how it is borne."""


class Course(Protocol):
    """What is to happen while a run lasts. A backend tells it how far the run has come, and is
    asked to inflict and heal before the call returns."""

    def at_barrier(self, round: int) -> None:
        """Everyone who can stands before that round, and waits."""

    def decided(self, general: GeneralId) -> None:
        """That general has decided, loyal or not."""

    def reached(self, milestone: Milestone, number: int) -> None:
        """Some general has come so far."""

    def due_s(self) -> float:
        """When it wants to be called next: seconds since the start, halts left out."""

    def at_time(self, elapsed_s: float) -> None:
        """So much time has passed since the start, halts left out."""

    def end(self) -> None:
        """Nobody has anything left to do. What still lasts is to be healed now."""


class Uneventful:
    """The course of a run that nothing befalls."""

    def at_barrier(self, round: int) -> None:
        pass

    def decided(self, general: GeneralId) -> None:
        pass

    def reached(self, milestone: Milestone, number: int) -> None:
        pass

    def due_s(self) -> float:
        return math.inf

    def at_time(self, elapsed_s: float) -> None:
        pass

    def end(self) -> None:
        pass


@dataclass(frozen=True)
class Mustered:
    """Generals who stand ready: every link has carried a message both ways.

    `hosts` says where each one lives: a process id, a container id, or "simulated".
    """

    roster: Roster
    run: bytes
    nonce: bytes
    hosts: Mapping[GeneralId, str]
    notes: Mapping[str, str] = field(default_factory=dict)


UNEVENTFUL: Final = Uneventful()


class Backend(ABC):
    """Carries one run. Used as a context: leaving it disbands whatever is still there."""

    name: str

    @abstractmethod
    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        """Brings the generals up to the start barrier. `logs`: the folder of general-<id>.log.

        BackendError names the general who is not ready.
        """

    @abstractmethod
    def command(
        self, on_decided: Callable[[GeneralId], None], course: Course = UNEVENTFUL
    ) -> dict[GeneralId, Decided]:
        """Opens the barrier and waits for the decisions; who is silent beyond all deadlines is
        missing from the result."""

    @abstractmethod
    def elapsed_s(self) -> float:
        """Seconds since the start, halts at barriers left out; 0 before it."""

    def why_not(self, fault: Fault) -> str | None:
        """Why this backend can never inflict such a fault; None where it can."""
        return None

    @abstractmethod
    def inflict(self, fault: Fault) -> None:
        """Inflicts a fault and reads back that it lasts. FaultError where it does not."""

    @abstractmethod
    def heal(self, fault: Fault) -> None:
        """Undoes a fault that was inflicted, and reads that back. FaultError where it stays."""

    @abstractmethod
    def collect(self) -> dict[GeneralId, bytes]:
        """The journal files, of those who can still hand one in."""

    @abstractmethod
    def disband(self) -> None:
        """Leaves nothing behind. May be called at any time, and twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.disband()
