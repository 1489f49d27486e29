"""SIGKILL at every kind of step that a replica writes down, in a container of its own.

The container that dies is another than the one that comes back: they have the volume in common, and
the addresses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from docker.models.containers import Container
from docker.types import EndpointConfig

from node.protocols.pbft import key_value as kv
from node.protocols.pbft.effects import Learnt, Prepared, Record, ViewEntered
from orchestrator import images, misfortunes, quarters
from orchestrator.client import Client
from orchestrator.engine import Engine
from orchestrator.replication import encampment
from orchestrator.replication.exercise import exercise
from tests.containers.replicas import await_told, camp_of, told, up, views
from tests.containers.test_attacks_pbft import FalseClient, closing_all

N = 4
#: Runs by itself: the image has no tests in it.
DYING = Path(__file__).parents[1] / "live" / "dying_replica.py"
#: Seconds between two operations.
PACE_S = 0.15
KINDS = [kind.__name__ for kind in get_args(Record) if kind is not Learnt]

Start = Callable[..., Container]


def dying(
    engine: Engine, start: Start, folder: Path, victim: int, step: str, moment: str
) -> Container:
    """A container in the place of a replica's, which will not survive the step; it is up."""
    pitched = camp_of(engine, folder).pitched(engine)
    version = engine.client.api.api_version
    container = start(
        images.GENERAL.name,
        [quarters.REPLICA_FOLDER, step, moment],
        entrypoint=["python3", "-c", DYING.read_text()],
        init=True,
        network=pitched.field.name,
        networking_config={
            plot.name: EndpointConfig(version, ipv4_address=plot.address(victim))
            for plot in (pitched.field, pitched.command)
        },
        volumes={f"{pitched.project}_replica-{victim}": {"bind": quarters.REPLICA_FOLDER}},
    )
    await_so(lambda: b'"started"' in container.logs())
    return container


def executed(folder: Path, replica: int) -> int:
    """How far a replica has come, as it tells from now on."""
    now_s = time.time()
    return int(await_told(folder, replica, lambda now: now["at_s"] > now_s)["executed"])


def has_died(container: Container) -> bool:
    """By SIGKILL, as its init tells it."""
    container.reload()
    if container.status != "exited":
        return False
    assert container.attrs["State"]["ExitCode"] == 137, container.logs()
    return True


def await_so(is_so: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20.0
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


class Writer:
    """A client that puts one key after the other, slowly enough for who comes late."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._count = 0
        self._asked: Future[bytes] | None = None

    def put(self) -> None:
        if self._asked is None or self._asked.done():
            self._count += 1
            self._asked = self._client.submit(kv.encode(kv.Put(f"{self._count:04}", b"x")))
        time.sleep(PACE_S)

    def settle(self) -> None:
        """What was asked for last is done, and nothing of all is missing."""
        assert self._asked is not None
        assert kv.outcome(self._asked.result(20)) == kv.Done(True)
        keys = [key for key, _ in self._client.scan("0")]
        assert keys == [f"{number:04}" for number in range(1, self._count + 1)]


def put_until_it_dies_and_comes_back(
    folder: Path, writer: Writer, victim: int, container: Container
) -> None:
    deadline_s = time.monotonic() + 20.0
    while not has_died(container):
        assert time.monotonic() < deadline_s, "the step was never reached"
        writer.put()
    up(folder)
    writer.settle()
    # One of the others goes: who came back is needed for every answer from now on.
    encampment.kill(folder, (victim + 1) % N)
    writer.put()
    writer.settle()
    up(folder)
    assert exercise(folder, clients=2, operations=4, seed=1, patience_s=20.0).is_passed
    # Nobody has heard it say two things at one number.
    for one in told(folder):
        assert f"{victim}/conflicting" not in one["refusals"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """At every kind of step both offices and both moments, not each office at each moment; with
    `--exhaustive` all."""
    if "office" in metafunc.fixturenames:
        deaths = list(product(KINDS, ("primary", "backup"), ("before", "after")))
        if not metafunc.config.getoption("--exhaustive"):
            deaths = [
                (kind, office, moment)
                for kind, office, moment in deaths
                if (KINDS.index(kind) + (office == "primary") + (moment == "before")) % 2
            ]
        metafunc.parametrize(("kind", "office", "moment"), deaths)


def test_who_dies_at_a_step_comes_back_with_what_it_promised(
    built: Engine, folder: Path, start: Start, kind: str, office: str, moment: str
) -> None:
    """A primary enters no view: its successor does."""
    up(folder, interval=2, window=4, timeout_s=1.0)
    is_moving = kind == ViewEntered.__name__
    victim = is_moving + 2 * (office == "backup")
    encampment.kill(folder, victim)
    container = dying(built, start, folder, victim, kind, moment)
    if is_moving:
        encampment.kill(folder, 0)
    with Client(folder) as client:
        put_until_it_dies_and_comes_back(folder, Writer(client), victim, container)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_who_dies_as_it_learns_comes_back_with_what_it_promised(
    built: Engine, folder: Path, start: Start, moment: str
) -> None:
    """Off the field, where it heard of a request and of nothing else, it has left the view that the
    others are in: what they commit there, it learns from f + 1 of them."""
    up(folder)
    encampment.kill(folder, 2)
    container = dying(built, start, folder, 2, Learnt.__name__, moment)
    pitched = camp_of(built, folder).pitched(built)
    false = FalseClient(folder, 3)
    misfortunes.disconnect(built, pitched.id, container.id)
    with closing_all(false), Client(folder, 0) as client:
        request = false.request(1, kv.Put("unheard", b""))
        false.say(2, false.authentication.with_signature(request))
        await_so(lambda: b'"is_active": false' in container.logs())
        misfortunes.connect(built, pitched.id, container.id, pitched.field.address(2))
        put_until_it_dies_and_comes_back(folder, Writer(client), 2, container)


def test_pb4_what_was_prepared_is_committed_by_the_next_view(
    built: Engine, folder: Path, start: Start
) -> None:
    """The primary dies when it has prepared, and 3 withholds its commits: nothing is committed in
    view 0. The same request has the same number in the next."""
    up(folder, casting={3: "equivocator"})
    with Client(folder) as client:
        client.put("n", b"0")
        encampment.kill(folder, 0)
        container = dying(built, start, folder, 0, Prepared.__name__, "after")
        asked = client.submit(kv.encode(kv.CompareAndSwap("n", b"0", b"1")))
        await_so(lambda: has_died(container))
        assert kv.outcome(asked.result(20)) == kv.Done(True)
        assert (executed(folder, 1), executed(folder, 2)) == (1, 1), "it is tentative"
        assert 0 not in views(built, folder, 1, 2)
        up(folder)
        for replica in (0, 1, 2):
            await_told(folder, replica, lambda now: now["executed"] == 2)
        assert client.get("n") == b"1"
        client.put("n", b"2")
    assert exercise(folder, clients=2, operations=4, seed=1, patience_s=20.0).is_passed
