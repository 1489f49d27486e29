"""Seed after seed of simulated misfortune: crashes, restarts, partitions, loss and traitors.

A seed gives everything: the size, the switches, the traitors, the timetable, the operations. At the
end the network heals, all who may come back are back, and every promise is judged. A failure is a
seed: `play(seed)` repeats it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import msgspec

from node.protocols.pbft import key_value
from node.protocols.pbft.configuration import Authentication, Configuration
from node.protocols.pbft.key_value import KeyValueStore
from node.protocols.pbft.messages import ClientId, ReplicaId
from node.protocols.pbft.service import Nondeterminism
from node.traitors.replicas import REPLICA_STRATEGIES
from orchestrator.replication import verdict
from orchestrator.replication.verdict import Promise, State
from orchestrator.replication.world import Weather, World

#: The misfortunes of a run fall into so many seconds of virtual time.
TROUBLE_S = 3.0
#: After the network healed, all operations must be answered in so many view-change timeouts.
PATIENCE_TIMEOUTS = 40
CLIENTS = 3
KEYS = ("a", "b", "c")


@dataclass(frozen=True)
class Played:
    """One seed's run and what is said of it."""

    seed: int
    what: str
    promises: tuple[Promise, ...]

    @property
    def is_held(self) -> bool:
        return all(promise.state is State.HELD for promise in self.promises)


class Witness(KeyValueStore):
    """A store that sees an operation take effect twice: what it saw is part of its state, so that
    it is undone and fetched with it. Writes differ from each other by their values."""

    def __init__(self, repeated: list[bytes]) -> None:
        super().__init__()
        self._repeated = repeated

    def execute(self, operation: bytes, client: int, nondeterminism: Nondeterminism) -> bytes:
        asked = msgspec.msgpack.decode(operation, type=key_value.Operation)
        if isinstance(asked, key_value.Put | key_value.CompareAndSwap):
            mark = key_value.CompareAndSwap(f"seen/{asked.value.decode()}", None, b"")
            if super().execute(key_value.encode(mark), client, nondeterminism) != _APPLIED:
                self._repeated.append(operation)
        return super().execute(operation, client, nondeterminism)


_APPLIED = key_value.encode(key_value.Done(True))


def configuration(chance: random.Random) -> Configuration:
    """Any combination of size and switches; small windows, so that a short run turns them over."""
    interval = chance.choice((2, 4, 8))
    return Configuration(
        n=chance.choice((4, 4, 4, 4, 5, 7)),
        authentication=chance.choice(tuple(Authentication)),
        is_durable=chance.random() < 0.8,
        has_batching=chance.random() < 0.7,
        has_digest_replies=chance.random() < 0.5,
        has_tentative_execution=chance.random() < 0.6,
        has_read_only=chance.random() < 0.5,
        has_piggybacked_commits=chance.random() < 0.7,
        pipeline=chance.choice((1, 2, 4)),
        interval=interval,
        window=interval * chance.choice((2, 3)),
        timeout_s=0.3,
        status_s=0.05,
    )


def play(seed: int) -> Played:
    """One run, from its seed alone."""
    chance = random.Random(f"campaign/{seed}")
    c = configuration(chance)
    faulty = chance.sample(range(c.n), chance.randint(0, c.f))
    casting = {r: chance.choice((*REPLICA_STRATEGIES, "crash")) for r in faulty}
    weather = Weather(
        latency_s=chance.choice(((0.0002, 0.002), (0.0002, 0.05))),
        lose=chance.choice((0.0, 0.0, 0.02, 0.2)),
        duplicate=chance.choice((0.0, 0.05)),
        write_s=chance.choice(((0.0001, 0.002), (0.005, 0.1))),
    )
    repeated: list[bytes] = []
    world = World(
        c,
        seed=seed,
        clients=CLIENTS,
        weather=weather,
        service=partial(Witness, repeated),
        traitors={r: REPLICA_STRATEGIES[s] for r, s in casting.items() if s != "crash"},
        requests_max=chance.choice((1, 3)),
    )
    crashed = {r for r, s in casting.items() if s == "crash"}
    _plan(world, chance, crashed)
    _ask(world, chance)
    world.run_for(TROUBLE_S)
    _heal(world, crashed)
    healed_s, bound_s = world.now_s, PATIENCE_TIMEOUTS * c.timeout_s
    world.run(lambda: all(one.returned_s is not None for one in world.history), bound_s)
    what = (
        f"n={c.n}, {c.authentication}, {'durable' if c.is_durable else 'in memory'}, "
        f"traitors {casting or 'none'}, {len(world.history)} operations"
    )
    once = verdict.exactly_once(repeated)
    return Played(seed, what, (once, *_judged(world, set(faulty), healed_s, bound_s)))


