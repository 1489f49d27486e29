"""The tree of paths of OM(m), in one canonical order, so that no label travels or is kept.

A general's level r holds a value for each path of r generals: the commander, then r - 1 distinct
lieutenants other than himself. Those lieutenants are named by *rank* among the ones still possible:
of `size` lieutenants, a path d_1 .. d_k has d_1 among `size`, d_2 among the `size - 1` that are
left, and so on. Its position is

    d_1 + size * (d_2 + (size - 1) * (d_3 + ...))

The last general of a path varies slowest, so the children p:j of all paths p stand in rows, one for
each rank of j among those not on p: a majority is a reduction over rows.

Two facts make relays cheap. What general j says in round r is his level r - 1 as it stands. What i
takes of it are the paths without i, and it becomes i's paths that end in j, in the same order.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.intp]


def count(size: int, length: int) -> int:
    """How many paths of `length` lieutenants there are among `size`: size! / (size - length)!

    None where there are too few, which is where OM(n - 1) ends: no path has room for a last step.
    """
    return math.perm(size, length) if size >= 0 else 0


@lru_cache(maxsize=512)
def avoiding(size: int, length: int, rank: int) -> Positions:
    """Positions of the paths that do not contain the lieutenant of `rank`.

    They come in the canonical order of the paths over the other `size - 1` lieutenants.
    """
    if length == 0:
        return _frozen(np.zeros(1, dtype=np.intp))
    # The first general of a path varies fastest, so each choice of him fills a column.
    grown = np.empty((count(size - 2, length - 1), size - 1), dtype=np.intp)
    for first in range(size):
        if first != rank:
            rest = avoiding(size - 1, length - 1, rank - (first < rank))
            grown[:, first - (first > rank)] = first + size * rest
    return _frozen(grown.reshape(-1))


@lru_cache(maxsize=512)
def arrivals(size: int, length: int) -> Positions:
    """For each path of `length` >= 1 by position, where it is heard: in whose row, and where there.

    The rows are those of the lieutenants by rank. The row of the one who ends a path holds the
    paths over the other `size - 1` in their canonical order: what precedes him is one of these.
    """
    if length == 1:
        return _frozen(np.arange(size, dtype=np.intp))
    # A path is its first general and a path of those who are left, which is heard among them.
    columns = count(size - 2, length - 2)
    rows, places = np.divmod(arrivals(size - 1, length - 1), max(columns, 1))
    grown = np.empty((len(rows), size), dtype=np.intp)
    for first in range(size):
        row = rows + (rows >= first)
        rank = first - (row < first)
        grown[:, first] = row * count(size - 1, length - 1) + rank + (size - 1) * places
    return _frozen(grown.reshape(-1))


def position(size: int, path: tuple[int, ...]) -> int:
    """The position of a path of ranks among all `size` lieutenants. ValueError: no such path."""
    if len(set(path)) != len(path) or not all(0 <= rank < size for rank in path):
        raise ValueError(f"{path} is no path of distinct lieutenants among {size}")
    place, weight = 0, 1
    for step, rank in enumerate(path):
        place += weight * (rank - sum(earlier < rank for earlier in path[:step]))
        weight *= size - step
    return place


def labels(size: int, length: int) -> list[tuple[int, ...]]:
    """Every path as ranks among all `size` lieutenants, by position: for people and tests."""
    if length == 0:
        return [()]
    shorter = labels(size, length - 1)
    found: list[tuple[int, ...]] = [()] * count(size, length)
    for position in range(len(found)):
        prefix = shorter[position % len(shorter)]
        left = [rank for rank in range(size) if rank not in prefix]
        found[position] = (*prefix, left[position // len(shorter)])
    return found


def _frozen(positions: Positions) -> Positions:
    positions.flags.writeable = False
    return positions
