"""Signatures checked on all cores: nearly all of an audit's time is theirs."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from multiprocessing import get_context
from typing import TypeAlias

from node.signatures import Claim, check_each, verify

#: Claims that travel to a core together; fewer than one such load are checked here.
LOAD = 1024

#: Claims as plain tuples, which travel at half the cost of named ones.
_Load: TypeAlias = list[tuple[bytes, bytes, bytes, bytes]]


def check_on_all_cores(claims: Iterable[Claim]) -> Iterable[bool]:
    """Whether each claim is true, in their order. While they are checked, more are gathered."""
    rest = iter(claims)
    first = list(islice(rest, LOAD))
    cores = os.cpu_count() or 1
    if len(first) < LOAD or cores == 1:
        return chain(check_each(first), check_each(rest))
    with _uncollected(), ProcessPoolExecutor(cores, mp_context=get_context("fork")) as pool:
        return list(chain.from_iterable(pool.map(_checked, _loads(first, rest))))


def _loads(first: list[Claim], rest: Iterator[Claim]) -> Iterator[_Load]:
    yield list(map(_plain, first))
    while load := list(map(_plain, islice(rest, LOAD))):
        yield load


def _plain(claim: Claim) -> tuple[bytes, bytes, bytes, bytes]:
    return (*claim,)


def _checked(load: _Load) -> list[bool]:
    return [verify(*claim) for claim in load]


@contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector, which would look through all that is gathered time and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
