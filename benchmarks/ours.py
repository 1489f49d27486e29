"""Our own runs as the benchmarks take them: a scenario of loyal generals played among processes.

The fork server has played a run before, so it is as warm as any after a user's first. Times are the
orchestrator's and the generals' own: of the muster, from the first fork to the open barrier; of the
agreement, from the common start to the last decision.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from node.control import Decided
from node.orders import GeneralId
from orchestrator.backends import UNEVENTFUL, Course, Mustered
from orchestrator.backends.fork_client import ForkServer
from orchestrator.backends.processes import Processes
from orchestrator.casting import Cast
from orchestrator.results import Result
from orchestrator.scenario import from_fields
from orchestrator.trial import play


@dataclass(frozen=True)
class OurRun:
    """One run. `processor_s`: of all generals, their I/O threads included, start to decisions."""

    seconds: float
    muster_s: float
    processor_s: float
    result: Result


@contextmanager
def warm_forks() -> Iterator[ForkServer]:
    """A fork server that has already carried a run."""
    with ForkServer() as forks:
        our_run(forks, protocol="oral", n=4, m=1)
        yield forks


def our_run(forks: ForkServer, **fields: Any) -> OurRun:
    """Plays the scenario of these fields. RuntimeError unless it passed as it should."""
    scenario = from_fields({"name": "benchmark", "order": "attack", "force": True, **fields})
    backend = _Timed(forks)
    result = play(scenario, backend)
    if result.verdict.outcome != "pass" or result.audit.findings:
        raise RuntimeError(f"the run ended in {result.verdict.sentence()}")
    return OurRun(result.seconds, backend.muster_s, backend.processor_s, result)


class _Timed(Processes):
    """The backend, with a stopwatch at its two doors."""

    muster_s = 0.0
    processor_s = 0.0

    def __init__(self, forks: ForkServer) -> None:
        super().__init__(None, forks)

    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        start = time.monotonic()
        mustered = super().muster(cast, logs)
        self.muster_s = time.monotonic() - start
        self._pids = [int(host) for host in mustered.hosts.values()]
        return mustered

    def command(
        self, on_decided: Callable[[GeneralId], None], course: Course = UNEVENTFUL
    ) -> dict[GeneralId, Decided]:
        before = sum(map(_processor_s, self._pids))
        decided = super().command(on_decided, course)
        self.processor_s = sum(map(_processor_s, self._pids)) - before
        return decided


def _processor_s(pid: int) -> float:
    """Processor seconds of all threads of a process, to the nanosecond, from Linux's /proc."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9
