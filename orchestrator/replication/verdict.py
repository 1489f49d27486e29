"""What is to be said of a cluster's run: safety, exactly-once, linearisability, liveness.

Pure functions of what correct replicas say they executed and of the clients' history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from node.protocols.pbft import key_value
from node.protocols.pbft.messages import Failed, ReplicaId
from orchestrator.replication import linearizability
from orchestrator.replication.linearizability import Call, Undecided
from orchestrator.replication.world import Operation


class State(StrEnum):
    HELD = "held"
    BROKEN = "broken"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Promise:
    """One promise, and what shows it broken or leaves it open."""

    name: str
    state: State
    because: str


def safety(executed: Mapping[ReplicaId, Mapping[int, bytes]]) -> Promise:
    """No two correct replicas execute different batches at one sequence number."""
    first: dict[int, tuple[ReplicaId, bytes]] = {}
    for replica, batches in sorted(executed.items()):
        for sequence, digest in batches.items():
            who, known = first.setdefault(sequence, (replica, digest))
            if known != digest:
                because = f"replicas {who} and {replica} executed different batches at {sequence}"
                return Promise("safety", State.BROKEN, because)
    last = max(first, default=0)
    return Promise("safety", State.HELD, f"one batch a number, up to {last}")


def exactly_once(repeated: Sequence[bytes]) -> Promise:
    """No operation takes effect twice. `repeated`: those that some replica saw do so."""
    if repeated:
        because = f"{len(repeated)} times an operation took effect again"
        return Promise("exactly-once", State.BROKEN, because)
    return Promise("exactly-once", State.HELD, "no operation took effect twice")


def linearizable(history: Iterable[Operation]) -> Promise:
    """What clients were answered could have been one store's answers, one at a time."""
    calls = []
    for operation in history:
        if isinstance(operation.result, Failed):
            return Promise("linearisable", State.BROKEN, f"failed: {operation.result.reason}")
        asked = msgspec.msgpack.decode(operation.data, type=key_value.Operation)
        if operation.result is None or operation.returned_s is None:
            calls.append(Call(asked, None, operation.invoked_s))
        else:
            outcome = key_value.outcome(operation.result)
            calls.append(Call(asked, outcome, operation.invoked_s, operation.returned_s))
    return in_one_order(calls)


def in_one_order(calls: Sequence[Call]) -> Promise:
    try:
        fault = linearizability.first_fault(calls)
    except Undecided as width:
        return Promise("linearisable", State.UNKNOWN, f"too wide to check: {width}")
    if fault is not None:
        return Promise("linearisable", State.BROKEN, f"no order explains {fault}")
    return Promise("linearisable", State.HELD, f"{len(calls)} operations have an order")


def liveness(history: Sequence[Operation], healed_s: float, bound_s: float) -> Promise:
    """Every operation was answered within the bound after the network healed."""
    waiting = [one for one in history if one.returned_s is None]
    if waiting:
        because = f"{len(waiting)} of {len(history)} operations had no answer in {bound_s:g} s"
        return Promise("liveness", State.BROKEN, because)
    last_s = max((one.returned_s or 0.0 for one in history), default=healed_s)
    took = max(0.0, last_s - healed_s)
    return Promise("liveness", State.HELD, f"all answered {took:.3f} s after the network healed")
