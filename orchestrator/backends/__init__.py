"""One interface for all backends: muster, command, collect, disband."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from node.control import Decided, Roster
from node.orders import GeneralId
from orchestrator.casting import Cast


class BackendError(Exception):
    """The generals could not be brought up or spoken to; the text says why and what to do."""


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


class Backend(ABC):
    """Carries one run. Used as a context: leaving it disbands whatever is still there."""

    name: str

    @abstractmethod
    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        """Brings the generals up to the start barrier. `logs`: the folder of general-<id>.log.

        BackendError names the general who is not ready.
        """

    @abstractmethod
    def command(self, on_decided: Callable[[GeneralId], None]) -> dict[GeneralId, Decided]:
        """Opens the barrier and waits for the decisions; who is silent beyond all deadlines is
        missing from the result."""

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
