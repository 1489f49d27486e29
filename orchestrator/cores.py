"""Signatures checked on all cores: nearly all of an audit's time is theirs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain, islice
from multiprocessing import get_context

from node.signatures import Claim, check_each

#: Claims that travel to a core together; fewer than one such load are checked here.
LOAD = 512


def check_on_all_cores(claims: Iterable[Claim]) -> Iterable[bool]:
    """Whether each claim is true, in their order. While they are checked, more are gathered."""
    rest = iter(claims)
    first = list(islice(rest, LOAD))
    cores = os.cpu_count() or 1
    if len(first) < LOAD or cores == 1:
        return chain(check_each(first), check_each(rest))
    with ProcessPoolExecutor(cores, mp_context=get_context("fork")) as pool:
        return list(chain.from_iterable(pool.map(_checked, _loads(first, rest))))


def _loads(first: list[Claim], rest: Iterator[Claim]) -> Iterator[list[Claim]]:
    yield first
    while load := list(islice(rest, LOAD)):
        yield load


def _checked(load: list[Claim]) -> list[bool]:
    return list(check_each(load))
