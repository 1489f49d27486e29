"""Real sockets and processes on loopback. Every wait is for a condition and has a deadline."""

from __future__ import annotations

import contextlib
import random
import secrets
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from node.control import Enlisted, Roster
from node.links import Field
from node.orders import GeneralId
from node.settings import TOKEN_BYTES, Settings
from orchestrator.backends.fork_client import ForkServer

#: Nothing here takes longer on a busy machine, in seconds.
PATIENCE_S = 20.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.live)


def settings(
    headquarters: str = "tcp://127.0.0.1:1", key: str = "k" * 40, **more: object
) -> Settings:
    given: dict[str, object] = {"token": secrets.token_bytes(TOKEN_BYTES)} | more
    return Settings(headquarters=headquarters, headquarters_key=key, **given)  # type: ignore[arg-type]


class Fields:
    """Some generals' fields in this one process, served whenever somebody waits for something."""

    def __init__(self, n: int) -> None:
        self.fields = [Field(settings()) for _ in range(n)]
        self.heard: dict[GeneralId, list[tuple[GeneralId, bytes]]] = {g: [] for g in range(n)}

    def __getitem__(self, general: GeneralId) -> Field:
        return self.fields[general]

    @property
    def roster(self) -> Roster:
        return Roster(
            tuple(
                Enlisted(general, field.endpoint, field.public, b"")
                for general, field in enumerate(self.fields)
            )
        )

    def deploy(self, *generals: GeneralId) -> None:
        roster = self.roster
        for general in generals or range(len(self.fields)):
            self.fields[general].deploy(general, roster)

    def serve(self) -> None:
        for general, field in enumerate(self.fields):
            field.admit(1000)
            field.hear_alarms()
            self.heard[general] += field.drain(1000)

    def until(self, condition: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
        return until(condition, self.serve, within_s)

    def close(self) -> None:
        for field in self.fields:
            field.close()


def until(
    condition: Callable[[], bool],
    meanwhile: Callable[[], None] = lambda: None,
    within_s: float = PATIENCE_S,
) -> bool:
    """Whether the condition came true in time; `meanwhile` is done over and over until then."""
    deadline_s = time.monotonic() + within_s
    while True:
        meanwhile()
        if condition():
            return True
        if time.monotonic() > deadline_s:
            return False
        select.select([], [], [], 0.001)  # Leaves the processor to the others, as a poll would.


@pytest.fixture
def two() -> Iterator[Fields]:
    fields = Fields(2)
    yield fields
    fields.close()


@pytest.fixture
def three() -> Iterator[Fields]:
    fields = Fields(3)
    yield fields
    fields.close()


@pytest.fixture(scope="session")
def forks() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


def raw_connections(endpoint: str, count: int) -> list[socket.socket]:
    host, port = endpoint.removeprefix("tcp://").split(":")
    return [socket.create_connection((host, int(port)), timeout=5.0) for _ in range(count)]


def free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody listens on, below the ephemeral range."""
    for first in random.sample(range(12_000, 31_000), 100):
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    taken = held.enter_context(socket.socket())
                    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    taken.bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError(f"no {count} free ports in a row")
