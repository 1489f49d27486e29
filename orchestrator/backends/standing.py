"""Generals who stand already and wait to be summoned: a run is one of many that they play.

They were put up by somebody else, by compose or for a lasting cluster, and stay when the run is
over. Who they are to each other stays too; what they sign with is new in each run.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from abc import abstractmethod
from pathlib import Path
from typing import Final

from node.control import Disband
from node.links import TransportError
from node.orders import GeneralId
from node.settings import summons
from orchestrator import quarters
from orchestrator.backends import BackendError, Mustered
from orchestrator.backends.fork_client import Child
from orchestrator.backends.processes import Processes
from orchestrator.casting import Cast
from orchestrator.faults import Fault, Kill, Pause
from orchestrator.headquarters import Headquarters

#: Seconds that generals have to enrol, and more of them for each.
MUSTER_S: Final = 15.0
MUSTER_EACH_S: Final = 1.0
#: A general who is not at his pipe yet is looked for again after so long, in seconds.
LOOK_AGAIN_S: Final = 0.02
#: The word that a run is over has so long to leave, in milliseconds.
LINGER_MS: Final = 1_000


class Standing(Processes):
    """A run among generals who wait. What calls one of them is a subclass's to know."""

    name = "containers"

    def __init__(self) -> None:
        self._base_port = None
        self._clear()

    @abstractmethod
    def _host(self) -> str:
        """The address at which headquarters listen."""

    @abstractmethod
    def _summon(self, general: GeneralId, call: bytes) -> bool:
        """Hands a general his summons; whether he is there to take it."""

    @abstractmethod
    def _home(self, general: GeneralId) -> str:
        """Where a general lives, as run.json says it."""

    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        self._learn(cast)
        muster_s = MUSTER_S + cast.n * MUSTER_EACH_S
        deadline_s = time.monotonic() + muster_s
        host = self._host()
        try:
            self._headquarters = Headquarters(host)
        except TransportError as error:
            raise BackendError(f"headquarters cannot listen on {host}: {error}") from error
        for part in cast.parts:
            self._children[part.general] = Child(ticket=part.general)
        self._summon_all(deadline_s)
        self._await_enrolment(deadline_s)
        roster, run, nonce = self._line_up(cast, muster_s)
        hosts = {general: self._home(general) for general in self._children}
        return Mustered(roster, run, nonce, hosts)

    def why_not(self, fault: Fault) -> str | None:
        if isinstance(fault, Pause | Kill):
            return "generals who stand already are not this run's to pause or kill"
        return None

    def disband(self) -> None:
        """Lets the generals wait again."""
        if self._headquarters is not None:
            self._headquarters.order_all(self._children, Disband())
            self._headquarters.close(LINGER_MS)
            self._headquarters = None

    def _summon_all(self, deadline_s: float) -> None:
        headquarters = self._hq
        calls = {
            general: summons(
                headquarters.expect(general), headquarters.endpoint, headquarters.public
            )
            for general in self._children
        }

        def all_are_called() -> bool:
            for general in [
                general for general, call in calls.items() if self._summon(general, call)
            ]:
                del calls[general]
            return not calls

        while not headquarters.attend(all_are_called, time.monotonic() + LOOK_AGAIN_S):
            if time.monotonic() > deadline_s:
                raise self._not_ready(calls, "he is not there to be summoned")


class Piped(Standing):
    """Generals of a compose project, each with a named pipe in a folder of his own of `orders`."""

    def __init__(self, orders: Path) -> None:
        super().__init__()
        self._folder = orders

    def _host(self) -> str:
        """This container has one network."""
        return socket.gethostbyname(socket.gethostname())

    def _summon(self, general: GeneralId, call: bytes) -> bool:
        path = self._folder / str(general) / quarters.SUMMONS
        try:
            pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO):
                return False  # He has not come to his pipe yet.
            raise BackendError(f"{path}: {error.strerror}") from error
        with os.fdopen(pipe, "wb") as told:
            told.write(call)
        return True

    def _home(self, general: GeneralId) -> str:
        return f"general-{general}"
