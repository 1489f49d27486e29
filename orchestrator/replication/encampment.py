"""A cluster that stays, in containers: each replica in its own, its folder on a volume of its own.

    FOLDER/camp                   the id of the camp: `byzantine down ID` removes it, volumes too
    FOLDER/cluster.json, clients/ as `founding.py` makes them

A replica makes its key on its volume, which no other container has, and shows its card through the
engine. Killed, its container is replaced: nothing but the volume remains, and that is enough.
Replicas hear each other on the field, and clients on the network of commands, both of which lead
nowhere else; this host is the gateway of both.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeVar

import msgspec

from node import cluster, enlistment
from node.cluster import Cluster, ClusterError
from node.enlistment import Card, read_card
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.messages import ReplicaId
from node.replica_runtime import STATUS_FILE
from orchestrator import camp, images, misfortunes, quarters, subnets
from orchestrator.camp import Camp, Listed
from orchestrator.engine import Engine, EngineError, connect, refusals
from orchestrator.replication import founding
from orchestrator.replication.homes import CAMP_FILE, Condition, Standing

T = TypeVar("T")

#: The variable that names another limit of memory, such as 2g, for containers to come.
MEMORY_VARIABLE: Final = "BYZANTINE_REPLICA_MEMORY"
#: Seconds that replicas have to come up, and more of them for each.
UP_S: Final = 15.0
UP_EACH_S: Final = 1.0
#: A replica who has not come up is looked at again after so long, in seconds.
LOOK_AGAIN_S: Final = 0.05

_DESK: Final = PurePosixPath(quarters.REPLICA_DESK)


def put_up(
    folder: Path,
    configuration: Configuration,
    service: str,
    clients: int,
    casting: Mapping[ReplicaId, str],
) -> Cluster:
    """Has all replicas of a folder's cluster run, which is founded if it is not there.

    ClusterError where one of them does not; of a new cluster nothing is left then.
    """
    if service != "kv":
        raise ClusterError(
            f"service {service!r} is your own, which no image holds: --backend processes"
        )
    with _engine() as engine, ExitStack() as undo:
        if founding.is_founded(folder):
            described = cluster.read(folder)
        else:
            described = _found(engine, folder, configuration, clients, casting, undo)
        _start_missing(engine, folder, described, casting)
        _await_up(engine, folder, described)
        undo.pop_all()
    return described


def standings(folder: Path) -> list[Standing]:
    with _engine() as engine:
        return _each(_containers(engine, folder), lambda r, one: _standing(engine, r, one))


def kill(folder: Path, replica: ReplicaId) -> None:
    """SIGKILL. ClusterError where the replica does not run."""
    _befall(folder, replica, misfortunes.kill)


def pause(folder: Path, replica: ReplicaId) -> None:
    _befall(folder, replica, misfortunes.pause)


def resume(folder: Path, replica: ReplicaId) -> None:
    _befall(folder, replica, misfortunes.unpause)


def stop(folder: Path) -> list[ReplicaId]:
    """Ends all replicas that run: SIGTERM, and SIGKILL for who does not heed it."""
    with _engine() as engine:
        running = {r: one for r, one in _containers(engine, folder).items() if _is_up(one)}

        def end(replica: ReplicaId, container: Listed) -> ReplicaId:
            if container["State"] == "paused":
                misfortunes.unpause(engine, container["Id"])
            misfortunes.stop(engine, container["Id"])
            return replica

        return _each(running, end)


def logs(folder: Path) -> dict[ReplicaId, bytes]:
    """What each replica has put out since its container was made."""
    with _engine() as engine:
        containers = _containers(engine, folder)
        return dict(_each(containers, lambda r, one: (r, camp.log(engine, one["Id"]))))


# Founding.


def _found(
    engine: Engine,
    folder: Path,
    configuration: Configuration,
    clients: int,
    casting: Mapping[ReplicaId, str],
    undo: ExitStack,
) -> Cluster:
    """Replicas who show their cards, and the cluster that they make. `undo` removes them."""
    image = images.require(engine, images.GENERAL)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pool = subnets.pool()
    except (OSError, ValueError) as error:
        raise ClusterError(str(error)) from None
    n, id = configuration.n, camp.new_id()
    undo.callback(camp.strike, engine, id)
    pitched = camp.pitch(engine, id, n, pool)
    with ThreadPoolExecutor(camp.HANDS) as hands:
        list(hands.map(lambda r: _put_up(pitched, r, image, casting), range(n)))
    undo.callback((folder / CAMP_FILE).unlink, missing_ok=True)
    (folder / CAMP_FILE).write_text(f"{id}\n")
    cards = _cards(engine, folder, n)
    replicas = [
        (
            cards[replica],
            f"tcp://{pitched.field.address(replica)}:{quarters.FIELD_PORT}",
            f"tcp://{pitched.command.address(replica)}:{quarters.DOOR_PORT}",
        )
        for replica in range(n)
    ]
    undo.callback((folder / cluster.FILE).unlink, missing_ok=True)
    return founding.found(folder, configuration, "kv", clients, replicas)


def _cards(engine: Engine, folder: Path, n: int) -> list[Card]:
    def card(replica: ReplicaId, container: Listed) -> Card | None:
        data = camp.read_file(engine, container["Id"], str(_DESK / enlistment.CARD))
        return None if data is None else read_card(data)

    return _await_each(engine, folder, n, card, "it shows no card")


# Coming up.


def _start_missing(
    engine: Engine, folder: Path, described: Cluster, casting: Mapping[ReplicaId, str]
) -> None:
    """Puts a new container on the volume of each replica that is down."""
    found = _camp(engine, folder)
    containers = found.container_of()
    down = [
        r
        for r in range(described.configuration.n)
        if r not in containers or not _is_up(containers[r])
    ]
    if not down:
        return
    image = images.require(engine, images.GENERAL)
    pitched = found.pitched(engine)
    for replica in down:
        if replica in containers:
            with refusals(f"replacing replica {replica}"):
                engine.client.api.remove_container(containers[replica]["Id"], v=True)
        _put_up(pitched, replica, image, casting)


def _put_up(pitched: Camp, replica: ReplicaId, image: str, casting: Mapping[ReplicaId, str]) -> str:
    memory = os.environ.get(MEMORY_VARIABLE, str(quarters.REPLICA_MEMORY_BYTES))
    return pitched.put_up_replica(replica, image, casting.get(replica), memory)


def _await_up(engine: Engine, folder: Path, described: Cluster) -> None:
    """Until every replica answers; who waits for its cluster is told of it."""
    text = msgspec.json.encode(described)

    def is_up(replica: ReplicaId, container: Listed) -> bool | None:
        id = container["Id"]
        if container["State"] == "paused":
            return True
        if camp.read_file(engine, id, f"{quarters.REPLICA_FOLDER}/{cluster.FILE}") is None:
            camp.lay_file(engine, id, _DESK / cluster.FILE, text)
            return None
        return camp.ask(engine, id)[0] or None

    _await_each(engine, folder, described.configuration.n, is_up, "it does not answer")


def _await_each(
    engine: Engine,
    folder: Path,
    n: int,
    look: Callable[[ReplicaId, Listed], T | None],
    otherwise: str,
) -> list[T]:
    """What is seen of each replica, once it is. ClusterError names one of whom nothing is."""
    deadline_s = time.monotonic() + UP_S + n * UP_EACH_S
    seen: dict[ReplicaId, T] = {}
    while True:
        containers = _containers(engine, folder)
        waiting = {r: containers[r] for r in range(n) if r not in seen}
        for replica, container in waiting.items():
            if not _is_up(container):
                last = camp.last_words(engine, container["Id"])
                raise ClusterError(f"replica {replica} did not start: {last}")
        looked = _each(waiting, lambda r, one: (r, look(r, one)))
        seen |= {r: what for r, what in looked if what is not None}
        if len(seen) == n:
            return [seen[r] for r in range(n)]
        if time.monotonic() > deadline_s:
            missing = min(set(range(n)) - seen.keys())
            raise ClusterError(f"replica {missing} did not start: {otherwise}")
        time.sleep(LOOK_AGAIN_S)


# The engine.


@contextmanager
def _engine() -> Iterator[Engine]:
    try:
        with closing(connect()) as engine:
            yield engine
    except EngineError as error:
        raise ClusterError(str(error)) from error


def _camp(engine: Engine, folder: Path) -> camp.Found:
    """The camp of a folder's cluster. ClusterError where there is none, or it was struck."""
    try:
        id = (folder / CAMP_FILE).read_text("ascii").strip()
    except OSError:
        raise ClusterError(f"{folder}: no cluster in containers") from None
    for found in camp.find(engine):
        if found.id == id:
            return found
    raise ClusterError(
        f"the containers and volumes of {folder} have been removed, as {camp.project_of(id)}: "
        "remove the folder too, and put up another"
    )