def _plan(world: World, chance: random.Random, crashed: set[ReplicaId]) -> None:
    """Enters crashes, restarts and partitions into the agenda."""
    n = world.configuration.n
    for replica in crashed:
        world.at(chance.uniform(0, TROUBLE_S), partial(world.crash, replica))
    for _ in range(chance.randint(0, 3)):
        sides = [[r for r in range(n) if chance.random() < 0.5], []]
        sides[1] = [r for r in range(n) if r not in sides[0]]
        at_s = chance.uniform(0, TROUBLE_S)
        world.at(at_s, partial(world.partition, *sides))
        world.at(at_s + chance.uniform(0.05, 1.0), world.heal)
    if world.configuration.is_durable:
        for _ in range(chance.choice((0, 0, 2, 6))):
            _plan_restart(world, chance, crashed)


def _plan_restart(world: World, chance: random.Random, crashed: set[ReplicaId]) -> None:
    """A correct replica, or all of them together, dies and comes back with what it wrote."""
    n = world.configuration.n
    victims = range(n) if chance.random() < 0.15 else [chance.randrange(n)]
    at_s = chance.uniform(0, TROUBLE_S)
    for victim in victims:
        if victim not in crashed:
            world.at(at_s, partial(world.crash, victim))
            back_s = at_s + chance.uniform(0.0, 0.8)
            world.at(back_s, partial(world.start, victim))


def _ask(world: World, chance: random.Random) -> None:
    """Enters the clients' operations. Each writes values that nobody else writes."""
    for number in range(chance.randint(8, 40)):
        client = chance.randrange(CLIENTS)
        operation = draw_operation(chance, number)
        is_reading = isinstance(operation, key_value.Get) and chance.random() < 0.7
        data = key_value.encode(operation)
        world.at(
            chance.uniform(0, TROUBLE_S),
            partial(_invoke, world, client, data, is_reading),
        )


def _invoke(world: World, client: ClientId, data: bytes, is_reading: bool) -> None:
    world.invoke(client, data, is_read_only=is_reading)


def draw_operation(chance: random.Random, number: int) -> key_value.Operation:
    """An operation on one of `KEYS`. What it writes, no other number writes."""
    key, value = chance.choice(KEYS), str(number).encode()
    kind = chance.random()
    if kind < 0.4:
        return key_value.Put(key, value)
    if kind < 0.75:
        return key_value.Get(key)
    if kind < 0.85:
        return key_value.Delete(key)
    expected = str(chance.randrange(number + 1)).encode() if chance.random() < 0.7 else None
    return key_value.CompareAndSwap(key, expected, value)


def _heal(world: World, crashed: set[ReplicaId]) -> None:
    world.heal()
    world.weather = Weather()
    for replica in world.seats:
        if replica not in crashed:
            world.start(replica)


def _judged(
    world: World, faulty: set[ReplicaId], healed_s: float, bound_s: float
) -> tuple[Promise, ...]:
    correct = {r: seat for r, seat in world.seats.items() if r not in faulty}
    executed = {r: seat.executed for r, seat in correct.items()}
    safe = verdict.safety(executed)
    if framed := {a.culprit for s in correct.values() for a in s.accusations} - faulty:
        safe = Promise("safety", State.BROKEN, f"a correct replica was accused: {framed}")
    if again := [r for r, seat in correct.items() if seat.contradictions]:
        safe = Promise("safety", State.BROKEN, f"replica {again[0]} contradicted itself")
    return (
        safe,
        verdict.linearizable(world.history),
        verdict.liveness(world.history, healed_s, bound_s),
        _one_state(world, set(correct)),
    )


def _one_state(world: World, correct: set[ReplicaId]) -> Promise:
    """Soon after the last answer all correct replicas have executed as much, and are in one state.

    A replica in a minority can stay behind in views that others do not follow, so that this asks
    for a quorum of them.
    """
    c = world.configuration

    def states() -> list[tuple[int, bytes]]:
        nodes = [world.seats[r].node for r in sorted(correct)]
        return [n.machine.state for n in nodes if n is not None]

    def agree() -> bool:
        found = states()
        return max(map(found.count, found)) >= c.quorum

    if world.run(agree, PATIENCE_TIMEOUTS * c.timeout_s):
        return Promise("one state", State.HELD, f"a quorum is at {max(states())[0]}")
    return Promise("one state", State.BROKEN, f"replicas are at {[n for n, _ in states()]}")


def sweep(
    first: int, count: int, on_played: Callable[[Played], None], jobs: int = 1
) -> list[Played]:
    """Plays `count` seeds from `first` on, in so many processes; those that broke a promise."""
    broken = []
    with ExitStack() as stack:
        seeds = range(first, first + count)
        if jobs == 1:
            runs: Iterable[Played] = map(play, seeds)
        else:
            pool = stack.enter_context(ProcessPoolExecutor(jobs))
            runs = pool.map(play, seeds, chunksize=8)
        for played in runs:
            on_played(played)
            if not played.is_held:
                broken.append(played)
    return broken
