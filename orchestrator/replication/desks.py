"""A cluster is founded at the desks of replicas whom somebody else has put up, as compose does.

DESKS/plan.json       what the cluster is to be
DESKS/0/ ...          each replica's desk, as `node/enlistment.py` has it
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from node import cluster, enlistment
from node.cluster import ClusterError
from node.enlistment import Card, read_card
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.messages import ReplicaId
from orchestrator import quarters
from orchestrator.replication import founding

PLAN_FILE: Final = "plan.json"
#: Seconds that replicas have to show their cards.
CARDS_S: Final = 60.0


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a cluster of the key-value store is to be."""

    clients: int
    configuration: Configuration


def field_name(replica: ReplicaId) -> str:
    """The name by which replicas find one another, on their own network alone."""
    return f"replica-{replica}.{quarters.FIELD}"


def door_name(replica: ReplicaId) -> str:
    """The name by which clients find a replica."""
    return f"replica-{replica}.{quarters.COMMAND}"


def found_at(desks: Path, folder: Path) -> None:
    """Founds the folder's cluster if it is not there, and lays it on the desks that lack it.

    ClusterError where a replica shows no card in time, or a file cannot be used.
    """
    try:
        plan = _plan(desks / PLAN_FILE)
        with _alone_in(folder):
            if not founding.is_founded(folder):
                _found(desks, folder, plan)
            described = cluster.read(folder)
            for replica in range(plan.configuration.n):
                # Whoever belongs to the cluster has shown his card and needs no desk any more.
                if enlistment.laid(desks / str(replica)) is None:
                    cluster.write(desks / str(replica), described)
    except OSError as error:
        raise ClusterError(f"{error.filename}: {error.strerror}") from error
    except ValueError as error:
        raise ClusterError(f"{desks}: {error}") from error


def _plan(path: Path) -> Plan:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ClusterError(f"{path}: {error}") from error


def _found(desks: Path, folder: Path, plan: Plan) -> None:
    deadline_s = time.monotonic() + CARDS_S
    replicas = [
        (
            _await_card(desks, replica, deadline_s),
            f"tcp://{field_name(replica)}:{quarters.FIELD_PORT}",
            f"tcp://{door_name(replica)}:{quarters.DOOR_PORT}",
        )
        for replica in range(plan.configuration.n)
    ]
    founding.found(folder, plan.configuration, "kv", plan.clients, replicas)


def _await_card(desks: Path, replica: ReplicaId, deadline_s: float) -> Card:
    path = desks / str(replica) / enlistment.CARD
    while not path.exists():
        if time.monotonic() > deadline_s:
            raise ClusterError(
                f"replica {replica} shows no card at {path}: is it up, and in no other cluster?"
            )
        time.sleep(enlistment.LOOK_AGAIN_S)
    return read_card(path.read_bytes())


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Nobody else founds there meanwhile."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