def _containers(engine: Engine, folder: Path) -> dict[ReplicaId, Listed]:
    return _camp(engine, folder).container_of()


def _is_up(container: Listed) -> bool:
    return container["State"] in ("running", "paused")


def _standing(engine: Engine, replica: ReplicaId, container: Listed) -> Standing:
    told: dict[str, Any] = {}
    path = f"{quarters.REPLICA_FOLDER}/{STATUS_FILE}"
    with suppress(ValueError):
        told = json.loads(camp.read_file(engine, container["Id"], path) or b"{}")
    if not _is_up(container):
        return Standing(replica, Condition.DOWN, None, told, _end_of(engine, container))
    seat = f"container {container['Id'][: camp.SHORT_ID]}"
    return Standing(replica, Condition(container["State"]), seat, told)


def _end_of(engine: Engine, container: Listed) -> str:
    """How a container came to its end, where somebody can do something about it."""
    with refusals("looking at a container"):
        found = engine.client.api.inspect_container(container["Id"])
    if found["State"]["OOMKilled"]:
        held = int(found["HostConfig"]["Memory"]) >> 20
        return f"it went beyond its {held} MiB of memory: more with {MEMORY_VARIABLE}=2g"
    return ""


def _befall(folder: Path, replica: ReplicaId, misfortune: Callable[[Engine, str], None]) -> None:
    with _engine() as engine:
        container = _containers(engine, folder).get(replica)
        if container is None or not _is_up(container):
            raise ClusterError(f"replica {replica} of {folder} is not running")
        misfortune(engine, container["Id"])


def _each(containers: Mapping[ReplicaId, Listed], do: Callable[[ReplicaId, Listed], T]) -> list[T]:
    with ThreadPoolExecutor(camp.HANDS) as hands:
        return list(hands.map(lambda item: do(*item), containers.items()))
