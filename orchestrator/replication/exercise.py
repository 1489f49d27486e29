"""A cluster that stands is put through its paces, and judged by what its clients were answered.

Clients ask all at once, each one operation after the other, on keys that nobody else uses.
"""

from __future__ import annotations

import random
import secrets
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from node.protocols.pbft import key_value as kv
from orchestrator.client import Client, NoAnswer
from orchestrator.replication.campaign import KEYS, draw_operation
from orchestrator.replication.linearizability import Call
from orchestrator.replication.verdict import Promise, State, in_one_order


@dataclass(frozen=True)
class Exercise:
    """What came of it. `slowest_s`: the longest that an answered operation took."""

    calls: tuple[Call, ...]
    took_s: float
    promises: tuple[Promise, ...]

    @property
    def is_passed(self) -> bool:
        return all(promise.state is State.HELD for promise in self.promises)

    @property
    def slowest_s(self) -> float:
        return max((c.returned_s - c.invoked_s for c in self.calls if c.outcome), default=0.0)


def exercise(
    folder: Path,
    *,
    clients: int,
    operations: int,
    seed: int,
    patience_s: float,
    pause_s: float = 0.0,
    is_over: Callable[[], bool] = lambda: True,
) -> Exercise:
    """So many operations of each of so many clients, and more until it is over, `pause_s` between
    one and the next. ClusterError where they have no keys.

    Who had no answer while nobody else had one either asks no more: it is known what is broken, and
    the rest would take as long again, each.
    """
    began_s = answered_s = time.monotonic()
    prefix = f"exercise/{secrets.token_hex(4)}/"
    together = threading.Barrier(clients)

    def use(client: Client, number: int) -> list[Call]:
        nonlocal answered_s
        chance = random.Random(f"{seed}/{number}")
        together.wait()
        calls: list[Call] = []
        while len(calls) < operations or not is_over():
            operation = draw_operation(chance, number + clients * len(calls))
            calls.append(call := _call(client, _prefixed(operation, prefix)))
            if call.outcome is not None:
                answered_s = call.returned_s
            elif answered_s < call.invoked_s:
                break
            time.sleep(pause_s)
        return calls

    opened = [Client(folder, patience_s=patience_s) for _ in range(clients)]
    try:
        with ThreadPoolExecutor(clients) as hands:
            calls = [c for done in hands.map(use, opened, range(clients)) for c in done]
        for key in KEYS:
            if _call(opened[0], kv.Delete(prefix + key)).outcome is None:
                break
    finally:
        for client in opened:
            client.close()
    promises = (in_one_order(calls), _liveness(calls, patience_s))
    return Exercise(tuple(calls), time.monotonic() - began_s, promises)


def _call(client: Client, operation: kv.Operation) -> Call:
    """One operation, and when. Without an answer it may have taken effect, or may yet."""
    invoked_s = time.monotonic()
    try:
        outcome = client.call(operation)
    except NoAnswer:
        return Call(operation, None, invoked_s)
    return Call(operation, outcome, invoked_s, time.monotonic())


def _liveness(calls: list[Call], patience_s: float) -> Promise:
    silent = sum(call.outcome is None for call in calls)
    if silent:
        because = f"{silent} of {len(calls)} operations had no answer in {patience_s:g} s"
        return Promise("liveness", State.BROKEN, because)
    return Promise("liveness", State.HELD, f"all {len(calls)} were answered")


def _prefixed(operation: kv.Operation, prefix: str) -> kv.Operation:
    if isinstance(operation, kv.Scan):
        return replace(operation, prefix=prefix + operation.prefix)
    return replace(operation, key=prefix + operation.key)
