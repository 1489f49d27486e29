"""Containers: up to the barrier, and rounds, against idle ones of the same image; memory; SM(10).

Needs a Docker engine to itself, and images of the code that is here; left out, aloud, without one.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from benchmarks.frame_bytes import oral_frame_bytes
from benchmarks.measure import Beside, Row, Sample, Unit, Within, interleaved
from benchmarks.peers.bare_rounds import all_to_all, as_in_the_paper
from benchmarks.peers.idle_containers import bare_team, seconds_up
from orchestrator import camp, images
from orchestrator.backends import lasting
from orchestrator.backends.containers import Containers
from orchestrator.backends.lasting import Lasting
from orchestrator.engine import Engine, EngineError, connect
from orchestrator.scenario import from_fields
from orchestrator.trial import play

SIZES = ((4, 1), (10, 3), (31, 3))
#: Runs of generals who stand already, before the bare mesh has its turn.
ROUNDS_EACH = 5
#: Bytes that a general who has nothing to do may hold for himself.
ANONYMOUS_BYTES = 40 << 20
#: Seconds of the eleven rounds of SM(10), at the default deadline.
SIGNED_S = 11 * 0.5
LOOK_AGAIN_S = 0.002


def rows(times: int) -> Iterator[Row]:
    try:
        engine = connect()
    except EngineError as error:
        if os.environ.get("BYZANTINE_REQUIRE_DOCKER") == "1":
            raise
        print(f"limit_containers: left out: {error}", file=sys.stderr)
        return
    with closing(engine):
        image = images.require(engine, images.GENERAL)
        for n, _ in SIZES:
            ours, idle = interleaved(times, partial(_to_barrier, n), partial(seconds_up, n, image))
            yield Within(f"{n} containers up to the barrier, against idle ones", ours, idle, 1.3)
        for n, m in SIZES:
            yield from _standing_rows(engine, image, n, m, times)
    signed = Sample((_seconds("signed", 31, 10, Containers()),))
    yield Within("SM(10) n=31 among containers, default deadlines", signed, Sample((SIGNED_S,)))


def _standing_rows(engine: Engine, image: str, n: int, m: int, times: int) -> Iterator[Row]:
    """Rounds, and memory at rest, of generals who stand already.

    They and the bare mesh take turns: the kernel's table of addresses (ARP) is one for all
    containers, and has no room for 62 of which 31 and 31 speak to each other.
    """
    sizes = oral_frame_bytes(n, m)
    scripts = all_to_all(n, sizes), as_in_the_paper(n, sizes)
    ours: list[float] = []
    bare: tuple[list[float], list[float]] = [], []
    resting: list[float] = []
    ran: list[float] = []
    for _ in range(times):
        cluster = lasting.put_up(engine, n)
        try:
            resting += _anonymous(engine, cluster)
            ours += [_seconds("oral", n, m, Lasting(cluster)) for _ in range(ROUNDS_EACH)]
            ran += _anonymous(engine, cluster)
        finally:
            camp.strike(engine, cluster.id)
        with bare_team(n, image) as players:
            for script, taken in zip(scripts, bare, strict=True):
                taken += [players.rounds(script).seconds for _ in range(ROUNDS_EACH)]
    limit, own = (Sample(tuple(taken)) for taken in bare)
    what = f"OM({m}) n={n} among containers"
    yield Within(f"{what}, against bare rounds", Sample(tuple(ours)), limit, 2.0)
    yield Beside(f"{what}, beside its own frames, bare", Sample(tuple(ours)), own)
    for when, held in (("at rest", resting), (f"after {ROUNDS_EACH} runs", ran)):
        what = f"anonymous memory of a general {when}, n={n}"
        most = Sample((ANONYMOUS_BYTES,), Unit.BYTES)
        yield Within(what, Sample(tuple(held), Unit.BYTES), most)


def _to_barrier(n: int) -> float:
    """From the start of the command to run.json, which is written as the barrier is reached."""
    with tempfile.TemporaryDirectory() as out:
        command = ["run", "--backend", "containers", "--protocol", "oral", "-n", str(n), "-m", "1"]
        command += ["--order", "attack", "--out", out, "--format", "json"]
        start_s = time.monotonic()
        with subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *command], stdout=subprocess.DEVNULL
        ) as run:
            while not list(Path(out).glob("*/*/run.json")):
                if run.poll() is not None:
                    raise RuntimeError(f"byzantine run ended with {run.returncode}")
                time.sleep(LOOK_AGAIN_S)
            took_s = time.monotonic() - start_s
    if run.returncode not in (0, 3):
        raise RuntimeError(f"byzantine run ended with {run.returncode}")
    return took_s


def _seconds(protocol: str, n: int, m: int, backend: Containers) -> float:
    """One run's own seconds. RuntimeError unless it passed."""
    fields = {"name": "benchmark", "protocol": protocol, "n": n, "m": m, "order": "attack"}
    result = play(from_fields(fields), backend)
    if result.verdict.outcome != "pass" or result.audit.findings:
        raise RuntimeError(f"the run ended in {result.verdict.sentence()}")
    return result.seconds


def _anonymous(engine: Engine, cluster: camp.Found) -> Iterator[int]:
    """What each general's control group says of memory that no file backs, in bytes."""
    for container in cluster.container_of().values():
        stats = engine.client.api.stats(container["Id"], stream=False, one_shot=True)
        fields = stats["memory_stats"]["stats"]
        # The first is the second version of control groups' word for it, the other the first's.
        yield int(fields.get("anon", fields.get("total_rss")))
