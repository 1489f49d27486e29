"""A service's scenario played among processes: replicas, clients who go on asking, misfortunes.

    story > household > Chaos, exercise > checkpoints on disk, calls > judgement > run directory

The timetable is that of the generals; what it comes down to befalls processes and their links.
A cut link loses what is sent meanwhile: replicas say again what others lack.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from node.cluster import Cluster, ClusterError, put_whole
from node.control import Suffer
from node.durable import Store
from node.effects import Milestone
from node.link_faults import LinkRule
from node.protocols.pbft.messages import ReplicaId
from node.replica_runtime import LINKS_FILE
from orchestrator.backends import FaultError
from orchestrator.chaos import Chaos, Incident
from orchestrator.faults import (
    Cut,
    Disconnect,
    Disturb,
    Fault,
    Kill,
    Pause,
    Recast,
    Skew,
    cut_links,
    numbered,
    suffering,
)
from orchestrator.replication import founding, household
from orchestrator.replication.exercise import Exercise, exercise
from orchestrator.replication.homes import Condition, Standing
from orchestrator.replication.story import Story
from orchestrator.replication.verdict import Promise, State
from orchestrator.rundir import RunDir, RunFile, versions
from orchestrator.scenario import Outcome

#: Operations of each client, at least, and how long each waits before his next one, in seconds.
OPERATIONS: Final = 20
PAUSE_S: Final = 0.02
#: A replica has told within so many seconds what befalls its links.
TOLD_S: Final = 5.0
LOOK_S: Final = 0.02


@dataclass(frozen=True)
class Ordeal:
    """What came of it. `faulty`: who was a traitor, or dead, or had forgotten, and why."""

    story: Story
    exercised: Exercise
    promises: tuple[Promise, ...]
    faulty: Mapping[ReplicaId, str]
    incidents: tuple[Incident, ...]
    outcome: Outcome
    path: Path | None

    @property
    def is_as_expected(self) -> bool:
        return self.outcome is (self.story.expect or Outcome.PASS)


class Household:
    """What befalls replicas that are processes of this machine, with a folder each."""

    def __init__(self, folder: Path, n: int) -> None:
        self._folder = folder
        self._n = n
        self._began_s = time.monotonic()
        self._lasting: list[Cut | Disturb] = []
        self._order = 0
        self.dead: set[ReplicaId] = set()

    def begin(self) -> None:
        """All replicas are up: time counts from here."""
        self._began_s = time.monotonic()

    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def why_not(self, fault: Fault) -> str | None:
        match fault:
            case Disconnect():
                return "processes of one machine have no network to leave: isolate cuts their links"
            case Skew():
                return "processes of one machine have one clock"
            case Recast():
                return "a replica is a traitor from the start, or never: `traitors` says who"
            case Disturb(rule=rule) if rule.rounds is not None or rule.kinds is not None:
                return "a packet of a replica has many messages, and no round"
            case _:
                return None

    def inflict(self, fault: Fault) -> None:
        with _fault_errors():
            match fault:
                case Kill(replica):
                    household.kill(self._folder, replica)
                    self.dead.add(replica)
                case Pause(replica):
                    household.pause(self._folder, replica)
                    self._await(replica, lambda one: one.condition is Condition.PAUSED)
                case Cut() | Disturb():
                    self._lasting.append(fault)
                    self._tell_links()

    def heal(self, fault: Fault) -> None:
        with _fault_errors():
            match fault:
                case Kill(replica):
                    household.start(self._folder, replica)
                    self._await(replica, lambda one: bool(one.told))
                    self.dead.discard(replica)
                case Pause(replica):
                    household.resume(self._folder, replica)
                    self._await(replica, lambda one: one.condition is Condition.RUNNING)
                case Cut() | Disturb():
                    self._lasting.remove(fault)
                    self._tell_links()

    def _tell_links(self) -> None:
        """Every replica that runs is told what befalls its links, and tells that it does."""
        self._order += 1
        cut = cut_links(self._lasting)
        for replica in range(self._n):
            order = numbered(_lossy(suffering(replica, self._lasting, cut)), self._order)
            own = household.replica_folder(self._folder, replica)
            put_whole(own / LINKS_FILE, msgspec.json.encode(order))
            if self._standing(replica).condition is Condition.RUNNING:
                pid = household.pid_of(own)
                assert pid is not None
                os.kill(pid, signal.SIGHUP)
        for replica in range(self._n):
            if self._standing(replica).condition is Condition.RUNNING:
                self._await(replica, lambda one: one.told.get("suffers") == self._order)

    def _standing(self, replica: ReplicaId) -> Standing:
        return household.standings(self._folder)[replica]

    def _await(self, replica: ReplicaId, is_so: Callable[[Standing], bool]) -> None:
        deadline_s = time.monotonic() + TOLD_S
        while not is_so(self._standing(replica)):
            if time.monotonic() > deadline_s:
                raise FaultError(f"replica {replica} does not tell that it took effect")
            time.sleep(0.01)


def play(story: Story, written: bytes, out: Path | None = None) -> Ordeal:
    """Plays a story; with `out`, leaves a run directory under it. ClusterError where the replicas
    could not be brought up, BackendError where the timetable asks for what cannot be."""
    started = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="byzantine-") as name:
        folder = Path(name) / "cluster"
        afflicted = Household(folder, story.n)
        chaos = Chaos(story.chaos, story.n, afflicted, dict.fromkeys(range(story.n)))
        chaos.refuse_impossible()
        place = RunDir.create(out, story.name, story.seed) if out is not None else None
        try:
            cluster = household.put_up(
                folder, story.configuration, story.service, story.clients, story.traitors
            )
            if place is not None:
                _write_start(place, story, written, cluster, folder, started)
            done, healed_s = _exercised(story, folder, afflicted, chaos)
        finally:
            if founding.is_founded(folder):
                household.stop(folder)
            if place is not None:
                _save_logs(place, folder, story.n)
        ordeal = _judged(story, cluster, folder, afflicted, chaos, done, healed_s, place)
    if place is not None:
        place.write_json("verdict.json", fields(ordeal))
    return ordeal


def fields(ordeal: Ordeal) -> dict[str, object]:
    """The judgement as a program reads it."""
    return {
        "outcome": ordeal.outcome.value,
        "expected": ordeal.is_as_expected,
        "promises": [vars(promise) for promise in ordeal.promises],
        "faulty": {str(replica): why for replica, why in ordeal.faulty.items()},
        "operations": len(ordeal.exercised.calls),
        "slowest_s": ordeal.exercised.slowest_s,
        "incidents": [vars(incident) for incident in ordeal.incidents],
    }


def _exercised(
    story: Story, folder: Path, afflicted: Household, chaos: Chaos
) -> tuple[Exercise, float]:
    """Clients ask until the timetable is over and all is healed; when that was."""
    is_over = threading.Event()
    afflicted.begin()
    with ThreadPoolExecutor(1) as hands:
        asked: Future[Exercise] = hands.submit(
            exercise,
            folder,
            clients=story.clients,
            operations=OPERATIONS,
            seed=story.seed,
            patience_s=story.patience + story.bound,
            pause_s=PAUSE_S,
            is_over=is_over.is_set,
        )
        try:
            while not chaos.is_over and afflicted.elapsed_s() < story.patience and not asked.done():
                chaos.at_time(afflicted.elapsed_s())
                for one in household.standings(folder):
                    chaos.reached(Milestone.VIEW, one.told.get("view", 0))
                    chaos.reached(Milestone.STABLE, one.told.get("stable", 0))
                time.sleep(LOOK_S)
            chaos.end()
            healed_s = time.monotonic()
        finally:
            is_over.set()
        return asked.result(), healed_s


def _judged(
    story: Story,
    cluster: Cluster,
    folder: Path,
    afflicted: Household,
    chaos: Chaos,
    done: Exercise,
    healed_s: float,
    place: RunDir | None,
) -> Ordeal:
    faulty = {replica: f"plays {strategy}" for replica, strategy in story.traitors.items()}
    for replica, why in chaos.toll().ended.items():
        if replica in afflicted.dead:
            faulty.setdefault(replica, why)
        elif not story.durable:
            faulty.setdefault(replica, "was killed and had forgotten")
    correct = [replica for replica in range(story.n) if replica not in faulty]
    linearisable, _ = done.promises
    promises = [linearisable, _liveness(done, healed_s, story.bound)]
    if story.durable:
        promises.insert(0, _safety(cluster, folder, correct))
    return Ordeal(
        story=story,
        exercised=done,
        promises=tuple(promises),
        faulty=faulty,
        incidents=tuple(chaos.incidents),
        outcome=_outcome(promises, chaos, is_owed=len(faulty) <= story.configuration.f),
        path=place.path if place is not None else None,
    )


def _outcome(promises: list[Promise], chaos: Chaos, *, is_owed: bool) -> Outcome:
    states = {promise.state for promise in promises}
    if State.BROKEN in states:
        return Outcome.VIOLATION if is_owed else Outcome.OUT_OF_MODEL
    if State.UNKNOWN in states or chaos.unborne():
        return Outcome.UNKNOWN
    return Outcome.PASS


def _safety(cluster: Cluster, folder: Path, correct: list[ReplicaId]) -> Promise:
    """Correct replicas that wrote down their state at the same number wrote down the same."""
    first: dict[int, tuple[ReplicaId, bytes]] = {}
    for replica in correct:
        store = Store(household.replica_folder(folder, replica), cluster.id, replica)
        with contextlib.closing(store):
            snapshots = store.load().snapshots
        for sequence, snapshot in snapshots.items():
            who, digest = first.setdefault(sequence, (replica, snapshot.digest))
            if digest != snapshot.digest:
                because = f"replicas {who} and {replica} have different states at {sequence}"
                return Promise("safety", State.BROKEN, because)
    last = max(first, default=0)
    return Promise("safety", State.HELD, f"one state at each checkpoint, up to {last}")


def _liveness(done: Exercise, healed_s: float, bound_s: float) -> Promise:
    """After the network has healed an operation is answered within the bound."""
    late = [
        call
        for call in done.calls
        if call.outcome is None or call.returned_s > max(healed_s, call.invoked_s) + bound_s
    ]
    if late:
        because = f"{len(late)} of {len(done.calls)} operations had no answer in {bound_s:g} s"
        return Promise("liveness", State.BROKEN, because)
    return Promise("liveness", State.HELD, f"all {len(done.calls)} were answered")


def _lossy(order: Suffer) -> Suffer:
    """A cut of replicas' links: they hold nothing back for a link that may never heal."""
    rules = [
        LinkRule(key=-1, receivers=rule.receivers, lose=1.0) if rule.cut else rule
        for rule in order.rules
    ]
    return replace(order, rules=tuple(rules))


@contextlib.contextmanager
def _fault_errors() -> Iterator[None]:
    try:
        yield
    except ClusterError as error:
        raise FaultError(str(error)) from error


def _write_start(
    place: RunDir, story: Story, written: bytes, cluster: Cluster, folder: Path, started: datetime
) -> None:
    place.write("scenario.yaml", written)
    run_file = RunFile(
        scenario=story.name,
        run=cluster.id.hex(),
        nonce=cluster.nonce.hex(),
        seed=story.seed,
        backend="processes",
        protocol="pbft",
        n=story.n,
        m=story.configuration.f,
        started=started.isoformat(),
        versions=dict(versions()),
        hosts={one.replica: one.seat or "down" for one in household.standings(folder)},
    )
    place.write_json("run.json", run_file)


def _save_logs(place: RunDir, folder: Path, n: int) -> None:
    for replica in range(n):
        log = household.replica_folder(folder, replica) / household.LOG_FILE
        if log.exists():
            shutil.copyfile(log, place.path / f"replica-{replica}.log")
