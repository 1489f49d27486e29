"""SIGKILL at every kind of step that a replica writes down, in a container of its own.

The container that dies is another than the one that comes back: they have the volume in common, and
the addresses.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import get_args

import pytest
from docker.models.containers import Container
from docker.types import EndpointConfig

from node.protocols.pbft import key_value as kv
from node.protocols.pbft.effects import Learnt, Prepared, Record, ViewEntered
from orchestrator import camp, images, quarters
from orchestrator.client import Client
from orchestrator.engine import Engine
from orchestrator.replication import encampment
from orchestrator.replication.exercise import exercise
from tests.containers.replicas import await_told, told, up, views

N = 4
INTERVAL = 2
#: Runs by itself: the image has no tests in it.
DYING = Path(__file__).parents[1] / "live" / "dying_replica.py"
#: Seconds between two operations.
PACE_S = 0.15
STEPS = [
    (kind.__name__, office)
    for kind in get_args(Record)
    for office in ("primary", "backup")
    if (kind, office) != (Learnt, "backup")
]

Start = Callable[..., Container]


def dying(
    engine: Engine, start: Start, folder: Path, victim: int, step: str, moment: str
) -> Container:
    """A container in the place of a replica's, which will not survive the step; it is up."""
    id = (folder / "camp").read_text().strip()
    (found,) = [one for one in camp.find(engine) if one.id == id]
    pitched = found.pitched(engine)
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


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(("kind", "office"), STEPS)
def test_who_dies_at_a_step_comes_back_with_what_it_promised(
    built: Engine, folder: Path, start: Start, kind: str, office: str, moment: str
) -> None:
    """A primary enters no view: its successor does. Who was deposed while it was dead learns what
    the next view has committed meanwhile."""
    up(folder, interval=INTERVAL, window=2 * INTERVAL, timeout_s=1.0)
    is_moving, is_learning = kind == ViewEntered.__name__, kind == Learnt.__name__
    victim = is_moving + 2 * (office == "backup")
    count = 0
    with Client(folder) as client:

        def put() -> Future[bytes]:
            nonlocal count
            count += 1
            return client.submit(kv.encode(kv.Put(f"{count:04}", b"x")))

        encampment.kill(folder, victim)
        is_missed = not is_learning
        while not is_missed:
            # What it has yet to learn lies behind the last checkpoint, and nothing comes after.
            put().result(20)
            is_missed = executed(folder, (victim + 1) % N) % INTERVAL > 0
        container = dying(built, start, folder, victim, kind, moment)
        if is_moving:
            encampment.kill(folder, 0)
        asked = None if is_learning else put()
        deadline_s = time.monotonic() + 20.0
        while not has_died(container):
            assert time.monotonic() < deadline_s, "the step was never reached"
            # Slowly enough for who comes late: the window is short.
            time.sleep(PACE_S)
            if asked and asked.done():
                asked = put()
        up(folder)
        assert asked is None or kv.outcome(asked.result(20)) == kv.Done(True)
        # One of the others goes: who came back is needed for every answer from now on.
        encampment.kill(folder, (victim + 1) % N)
        assert kv.outcome(put().result(20)) == kv.Done(True)
        assert [key for key, _ in client.scan()] == [
            f"{number:04}" for number in range(1, count + 1)
        ]
    up(folder)
    assert exercise(folder, clients=2, operations=4, seed=1, patience_s=20.0).is_passed
    # Nobody has heard it say two things at one number.
    for one in told(folder):
        assert f"{victim}/conflicting" not in one["refusals"]


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
