"""A cluster that stays: replicas as processes of this machine, with a folder each.

    FOLDER/cluster.json, clients/ as `founding.py` makes them
    FOLDER/replica-0/ ...         cluster.json, replica (its number), key, replica.sqlite, pid,
                                  replica.log, status.json

A replica that was killed is started again with the same folder, and knows what it promised.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from node import cluster
from node.cluster import Cluster, ClusterError, Identity
from node.enlistment import card_of
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.messages import ReplicaId
from node.replica_runtime import STATUS_FILE
from node.settings import PORT_FIRST, PORTS
from orchestrator.backends.fork_client import GOING_ON, STOPPED, state_of
from orchestrator.replication import founding
from orchestrator.replication.homes import Condition, Standing

HOST: Final = "127.0.0.1"
PID_FILE: Final = "pid"
LOG_FILE: Final = "replica.log"
#: A replica has so long to start, or to end or obey a signal, in seconds.
START_S: Final = 15.0
END_S: Final = 5.0


def found(folder: Path, configuration: Configuration, service: str, clients: int) -> Cluster:
    """Makes a cluster's folders and keys. ClusterError where there is one already."""
    cluster.service_maker(service)
    if founding.is_founded(folder):
        raise ClusterError(f"{folder} holds a cluster already: `byzantine kv status` shows it")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        identities = [_make_replica(folder, r) for r in range(configuration.n)]
    except OSError as error:
        raise ClusterError(f"{error.filename}: {error.strerror}") from error
    endpoints = [f"tcp://{HOST}:{port}" for port in _free_ports(2 * configuration.n)]
    cards = map(card_of, identities)
    replicas = list(zip(cards, endpoints[::2], endpoints[1::2], strict=True))
    described = founding.found(folder, configuration, service, clients, replicas)
    for replica in range(configuration.n):
        cluster.write(replica_folder(folder, replica), described)
    return described


def put_up(
    folder: Path,
    configuration: Configuration,
    service: str,
    clients: int,
    casting: Mapping[ReplicaId, str],
) -> Cluster:
    """Has all replicas of a folder's cluster run, which is founded if it is not there.

    ClusterError, and none runs, where one of them does not.
    """
    if not founding.is_founded(folder):
        found(folder, configuration, service, clients)
    described = cluster.read(folder)
    try:
        for replica in range(described.configuration.n):
            if pid_of(replica_folder(folder, replica)) is None:
                start(folder, replica, casting.get(replica))
        await_started(folder, described.configuration.n)
    except ClusterError:
        stop(folder)
        raise
    return described


def replica_folder(folder: Path, replica: ReplicaId) -> Path:
    return folder / f"replica-{replica}"


def start(folder: Path, replica: ReplicaId, strategy: str | None = None) -> int:
    """Starts a replica that does not run; its process id. ClusterError where it does."""
    own = replica_folder(folder, replica)
    if pid_of(own) is not None:
        raise ClusterError(f"replica {replica} of {folder} is running")
    (own / STATUS_FILE).unlink(missing_ok=True)
    # The folder where the command was given may hold the user's own service.
    paths = [os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
    with (own / LOG_FILE).open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "node", "--replica", str(own), *filter(None, [strategy])],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    (own / PID_FILE).write_text(f"{process.pid}\n")
    return process.pid


def await_started(folder: Path, count: int) -> None:
    """Waits until every replica has told that it runs. ClusterError quotes who did not."""
    deadline_s = time.monotonic() + START_S
    missing = list(range(count))
    while missing:
        own = replica_folder(folder, missing[0])
        if (own / STATUS_FILE).exists():
            missing.pop(0)
        elif pid_of(own) is None or time.monotonic() > deadline_s:
            raise ClusterError(f"replica {missing[0]} did not start: {_last_words(own)}")
        else:
            time.sleep(0.01)


def standings(folder: Path) -> list[Standing]:
    described = cluster.read(folder)
    return [_standing(folder, member.replica) for member in described.members]


def kill(folder: Path, replica: ReplicaId) -> None:
    """SIGKILL. ClusterError where the replica does not run."""
    _end(_running(folder, replica))


