"""Whether a history of clients is linearisable: each operation seems to take effect at one moment
between its call and its return (Herlihy and Wing 1990).

The search is Wing and Gong's, with Lowe's memory of configurations already seen (2017). Operations
on different keys commute, so that keys are checked apart; a scan ties all keys together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from node.protocols.pbft.key_value import (
    CompareAndSwap,
    Delete,
    Done,
    Entries,
    Found,
    Get,
    Invalid,
    Operation,
    Outcome,
    Put,
    Scan,
)

#: Configurations that are looked at before the search gives up.
CONFIGURATIONS_MAX = 500_000

State: TypeAlias = frozenset[tuple[str, bytes]]


@dataclass(frozen=True)
class Call:
    """One operation of one client.

    Where no answer came, `returned_s` is infinite and `outcome` None: it may have taken effect at
    any time since, or never."""

    operation: Operation
    outcome: Outcome | None
    invoked_s: float
    returned_s: float = math.inf


class Undecided(Exception):  # noqa: N818 - no error: the search is too long to finish
    """The history is too wide for its check."""


def first_fault(history: Iterable[Call]) -> str | None:
    """Which keys have a history that no order explains, or None where all is linearisable.

    Undecided where the search takes more than `CONFIGURATIONS_MAX` configurations.
    """
    calls = [c for c in history if c.outcome is not None or not _is_reading(c.operation)]
    if any(isinstance(call.operation, Scan) for call in calls):
        return None if is_linearisable(calls) else "all keys together"
    for key, its_calls in sorted(_by_key(calls).items()):
        if not is_linearisable(its_calls):
            return key
    return None


def is_linearisable(calls: Sequence[Call]) -> bool:
    """Whether some order, which respects what returned before what was called, explains all."""
    calls = sorted(calls, key=lambda call: call.invoked_s)
    answered = sum(1 << number for number, call in enumerate(calls) if call.outcome is not None)
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, frozenset())]
    while stack:
        done, state = stack.pop()
        if done & answered == answered:
            return True
        if (done, state) in seen:
            continue
        seen.add((done, state))
        if len(seen) > CONFIGURATIONS_MAX:
            raise Undecided(f"{len(calls)} operations")
        first_return_s = math.inf
        for number, call in enumerate(calls):
            if call.invoked_s > first_return_s:
                break
            if done >> number & 1:
                continue
            after = _after(state, call)
            if after is not None:
                stack.append((done | 1 << number, after))
            first_return_s = min(first_return_s, call.returned_s)
    return False


def _after(state: State, call: Call) -> State | None:
    """The state after a call in `state`, or None where its answer would have been another."""
    values = dict(state)
    expected = _apply(values, call.operation)
    if call.outcome is not None and call.outcome != expected:
        return None
    return frozenset(values.items())


def _apply(values: dict[str, bytes], operation: Operation) -> Outcome:
    """The sequential store, written anew: what checks the store is not the store itself."""
    match operation:
        case Put(key, value):
            values[key] = value
            return Done(True)
        case Get(key):
            return Found(values.get(key))
        case Delete(key):
            return Done(values.pop(key, None) is not None)
        case CompareAndSwap(key, expected, value):
            if values.get(key) != expected:
                return Done(False)
            values[key] = value
            return Done(True)
        case Scan():
            return _scan(values, operation)


def _scan(values: Mapping[str, bytes], operation: Scan) -> Entries:
    found = sorted(
        (key, value)
        for key, value in values.items()
        if key.startswith(operation.prefix) and key > operation.after
    )
    return Entries(tuple(found[: operation.limit]), is_complete=len(found) <= operation.limit)


def _by_key(calls: Iterable[Call]) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for call in calls:
        if not isinstance(call.operation, Scan) and not isinstance(call.outcome, Invalid):
            found.setdefault(call.operation.key, []).append(call)
    return found


def _is_reading(operation: Operation) -> bool:
    return isinstance(operation, Get | Scan)
