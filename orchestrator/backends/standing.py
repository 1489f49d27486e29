"""Generals whom compose has put up, and who stay when the run is over: they wait to be summoned.

Each has a named pipe in a folder that he shares with the orchestrator alone. Who they are to each
other stays, too; what they sign with is new in each run.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path
from typing import Final

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
#: Seconds that generals have to hang up once the run is over.
DISBAND_S: Final = 2.0
#: Whether a general has come to his pipe is looked at so often, in seconds.
LOOK_AGAIN_S: Final = 0.02


class Standing(Processes):
    """A run among generals who wait at pipes, each in a folder of his own number in `folder`."""

    name = "containers"

    def __init__(self, folder: Path) -> None:
        self._base_port = None
        self._folder = folder
        self._clear()

    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        self._learn(cast)
        muster_s = MUSTER_S + cast.n * MUSTER_EACH_S
        deadline_s = time.monotonic() + muster_s
        # This container has one network.
        host = socket.gethostbyname(socket.gethostname())
        try:
            self._headquarters = Headquarters(host)
        except TransportError as error:
            raise BackendError(f"headquarters cannot listen on {host}: {error}") from error
        for part in cast.parts:
            self._children[part.general] = Child(ticket=part.general)
        self._summon_all(deadline_s)
        self._await_enrolment(deadline_s)
        roster, run, nonce = self._line_up(cast, muster_s)
        hosts = {general: f"general-{general}" for general in self._children}
        return Mustered(roster, run, nonce, hosts)

    def why_not(self, fault: Fault) -> str | None:
        if isinstance(fault, Pause | Kill):
            return "an orchestrator in a container pauses and kills nobody: `docker compose` does"
        return None

    def disband(self) -> None:
        """Lets the generals wait again."""
        if self._headquarters is not None:
            self._headquarters.dismiss(self._children, time.monotonic() + DISBAND_S)
            self._headquarters.close()
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

        if not headquarters.attend(all_are_called, deadline_s, look_s=LOOK_AGAIN_S):
            raise self._not_ready(calls, "he is not there to be summoned")

    def _summon(self, general: GeneralId, call: bytes) -> bool:
        """Hands a general his summons; whether he is there to take it."""
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
