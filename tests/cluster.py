"""A simulated cluster of PBFT for tests, and the questions that they ask of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from node.protocols.pbft import key_value, wire
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.key_value import Operation, Outcome
from node.protocols.pbft.messages import Asked, Request
from node.protocols.pbft.replica import Replica
from node.protocols.pbft.service import Service
from node.traitors.replicas import Corruption
from orchestrator.replication import world
from orchestrator.replication.verdict import State, linearizable, safety

W = TypeVar("W", bound=world.World)

#: Operations of a calm cluster are answered within so many seconds of virtual time.
ANSWER_S = 20.0


def cluster(
    n: int = 4,
    traitors: Mapping[int, Corruption] | None = None,
    *,
    seed: int = 1,
    clients: int = 2,
    weather: world.Weather | None = None,
    kind: type[W] = world.World,  # type: ignore[assignment]
    service: Callable[[], Service] = key_value.KeyValueStore,
    **switches: Any,
) -> W:
    """A cluster with a short window, so that checkpoints come soon. Switches: of Configuration."""
    switches = {"interval": 8, "window": 16, "timeout_s": 1.0, **switches}
    return kind(
        Configuration(n=n, **switches),
        seed=seed,
        clients=clients,
        traitors=traitors,
        weather=weather,
        service=service,
    )


def do(
    where: world.World, operation: Operation, client: int = 0, *, is_read_only: bool = False
) -> Outcome:
    """Asks for an operation and waits for its outcome."""
    asked = where.invoke(client, key_value.encode(operation), is_read_only=is_read_only)
    assert where.run(lambda: asked.returned_s is not None, ANSWER_S), "no answer"
    assert isinstance(asked.result, bytes)
    return key_value.outcome(asked.result)


def put(where: world.World, *keys: str, client: int = 0) -> None:
    for key in keys:
        assert do(where, key_value.Put(key, key.encode()), client) == key_value.Done(True)


def signed(where: world.World, client: int, timestamp: int, operation: Operation) -> bytes:
    """A packet of one request that any replica takes from its client."""
    bare = Request(client, timestamp, 0, (key_value.encode(operation),), False)
    request = where.client_authentication(client).with_signature(bare)
    return wire.encode(Asked(where.cluster, (request,)))


def machine(where: world.World, replica: int) -> Replica:
    node = where.seats[replica].node
    assert node is not None
    return node.machine


def correct(where: world.World) -> list[int]:
    return [r for r in where.seats if r not in where.traitors]


def refused(where: world.World, replica: int) -> dict[tuple[int | None, str], int]:
    """How often (sender, reason) was refused by a replica."""
    node = where.seats[replica].node
    assert node is not None
    return {(sender, reason.value): count for (sender, reason), count in node.refusals.items()}


def assert_safe(where: world.World) -> None:
    """Safety and linearisability among the correct replicas, and what each says of itself."""
    executed = {r: where.seats[r].executed for r in correct(where)}
    for promise in (safety(executed), linearizable(where.history)):
        assert promise.state is State.HELD, promise
    assert not any(where.seats[r].contradictions for r in correct(where))


def assert_one_state(where: world.World) -> None:
    """All correct replicas come to one state, soon."""

    def agree() -> bool:
        return len({machine(where, r).state for r in correct(where)}) == 1

    assert where.run(agree, ANSWER_S), {r: machine(where, r).state[0] for r in correct(where)}
