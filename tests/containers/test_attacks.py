"""What somebody on the field can do to generals in containers: nothing that moves a decision.

The field is internal, but its bridge is this host's: from here an attacker speaks to the generals'
ports like any container beside them. Where he needs a general's keys, he is one: he enrols in the
place of general 3, as a program of his own that never was a general.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import zmq

from node.control import Roster
from node.orders import GeneralId
from node.settings import summons
from orchestrator.backends.containers import Containers
from orchestrator.casting import Cast, cast
from orchestrator.engine import Engine
from orchestrator.scenario import from_fields

#: Reads his summons, enrols, answers probes, and after the start does nothing but flood.
FLOODER = """
import sys, time
from node.control import Collect, Decided, Disband, Enrol, JournalPart, Muster, Ready, Start
from node.general import Deliver, General
from node.links import Control, Field
from node.settings import Post

kind, host = sys.argv[1:]
settings = Post(summons="-", bind_host=host, advertised_host="", port=0, patience_s=30.0,
                lasting=False).await_summons()
general, field = General(), Field(settings)
control = Control(field, settings)
is_up = started = False
until_s = time.monotonic() + 60.0
while time.monotonic() < until_s:
    for order in control.orders():
        if isinstance(order, Muster):
            general.enlist(order)
            field.deploy(order.me, order.roster)
            actions = general.muster()
            for action in actions:
                field.deliver(action.to, action.data)
        elif isinstance(order, Start):
            started = True
            print("floods", flush=True)
        elif isinstance(order, Collect):
            control.report(JournalPart(b"", True))
        elif isinstance(order, Disband):
            sys.exit(0)
    up, _ = control.look()
    if up and not is_up:
        is_up = True
        control.report(Enrol(token=settings.token, pid=1, endpoint=field.endpoint,
                             curve_public=field.public, signing_public=general.signer.public))
    field.admit(32)
    for sender, data in field.drain(256):
        for action in general.receive(sender, data, 0.0):
            if isinstance(action, Deliver):
                field.deliver(action.to, action.data)
        if general.is_ready and not general.decision:
            control.report(Ready())
    if not started:
        time.sleep(0.001)
        continue
    for push in field._pushes.values():
        for _ in range(200):
            try:
                if kind == "parts":
                    push.send(bytes(60_000), 1 | 2)
                else:
                    push.send({"empty": b"", "small": b"x" * 64, "large": bytes(60_000)}[kind], 1)
            except Exception:
                break
    if time.monotonic() > until_s - 55.0:
        control.report(Decided(None, (), 0.0))
        started = False
"""


@pytest.fixture
def parts() -> Cast:
    return cast(from_fields({"name": "a", "protocol": "oral", "n": 4, "m": 1, "order": "attack"}))


def addresses(roster: Roster) -> dict[GeneralId, tuple[str, int]]:
    """Where each general listens."""
    found = {}
    for one in roster.generals:
        host, _, port = one.endpoint.removeprefix("tcp://").rpartition(":")
        found[one.general] = (host, int(port))
    return found


def decided(backend: Containers, roster: Roster | None = None) -> dict[GeneralId, Any]:
    values = {g: one.value for g, one in backend.command(lambda general: None).items()}
    backend.collect()
    return values


def pushing(roster: Roster, to: GeneralId, stack: ExitStack, **options: Any) -> zmq.Socket[bytes]:
    """A socket that somebody who is nobody connects to a general's port."""
    context = stack.enter_context(zmq.Context())
    push = stack.enter_context(context.socket(zmq.PUSH))
    push.linger = 0
    for name, value in options.items():
        setattr(push, name, value)
    push.connect("tcp://{}:{}".format(*addresses(roster)[to]))
    return push


@pytest.mark.parametrize("who", ["outsider", "null", "wrong-server"])
def test_who_has_no_key_of_the_roster_is_let_in_by_nobody(
    built: Engine, parts: Cast, who: str, tmp_path: Path
) -> None:
    """NT2: the attempt is counted, as the log of who was tried tells at his end."""
    with Containers() as backend, ExitStack() as stack:
        roster = backend.muster(parts, tmp_path).roster
        public, secret = zmq.curve_keypair()
        server = roster.generals[1].curve_public if who == "outsider" else zmq.curve_keypair()[0]
        keys = {"curve_publickey": public, "curve_secretkey": secret, "curve_serverkey": server}
        push = pushing(roster, 1, stack, **({} if who == "null" else keys))
        for _ in range(50):
            push.send(b"retreat", zmq.NOBLOCK)
        assert set(decided(backend).values()) == {"attack"}
    told = (tmp_path / "general-1.log").read_text()
    assert re.search('"event":"(unknown_key|handshake_failed)"', told)


def test_two_hundred_connections_that_say_nothing_hinder_nobody(built: Engine, parts: Cast) -> None:
    """NT7."""
    with Containers() as backend, ExitStack() as stack:
        roster = backend.muster(parts, None).roster
        for _ in range(200):
            stack.enter_context(socket.create_connection(addresses(roster)[1], 5))
        assert set(decided(backend).values()) == {"attack"}


@pytest.mark.parametrize("kind", ["empty", "small", "large", "parts"])
def test_a_flood_of_a_general_stays_within_the_limits_of_those_he_floods(
    built: Engine, parts: Cast, kind: str
) -> None:
    """NT5, NT11: he is one voice of four, and nobody's 96 MiB run out."""
    with Flooded(kind) as backend:
        backend.muster(parts, None)
        values = decided(backend)
        assert {values[general] for general in (0, 1, 2)} == {"attack"}
        for general in (0, 1, 2):
            state = built.client.api.inspect_container(backend._container_of[general])["State"]
            assert state["Running"]
            assert not state["OOMKilled"]
        assert backend.flooder is not None
        assert backend.flooder.stdout is not None
        assert backend.flooder.stdout.readline() == "floods\n"


class Flooded(Containers):
    """Containers, but general 3 is a program on this host that floods the others."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self._kind = kind
        self.flooder: subprocess.Popen[str] | None = None

    def _put_up(self, general: GeneralId, token: bytes, patience_s: float) -> None:
        if general != 3:
            super()._put_up(general, token, patience_s)
            return
        assert self._camp is not None
        self.flooder = subprocess.Popen(
            [sys.executable, "-c", FLOODER, self._kind, self._camp.field.gateway],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.flooder.stdin is not None
        self.flooder.stdin.write(summons(token, self._hq.endpoint, self._hq.public).decode())
        self.flooder.stdin.flush()

    def disband(self) -> None:
        super().disband()
        if self.flooder is not None:
            self.flooder.kill()
            self.flooder.wait()
