"""PBFT's key-value store beside etcd (crash-tolerant only) and the unreplicated limit.

Equal durability on both sides: in memory, which for etcd is a folder on tmpfs, unless a row says
that it is on disk. A sample is the seconds that one operation takes of the run's time.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import Alone, Faster, Row, Sample, Within
from benchmarks.peers.etcd import Etcd
from benchmarks.peers.unreplicated import Unreplicated
from node.protocols.pbft import key_value as kv
from node.protocols.pbft.configuration import Authentication, Configuration
from orchestrator.client import Client
from orchestrator.replication import household

MEMORY = Path("/dev/shm")
VALUE = b"v" * 16
KEYS = 1_000
SERIAL = 300
WARM = 50
#: Operations of a run with so many outstanding.
AMOUNT = {32: 6_000, 256: 20_000}
ANSWER_S = 60.0

#: Asks for the operation of that number, and calls when it is answered.
Ask = Callable[[int, Callable[[], None]], None]


def rows(times: int) -> list[Row]:
    taken: dict[str, list[float]] = {}

    def note(what: str, seconds: float) -> None:
        taken.setdefault(what, []).append(seconds)

    for _ in range(times):
        _measure_etcd(note)
        _measure_ours(note)
    for _ in range(max(1, times // 2)):
        note("first reply after the primary's SIGKILL", _after_the_death())
    samples = {what: Sample(tuple(values)) for what, values in taken.items()}
    return list(_rows(samples))


def _rows(samples: dict[str, Sample]) -> Iterator[Row]:
    def faster(what: str, peer: str, at_least: float) -> Faster:
        return Faster(f"{what} beside {peer}", samples.pop(what), samples[peer], at_least)

    yield faster("MACs, 32 outstanding", "etcd, 32 outstanding", 1.5)
    yield Faster(
        "reads beside writes, MACs, 256 outstanding",
        samples.pop("reads, 256 outstanding"), samples["MACs, 256 outstanding"], 2.0,
    )  # fmt: skip
    yield faster("MACs, 256 outstanding", "etcd, 256 outstanding", 3.0)
    yield faster("signed, 256 outstanding", "etcd, 256 outstanding", 1.0)
    alone = samples.pop("MACs, one at a time")
    yield Within("MACs, one at a time, median", alone, Sample((0.002,)))
    death = samples.pop("first reply after the primary's SIGKILL")
    yield Within("first reply after the primary's SIGKILL, timeout 1 s", death, Sample((1.0,)), 1.5)
    for what, sample in samples.items():
        yield Alone(what, sample)


def _measure_etcd(note: Callable[[str, float], None]) -> None:
    with Etcd(4, MEMORY) as etcd:
        for number in range(WARM):
            etcd.put_and_wait(f"k{number}", VALUE)
        note("etcd, one at a time", median_s(lambda k: etcd.put_and_wait(f"k{k}", VALUE)))
        for outstanding in AMOUNT:

            def put(number: int, on_done: Callable[[], None]) -> None:
                etcd.put(f"k{number % KEYS}", VALUE, on_done)

            note(f"etcd, {outstanding} outstanding", driven(put, outstanding))


def _measure_ours(note: Callable[[str, float], None]) -> None:
    for is_signed in (True, False):
        with Unreplicated(is_signed) as alone:
            for number in range(WARM):
                alone.put_and_wait(f"k{number}", VALUE)
            kind = "signed" if is_signed else "MACs"
            what = f"unreplicated, {kind}, one at a time"
            note(what, median_s(partial(_put_alone, alone)))
    with _cluster() as client:
        note("MACs, one at a time", median_s(one_at_a_time(client)))
        note("reads, one at a time", median_s(one_at_a_time(client, is_reading=True)))
        for outstanding in AMOUNT:
            note(f"MACs, {outstanding} outstanding", driven(many_at_a_time(client), outstanding))
            reads = driven(many_at_a_time(client, is_reading=True), outstanding)
            note(f"reads, {outstanding} outstanding", reads)
    with _cluster(authentication=Authentication.SIGNATURES) as client:
        note("signed, one at a time", median_s(one_at_a_time(client)))
        note("signed, 256 outstanding", driven(many_at_a_time(client), 256))
    with _cluster(is_durable=True) as client:
        note("MACs on disk, one at a time", median_s(one_at_a_time(client)))
        note("MACs on disk, 256 outstanding", driven(many_at_a_time(client), 256))


def _put_alone(alone: Unreplicated, number: int) -> None:
    alone.put_and_wait(f"k{number}", VALUE)


def _after_the_death() -> float:
    """From SIGKILL of the primary to the first answer of a client who has asked all along."""
    with _cluster(on=lambda folder: household.kill(folder, 0)) as client:
        began_s = time.monotonic()
        client.put("k", VALUE)
        return time.monotonic() - began_s


@contextmanager
def _cluster(on: Callable[[Path], None] | None = None, **switches: Any) -> Iterator[Client]:
    """Four replicas and a warm client. `on`: what to do to them before they are measured."""
    with (
        replicas(4, **{"is_durable": False, **switches}) as folder,
        Client(folder) as client,
    ):
        for number in range(WARM):
            client.put(f"k{number}", VALUE)
        if on is not None:
            on(folder)
        yield client


@contextmanager
def replicas(n: int, clients: int = 1, **switches: Any) -> Iterator[Path]:
    """The folder of n replicas that run; in memory, unless they are durable."""
    configuration = Configuration(n=n, **switches)
    where = None if configuration.is_durable else MEMORY
    with tempfile.TemporaryDirectory(dir=where, prefix="replicas-") as name:
        folder = Path(name) / "cluster"
        household.found(folder, configuration, "kv", clients)
        try:
            for replica in range(n):
                household.start(folder, replica)
            household.await_started(folder, n)
            yield folder
        finally:
            household.stop(folder)


def one_at_a_time(client: Client, *, is_reading: bool = False) -> Callable[[int], None]:
    def do(number: int) -> None:
        if is_reading:
            client.get(f"k{number % WARM}")
        else:
            client.put(f"k{number}", VALUE)

    return do


def many_at_a_time(client: Client, *, is_reading: bool = False, keys: int = KEYS) -> Ask:
    operations = [
        kv.encode(kv.Get(f"k{k}") if is_reading else kv.Put(f"k{k}", VALUE)) for k in range(keys)
    ]

    def do(number: int, on_done: Callable[[], None]) -> None:
        def answered(result: bytes | Exception) -> None:
            if isinstance(result, bytes):  # Else the run never ends, and says so.
                on_done()

        client.ask(operations[number % keys], answered, is_read_only=is_reading)

    return do


def median_s(do: Callable[[int], None]) -> float:
    """The median seconds of one operation, one at a time."""
    taken = []
    for number in range(SERIAL):
        began_s = time.monotonic()
        do(number)
        taken.append(time.monotonic() - began_s)
    return sorted(taken)[len(taken) // 2]


def driven(ask: Ask, outstanding: int, amount: int | None = None) -> float:
    """Seconds an operation while so many are always outstanding: as one ends, another begins."""
    amount = amount or AMOUNT[outstanding]
    is_over = threading.Event()
    lock = threading.Lock()
    asked = done = 0

    def on_done() -> None:
        nonlocal asked, done
        with lock:
            done += 1
            if done == amount:
                is_over.set()
            if asked == amount:
                return
            number, asked = asked, asked + 1
        ask(number, on_done)

    began_s = time.monotonic()
    asked = outstanding
    for number in range(outstanding):
        ask(number, on_done)
    if not is_over.wait(ANSWER_S):
        raise TimeoutError(f"{done} of {amount} operations were answered in {ANSWER_S:g} s")
    return (time.monotonic() - began_s) / amount
