"""A cluster of replicas in containers for tests, and the questions that they ask of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from node.protocols.pbft.configuration import Configuration
from orchestrator import camp
from orchestrator.engine import Engine
from orchestrator.replication import encampment
from orchestrator.replication.homes import CAMP_FILE

#: What a cluster is waited for, in seconds.
SOON_S = 20.0


def up(folder: Path, n: int = 4, casting: dict[int, str] | None = None, **switches: Any) -> None:
    """A new cluster, or the rest of one that is there."""
    configuration = Configuration(n=n, **{"timeout_s": 0.5, **switches})
    encampment.put_up(folder, configuration, "kv", 4, casting or {})


def camp_of(engine: Engine, folder: Path) -> camp.Found:
    id = (folder / CAMP_FILE).read_text().strip()
    (found,) = [one for one in camp.find(engine) if one.id == id]
    return found


def container_of(engine: Engine, folder: Path) -> dict[int, str]:
    """The id of each replica's container."""
    containers = camp_of(engine, folder).container_of()
    return {replica: str(one["Id"]) for replica, one in containers.items()}


def left_of(engine: Engine, id: str) -> list[str]:
    """What bears a camp's label."""
    by_label = {"label": f"{camp.RUN_LABEL}={id}"}
    containers = engine.client.containers.list(all=True, filters=by_label)
    networks = engine.client.networks.list(filters=by_label)
    volumes = engine.client.volumes.list(filters=by_label)
    return [one.name for one in (*containers, *networks, *volumes)]


def told(folder: Path) -> list[dict[str, Any]]:
    """What each replica last told of itself."""
    return [one.told for one in encampment.standings(folder)]


def await_told(
    folder: Path, replica: int, is_so: Callable[[dict[str, Any]], object]
) -> dict[str, Any]:
    """What a replica tells once it is so."""
    deadline_s = time.monotonic() + SOON_S
    while not is_so(now := told(folder)[replica]):
        assert time.monotonic() < deadline_s, now
        time.sleep(0.05)
    return now


def moved(engine: Engine, folder: Path, replica: int) -> list[tuple[int, str]]:
    """The views that a replica has moved to since it was started, and by which rule."""
    told = _events(engine, folder, replica)
    return [(one["view"], one["rule"]) for one in told if one["event"] == "view"]


def views(engine: Engine, folder: Path, *replicas: int) -> set[int]:
    """The views that replicas are in. What they tell of themselves may be half a second old."""
    return {
        [one["view"] for one in _events(engine, folder, replica) if "view" in one][-1]
        for replica in replicas
    }


def await_views(engine: Engine, folder: Path, *replicas: int, first: int) -> None:
    """Until these replicas are in one view, `first` or a later one."""
    deadline_s = time.monotonic() + SOON_S
    while len(now := views(engine, folder, *replicas)) > 1 or min(now) < first:
        assert time.monotonic() < deadline_s, now
        time.sleep(0.05)


def _events(engine: Engine, folder: Path, replica: int) -> list[dict[str, Any]]:
    said = camp.log(engine, container_of(engine, folder)[replica])
    return [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
