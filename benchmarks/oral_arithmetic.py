"""OM's arithmetic for all generals: arrays against message by message, and their memory.

OM(5) of 16 generals, 4.0 million messages, in one process. Ours includes packing and unpacking the
relayed arrays and computing the tables of positions, which a second run would find in a cache. Both
ways must decide alike, in the timed run and in smaller ones with traitors whose lies are drawn path
by path and receiver by receiver.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from benchmarks.measure import (
    Faster,
    Row,
    Sample,
    Unit,
    Within,
    in_fresh_process,
    interleaved,
    peak_growth_bytes,
    seconds,
)
from benchmarks.oral_arrays import forget_tables, oral_arrays
from benchmarks.peers.message_by_message import (
    ATTACK,
    RETREAT,
    Path,
    Tell,
    message_by_message,
    paper_messages,
)

N, M = 16, 5
MEMORY_BYTES_MAX = 150e6
#: Sizes inside the bound n > 3m and below it, where lies do change decisions.
SIZES_WITH_LIES = ((4, 1), (5, 2), (7, 2), (6, 3), (10, 3))
LIES_A_SIZE = 10


def rows(times: int) -> Iterator[Row]:
    check_with_lies()
    arrays, messages = interleaved(times, _arrays_s, _messages_s)
    values = paper_messages(N, M)
    yield Faster(f"OM({M}) n={N}, {values:,} values, arithmetic", arrays, messages, at_least=200)
    peaks = tuple(float(in_fresh_process(_peak_bytes)) for _ in range(times))
    yield Within(
        f"OM({M}) n={N}, peak memory above the imports",
        Sample(peaks, Unit.BYTES),
        Sample((MEMORY_BYTES_MAX,), Unit.BYTES),
    )


def check_with_lies() -> None:
    """Raises unless both ways decide alike under every drawn lie, and unless some lie mattered."""
    undone = 0
    for n, m in SIZES_WITH_LIES:
        for seed in range(LIES_A_SIZE):
            chance = random.Random(f"{n} {m} {seed}")
            lie = _drawn_lies(frozenset(chance.sample(range(n), m)), seed)
            expected = message_by_message(n, m, ATTACK, lie)
            if oral_arrays(n, m, ATTACK, lie) != expected:
                raise AssertionError(f"decisions differ for n={n}, m={m}, seed {seed}")
            undone += RETREAT in expected.values()
    if not undone:
        raise AssertionError("no lie changed a decision: this compared nothing")


def _drawn_lies(traitors: frozenset[int], seed: int) -> Tell:
    def tell(path: Path, receiver: int, order: str) -> str:
        if path[-1] not in traitors:
            return order
        return random.Random(f"{seed} {path} {receiver}").choice((ATTACK, RETREAT))

    return tell


def _arrays_s() -> float:
    forget_tables()
    return seconds(lambda: _all_attack(oral_arrays(N, M, ATTACK)))


def _messages_s() -> float:
    return seconds(lambda: _all_attack(message_by_message(N, M, ATTACK)))


def _peak_bytes() -> int:
    return peak_growth_bytes(lambda: oral_arrays(N, M, ATTACK))


def _all_attack(decisions: object) -> None:
    if decisions != dict.fromkeys(range(N), ATTACK):
        raise AssertionError(f"loyal generals decided {decisions}")
