"""Samples, interleaved runs, and rows: what a benchmark measures and what is wanted of it."""

from __future__ import annotations

import gc
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from statistics import median
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Unit(Enum):
    """What a sample counts, and how people read it."""

    SECONDS = "s"
    BYTES = "B"

    def text(self, amount: float) -> str:
        for size, name in _SCALES[self]:
            if amount >= size:
                return f"{amount / size:.3g} {name}"
        size, name = _SCALES[self][-1]
        return f"{amount / size:.3g} {name}"


_SCALES = {
    Unit.SECONDS: ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")),
    Unit.BYTES: ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")),
}


@dataclass(frozen=True)
class Sample:
    """What several runs of one measurement gave. The median stands for it, the rest is spread."""

    values: tuple[float, ...]
    unit: Unit = Unit.SECONDS

    @property
    def median(self) -> float:
        return median(self.values)

    def __str__(self) -> str:
        if len(self.values) == 1:
            return self.unit.text(self.median)
        low, high = self.unit.text(min(self.values)), self.unit.text(max(self.values))
        return f"{self.unit.text(self.median)} ({low} .. {high}, {len(self.values)} runs)"


@dataclass(frozen=True)
class Faster:
    """Ours against a peer: how many times faster ours is, and must at least be."""

    what: str
    ours: Sample
    peer: Sample
    at_least: float

    @property
    def ratio(self) -> float:
        return self.peer.median / self.ours.median

    @property
    def holds(self) -> bool:
        return self.ratio >= self.at_least

    @property
    def wanted(self) -> str:
        return f">= {self.at_least:g} times faster"


@dataclass(frozen=True)
class Beside:
    """Ours beside a peer of which nothing is wanted: how many times the peer ours takes."""

    what: str
    ours: Sample
    peer: Sample

    @property
    def ratio(self) -> float:
        return self.ours.median / self.peer.median


@dataclass(frozen=True)
class Within(Beside):
    """Ours against a limit: how many times the limit ours takes, and may at most take.

    The limit is a sample measured in the same run, or a fixed amount: a sample of that alone.
    """

    at_most: float = 1.0

    @property
    def holds(self) -> bool:
        return self.ratio <= self.at_most

    @property
    def wanted(self) -> str:
        return f"<= {self.at_most:g} times"


@dataclass(frozen=True)
class Alone:
    """A peer's own figure, with nothing of ours beside it: for whoever checks the method."""

    what: str
    peer: Sample


Row = Faster | Within | Beside | Alone


def seconds(measured: Callable[[], object]) -> float:
    """The wall-clock time of one call, with the garbage of what came before already collected."""
    gc.collect()
    start = time.monotonic()
    measured()
    return time.monotonic() - start


def interleaved(times: int, *measurements: Callable[[], float]) -> list[Sample]:
    """`times` values of each measurement, taken in turn so that a noisy minute falls on all.

    Every other turn goes backwards: none is always the one that runs after a certain other.
    """
    taken: list[list[float]] = [[] for _ in measurements]
    for turn in range(times):
        order = range(len(measurements))
        for position in order if turn % 2 == 0 else reversed(order):
            taken[position].append(measurements[position]())
    return [Sample(tuple(values)) for values in taken]


def in_fresh_process(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The function's result, from a new interpreter: no heap, caches or threads from before.

    Whatever forks is measured so, because the time of a fork grows with the heap of its parent.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(function, *args, **kwargs).result()


def peak_growth_bytes(function: Callable[[], object]) -> int:
    """By how much the call raises this process's memory above what it holds now, at its peak.

    Call it in a fresh process, after the imports. The high-water mark is read from Linux's /proc:
    getrusage's ru_maxrss survives exec, so that it would report the peak of a bigger parent. Memory
    that the imports freed can be used again unseen: a few megabytes at most.
    """
    before = _memory_bytes("VmRSS")
    function()
    return _memory_bytes("VmHWM") - before


def _memory_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, amount = line.partition(":")
        if name == field:
            return int(amount.removesuffix("kB")) * 1024
    raise LookupError(f"/proc/self/status has no {field}")
