"""The paper's nouns: generals, orders, the domain that orders are taken from, and the brief.

Source: Lamport, Shostak, Pease, "The Byzantine Generals Problem", TOPLAS 4(3), 1982, section 1.

An order is a `Value`, any scalar. The set that a run takes its orders from is its `Domain`, which
also holds the default order. Inside arrays a value is a *code*: its index in an enumerated domain
(one byte), or itself where the domain is the numbers (a double).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

GeneralId: TypeAlias = int
Value: TypeAlias = str | int | float | bool
Codes: TypeAlias = NDArray[Any]

ATTACK = "attack"
RETREAT = "retreat"

#: An enumerated domain has at most so many values: a code is one byte.
DOMAIN_VALUES_MAX = 256

#: By how many bits of a byte are to spare: the bytes in which none of these is set.
_UNPADDED = [bytes(range(0, 256, 1 << spare)) for spare in range(8)]


class Enumerated(msgspec.Struct, frozen=True, tag="enumerated"):
    """A domain of named orders. `default` is one of `values`; no two values are equal."""

    values: tuple[Value, ...] = (RETREAT, ATTACK)
    default: Value = RETREAT

    def __post_init__(self) -> None:
        if not 2 <= len(self.values) <= DOMAIN_VALUES_MAX:
            raise ValueError(f"a domain has 2 to {DOMAIN_VALUES_MAX} values: {len(self.values)}")
        if len(set(self.values)) != len(self.values):
            raise ValueError("two values of the domain are equal (1, 1.0 and true are one value)")
        if not self.contains(self.default):
            raise ValueError(f"the default {self.default!r} is not in the domain")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8)

    @property
    def is_binary(self) -> bool:
        return len(self.values) == 2

    def contains(self, value: object) -> bool:
        return any(value == known and type(value) is type(known) for known in self.values)

    def admitted(self, value: Value) -> Value:
        """The value as the domain holds it. ValueError where it does not."""
        if not self.contains(value):
            known = ", ".join(map(str, self.values[:8]))
            raise ValueError(f"{value!r} is not in the domain ({known})")
        return value

    def opposites(self, codes: Codes) -> Codes:
        """The other value where there are two; the next one, cyclically, where there are more."""
        following: Codes = (codes + 1) * (codes != len(self.values) - 1)
        return following

    def counted(self, codes: Codes) -> tuple[Codes, Codes]:
        """The different codes there are, ascending, and how many of each."""
        times = np.bincount(codes)
        found = np.flatnonzero(times)
        return found, times[found]

    def draw(self, chance: np.random.Generator, count: int) -> Codes:
        return chance.integers(0, len(self.values), count, dtype=np.uint8)

    def code(self, value: Value) -> int:
        return self.values.index(value)

    def value(self, code: Any) -> Value:
        return self.values[int(code)]

    def are_codes(self, codes: Codes) -> bool:
        return self.is_binary or codes.size == 0 or int(codes.max()) < len(self.values)

    def packed_bytes(self, count: int) -> int:
        """Bytes that `count` codes take on the wire: a bit each where the domain is two."""
        return (count + 7) // 8 if self.is_binary else count

    def pack(self, codes: Codes) -> bytes:
        return np.packbits(codes).tobytes() if self.is_binary else codes.tobytes()

    def unpack(self, data: bytes, count: int) -> Codes:
        """The codes in `data`, which must be `packed_bytes(count)` long. Not yet checked."""
        raw = np.frombuffer(data, dtype=np.uint8)
        return np.unpackbits(raw, count=count) if self.is_binary else raw

    def unpack_rows(self, data: bytes, rows: int, count: int) -> Codes:
        """(rows, count): the codes of so many arrays, each packed by itself. Not yet checked."""
        raw = np.frombuffer(data, dtype=np.uint8).reshape(rows, self.packed_bytes(count))
        return np.unpackbits(raw, axis=1, count=count) if self.is_binary else raw

    def are_padded(self, data: bytes, count: int) -> bool:
        """Of packed arrays of `count` codes, one after the other: whether in any of them bits are
        set beyond the last code. One array has one encoding."""
        spare = -count % 8 if self.is_binary else 0
        size = self.packed_bytes(count)
        return bool(spare and data[size - 1 :: size].translate(None, _UNPADDED[spare]))

    def token(self, value: Value) -> bytes:
        """The one spelling of a value under a signature: its JSON text."""
        return msgspec.json.encode(value)

    def read(self, token: bytes) -> Value | None:
        """The value that `token` spells, or None where it spells none of the domain."""
        for value in self.values:
            if msgspec.json.encode(value) == token:
                return value
        return None


class Numbers(msgspec.Struct, frozen=True, tag="numbers"):
    """The domain of all finite numbers, held as doubles: sensors, clocks, measurements.

    Zero is one value: what leaves an array as -0.0 is 0.0, which is what adding zero does.
    """

    default: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.default):
            raise ValueError("the default must be a finite number")

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("<f8")

    @property
    def is_binary(self) -> bool:
        return False

    def contains(self, value: object) -> bool:
        return isinstance(value, float) and math.isfinite(value)

    def admitted(self, value: Value) -> Value:
        """The value as the domain holds it, a double. ValueError where it is no finite number."""
        if isinstance(value, bool | str) or not math.isfinite(value):
            raise ValueError(f"{value!r} is no finite number")
        return float(value) + 0.0

    def opposites(self, codes: Codes) -> Codes:
        """The negative; 1 for zero, which is its own negative."""
        return np.where(codes == 0, 1.0, -codes)

    def counted(self, codes: Codes) -> tuple[Codes, Codes]:
        """The different codes there are, ascending, and how many of each."""
        return np.unique(codes, return_counts=True)

    def draw(self, chance: np.random.Generator, count: int) -> Codes:
        return chance.uniform(-100.0, 100.0, count)

    def code(self, value: Value) -> float:
        return float(value)

    def value(self, code: Any) -> Value:
        return float(code) + 0.0

    def are_codes(self, codes: Codes) -> bool:
        return bool(np.isfinite(codes).all())

    def packed_bytes(self, count: int) -> int:
        return 8 * count

    def pack(self, codes: Codes) -> bytes:
        return codes.tobytes()

    def unpack(self, data: bytes, count: int) -> Codes:
        return np.frombuffer(data, dtype=self.dtype)

    def unpack_rows(self, data: bytes, rows: int, count: int) -> Codes:
        return np.frombuffer(data, dtype=self.dtype).reshape(rows, count)

    def are_padded(self, data: bytes, count: int) -> bool:
        return False

    def token(self, value: Value) -> bytes:
        return msgspec.json.encode(float(value) + 0.0)

    def read(self, token: bytes) -> Value | None:
        try:
            value = msgspec.json.decode(token, type=float)
        except msgspec.MsgspecError:
            return None
        return value if self.contains(value) and self.token(value) == token else None


Domain: TypeAlias = Enumerated | Numbers


class Combiner(StrEnum):
    """What reads the values that an exchange or an interactive consistency ends with."""

    MAJORITY = "majority"
    MEDIAN = "median"
    VECTOR = "vector"


class Brief(msgspec.Struct, frozen=True, kw_only=True):
    """What a general is told before a run. `value` is his own order or reading, if he has one.

    `delta_s` is the length of a round in seconds (assumption A3 made a number). `over` names the
    protocol under interactive consistency, `commander` is None where every general is one. Each
    round of `barriers` opens when all are told to, as the first one does. `messages` are those of
    two generals, 0 elsewhere. `accountable`: each frame carries an authenticator.

    On a sparse graph, `neighbours` are each general's, `paths` those of the relay, if there is one,
    and `reach` how many hops lie between two generals at most.
    """

    protocol: str
    n: int
    m: int
    commander: GeneralId | None = 0
    over: str | None = None
    combiner: Combiner = Combiner.MAJORITY
    domain: Domain = msgspec.field(default_factory=Enumerated)
    value: Value | None = None
    delta_s: float = 0.5
    accountable: bool = False
    barriers: tuple[int, ...] = ()
    neighbours: tuple[tuple[GeneralId, ...], ...] = ()
    paths: tuple[tuple[GeneralId, ...], ...] = ()
    reach: int = 1
    messages: int = 0

    def lieutenants(self, commander: GeneralId) -> tuple[GeneralId, ...]:
        return tuple(g for g in range(self.n) if g != commander)


#: A decision: one value, or the vector of interactive consistency.
Decision: TypeAlias = Value | tuple[Value, ...]


def others(generals: Iterable[GeneralId], *left_out: GeneralId) -> tuple[GeneralId, ...]:
    """The generals in ascending order, without those left out."""
    return tuple(sorted(set(generals) - set(left_out)))
