"""Containers of a general's image put up by docker compose, which play nothing: the limits.

Each imports all that a general imports. For a start-up he then binds a socket and is done; for
rounds he joins a bare mesh. They are hardened as generals are, on two networks as theirs.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import Any

from benchmarks.peers.bare_rounds import BareRounds, Round, conduct
from benchmarks.peers.team import receive

PORT = 10_000
#: Seconds that all of them may take to come up.
UP_S = 120.0
LOOK_AGAIN_S = 0.005

_BIND = f"""
import node.__main__, socket, time
desk = socket.socket(); desk.bind(("0.0.0.0", {PORT})); desk.listen(); time.sleep(600)
"""
_PLAY = """
import node.__main__, os, socket
from multiprocessing.connection import Client
from benchmarks.peers.bare_rounds import bare_member
host = socket.gethostbyname(os.environ["ME"] + ".field")
link = Client((os.environ["CALLER"], int(os.environ["PORT"])), authkey=os.environ["KEY"].encode())
link.send(int(os.environ["ME"].removeprefix("general-")))
while (script := link.recv()) is not None:
    bare_member(int(os.environ["ME"].removeprefix("general-")), link, script, host)
"""


def seconds_up(n: int, image: str) -> float:
    """From `docker compose up -d` to the last of n containers whose socket is bound."""
    with _project(n, image, _BIND, {}) as project:
        start_s = time.monotonic()
        _compose(project, "up", "--detach")
        for address in _addresses(project):
            _await_bound(address, start_s + UP_S)
        return time.monotonic() - start_s


@contextmanager
def bare_team(n: int, image: str) -> Iterator[Players]:
    """n containers that play bare rounds, again and again, until the context is left."""
    key = secrets.token_hex(16)
    with Listener(("0.0.0.0", 0), backlog=n, authkey=key.encode()) as desk:
        port = str(desk.address[1])
        environment = {"PORT": port, "KEY": key, "CALLER": "${CALLER}"}
        with _project(n, image, _PLAY, environment) as project:
            _compose(project, "up", "--no-start")
            _compose(project, "up", "--detach", caller=_gateway(project))
            links: dict[int, Connection] = {}
            while len(links) < n:
                link = desk.accept()
                links[link.recv()] = link
            players = Players([links[me] for me in range(n)])
            yield players
            players.tell(None)


class Players:
    """The members of a bare mesh, each in his container, by number."""

    def __init__(self, links: list[Connection]) -> None:
        self._links = links

    def rounds(self, script: list[Round]) -> BareRounds:
        self.tell(script)
        return conduct(self)

    def gather(self) -> list[Any]:
        return [receive(link) for link in self._links]

    def tell(self, message: object) -> None:
        for link in self._links:
            link.send(message)


@contextmanager
def _project(n: int, image: str, program: str, environment: dict[str, str]) -> Iterator[Path]:
    """The file of a project that is gone when the context is left."""
    name = f"byzantine-idle-{os.getpid()}-{secrets.token_hex(3)}"
    file = Path(f"/tmp/{name}.json")
    file.write_text(json.dumps(_document(name, n, image, program, environment)))
    try:
        yield file
    finally:
        _compose(file, "down", "--timeout", "0")
        file.unlink()


def _document(
    name: str, n: int, image: str, program: str, environment: dict[str, str]
) -> dict[str, Any]:
    service: dict[str, Any] = {
        "image": image,
        "entrypoint": ["python3", "-c", program],
        "init": True,
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "mem_limit": 96 << 20,
        "pids_limit": 64,
        "volumes": [f"{Path(__file__).parents[1]}:/opt/byzantine/benchmarks:ro"],
    }
    services = {}
    for me in (f"general-{g}" for g in range(n)):
        networks = {"field": {"aliases": [f"{me}.field"]}, "command": {}}
        services[me] = {**service, "environment": {**environment, "ME": me}, "networks": networks}
    internal = {role: {"internal": True} for role in ("field", "command")}
    return {"name": name, "services": services, "networks": internal}


def _compose(file: Path, *command: str, caller: str = "") -> str:
    done = subprocess.run(
        ["docker", "compose", "-f", str(file), *command],
        env=os.environ | {"CALLER": caller},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"docker compose {command[0]}: {done.stderr.strip()}")
    return done.stdout


def _addresses(file: Path) -> list[str]:
    """Where each container is on the first of its networks, which is reached from the host."""
    ids = _compose(file, "ps", "--quiet").split()
    networks = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"
    return [line.split()[0] for line in _docker("inspect", "--format", networks, *ids)]


def _gateway(file: Path) -> str:
    form = "{{range .IPAM.Config}}{{.Gateway}}{{end}}"
    return _docker("network", "inspect", "--format", form, f"{file.stem}_command")[0]


def _docker(*command: str) -> list[str]:
    done = subprocess.run(["docker", *command], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def _await_bound(address: str, until_s: float) -> None:
    while time.monotonic() < until_s:
        try:
            socket.create_connection((address, PORT), 1).close()
        except OSError:
            time.sleep(LOOK_AGAIN_S)
        else:
            return
    raise TimeoutError(f"nobody listens at {address}")
