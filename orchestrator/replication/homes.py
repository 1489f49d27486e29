"""Where replicas live: among this machine's processes, or each in a container of its own.

Both are modules of the same functions, over a cluster's folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Protocol

from node.cluster import Cluster, ClusterError
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.messages import ReplicaId
from orchestrator.replication import founding

#: Where this is in a cluster's folder, its replicas live in containers: the id of their camp.
CAMP_FILE: Final = "camp"


class Condition(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    DOWN = "down"


@dataclass(frozen=True)
class Standing:
    """One replica as it is seen from outside. `seat`: what it is there, None where it is down.
    `told`: what it last told of itself, if anything. `end`: how one that is down came to that, if
    somebody can do something about it."""

    replica: ReplicaId
    condition: Condition
    seat: str | None
    told: dict[str, Any]
    end: str = ""


class Home(Protocol):
    """ClusterError where what is asked cannot be done; its text says why."""

    def put_up(
        self,
        folder: Path,
        configuration: Configuration,
        service: str,
        clients: int,
        casting: Mapping[ReplicaId, str],
    ) -> Cluster: ...

    def standings(self, folder: Path) -> list[Standing]: ...

    def kill(self, folder: Path, replica: ReplicaId) -> None: ...

    def pause(self, folder: Path, replica: ReplicaId) -> None: ...

    def resume(self, folder: Path, replica: ReplicaId) -> None: ...

    def stop(self, folder: Path) -> list[ReplicaId]: ...

    def logs(self, folder: Path) -> dict[ReplicaId, bytes]: ...


def home_of(folder: Path) -> Home:
    """Where the replicas of a folder's cluster live, if there is one. ClusterError: elsewhere."""
    backend = backend_of(folder)
    if backend == "processes" and founding.is_founded(folder) and not any(folder.glob("replica-*")):
        raise ClusterError(
            f"the replicas of {folder} were put up by somebody else: "
            "docker compose ps, logs, kill and start are for them"
        )
    return home_on(backend)


def backend_of(folder: Path) -> str:
    return "containers" if (folder / CAMP_FILE).exists() else "processes"


def home_on(backend: str) -> Home:
    if backend == "containers":
        from orchestrator.replication import encampment

        return encampment
    from orchestrator.replication import household

    return household