def pause(folder: Path, replica: ReplicaId) -> None:
    """SIGSTOP. ClusterError where the replica does not run, or goes on running."""
    _signal(folder, replica, signal.SIGSTOP, STOPPED)


def resume(folder: Path, replica: ReplicaId) -> None:
    """SIGCONT. ClusterError where the replica does not run, or stays stopped."""
    _signal(folder, replica, signal.SIGCONT, GOING_ON)


def stop(folder: Path) -> list[ReplicaId]:
    """Ends all replicas that run: SIGTERM, and SIGKILL for who does not heed it."""
    running = {
        member.replica: pid
        for member in cluster.read(folder).members
        if (pid := pid_of(replica_folder(folder, member.replica))) is not None
    }
    for pid in running.values():
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)
    for pid in running.values():
        _end(pid, END_S)
    return list(running)


def logs(folder: Path) -> dict[ReplicaId, bytes]:
    """What each replica has put out since it was founded."""
    files = {
        member.replica: replica_folder(folder, member.replica) / LOG_FILE
        for member in cluster.read(folder).members
    }
    try:
        return {r: path.read_bytes() if path.exists() else b"" for r, path in files.items()}
    except OSError as error:
        raise ClusterError(f"{error.filename}: {error.strerror}") from error


def pid_of(own: Path) -> int | None:
    """The process that runs this replica, or None: a number alone may be another's by now."""
    try:
        pid = int((own / PID_FILE).read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    # A process has no arguments for the moment in which it becomes another program.
    is_ours = command == [b""] or str(own).encode() in command
    return pid if is_ours and state_of(pid) not in ("", "Z") else None


def _running(folder: Path, replica: ReplicaId) -> int:
    pid = pid_of(replica_folder(folder, replica))
    if pid is None:
        raise ClusterError(f"replica {replica} of {folder} is not running")
    return pid


def _signal(folder: Path, replica: ReplicaId, number: signal.Signals, then: frozenset[str]) -> None:
    """A signal to a replica's process, which obeys it some time after the call has returned."""
    pid = _running(folder, replica)
    os.kill(pid, number)
    deadline_s = time.monotonic() + END_S
    while state_of(pid) not in then:
        if time.monotonic() > deadline_s:
            raise ClusterError(f"replica {replica} of {folder} did not obey {number.name}")
        time.sleep(0.001)


def _end(pid: int, after_s: float = 0.0) -> None:
    """Waits for a process to end; kills it once the time is over."""
    deadline_s = time.monotonic() + after_s
    while _is_alive(pid):
        if time.monotonic() >= deadline_s:
            os.kill(pid, signal.SIGKILL)
            deadline_s = time.monotonic() + END_S
        time.sleep(0.005)


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(ChildProcessError):
        # A child of this very process stays until it is asked for.
        os.waitpid(pid, os.WNOHANG)
    return Path(f"/proc/{pid}").exists()


def _standing(folder: Path, replica: ReplicaId) -> Standing:
    own = replica_folder(folder, replica)
    try:
        told = json.loads((own / STATUS_FILE).read_text())
    except (OSError, ValueError):
        told = {}
    pid = pid_of(own)
    if pid is None:
        return Standing(replica, Condition.DOWN, None, told)
    condition = Condition.PAUSED if state_of(pid) in STOPPED else Condition.RUNNING
    return Standing(replica, condition, f"pid {pid}", told)


def _make_replica(folder: Path, replica: ReplicaId) -> Identity:
    own = replica_folder(folder, replica)
    own.mkdir(mode=0o700)
    (own / "replica").write_text(f"{replica}\n")
    return cluster.make_identity(own / cluster.KEY_FILE)


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, below the ephemeral range."""
    chosen: list[int] = []
    for _ in range(100 * count):
        port = PORT_FIRST + secrets.randbelow(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port not in chosen:
            chosen.append(port)
        if len(chosen) == count:
            return chosen
    raise ClusterError(f"there are no {count} free ports in {PORT_FIRST} .. {PORT_FIRST + PORTS}")


def _last_words(own: Path) -> str:
    try:
        lines = (own / LOG_FILE).read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else f"{own / LOG_FILE} is empty"
