"""The key-value store: put, get, delete, compare-and-swap, scan.

Keys are kept in buckets by a digest of the key. A snapshot has a page or more a bucket, and only
those that changed since the last one are encoded again.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from node.protocols.pbft.service import PAGE_BYTES_MAX, Nondeterminism, Service

BUCKETS: Final = 256
KEY_CHARS_MAX: Final = 512
VALUE_BYTES_MAX: Final = 1 << 16
#: Entries of one scan, and about the bytes that they may have together.
SCAN_MAX: Final = 1_000
SCAN_BYTES_MAX: Final = 1 << 17

Key: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=KEY_CHARS_MAX)]
Data: TypeAlias = Annotated[bytes, msgspec.Meta(max_length=VALUE_BYTES_MAX)]


class Put(msgspec.Struct, frozen=True, array_like=True, tag=0):
    key: Key
    value: Data


class Get(msgspec.Struct, frozen=True, array_like=True, tag=1):
    key: Key


class Delete(msgspec.Struct, frozen=True, array_like=True, tag=2):
    key: Key


class CompareAndSwap(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Sets `value` where the key has the value `expected`; None: where there is no such key."""

    key: Key
    expected: Data | None
    value: Data


class Scan(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """The keys that begin with `prefix` and come after `after`, in order, at most `limit`."""

    prefix: Annotated[str, msgspec.Meta(max_length=KEY_CHARS_MAX)]
    after: Annotated[str, msgspec.Meta(max_length=KEY_CHARS_MAX)] = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=SCAN_MAX)] = SCAN_MAX


Operation: TypeAlias = Put | Get | Delete | CompareAndSwap | Scan


class Done(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """What was asked is done. `is_applied`: whether it changed anything."""

    is_applied: bool


class Found(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """The value of a key, None where there is none."""

    value: bytes | None


class Entries(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """What a scan found. `is_complete`: nothing more begins so."""

    entries: tuple[tuple[str, bytes], ...]
    is_complete: bool


class Invalid(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Bytes that are no operation."""


Outcome: TypeAlias = Done | Found | Entries | Invalid

_encoder = msgspec.msgpack.Encoder()
_operations = msgspec.msgpack.Decoder(Operation)
_outcomes = msgspec.msgpack.Decoder(Outcome)
_buckets = msgspec.msgpack.Decoder(list[tuple[str, bytes]])

encode = _encoder.encode


def outcome(result: bytes) -> Outcome:
    """What a result says. msgspec.MsgspecError where it is no result of this service."""
    read: Outcome = _outcomes.decode(result)
    return read


_APPLIED: Final = encode(Done(True))
_NOT_APPLIED: Final = encode(Done(False))
_INVALID: Final = encode(Invalid())


class KeyValueStore(Service):
    """Text keys, byte values."""

    def __init__(self) -> None:
        self._empty()

    def execute(self, operation: bytes, client: int, nondeterminism: Nondeterminism) -> bytes:
        try:
            asked: Operation = _operations.decode(operation)
        except (msgspec.MsgspecError, ValueError):
            return _INVALID
        match asked:
            case Put(key, value):
                self._set(key, value)
                return _APPLIED
            case Get(key):
                return encode(Found(self._values.get(key)))
            case Delete(key):
                return _APPLIED if self._unset(key) else _NOT_APPLIED
            case CompareAndSwap(key, expected, value):
                if self._values.get(key) != expected:
                    return _NOT_APPLIED
                self._set(key, value)
                return _APPLIED
            case Scan():
                return encode(self._scan(asked))

    def read(self, operation: bytes, client: int, nondeterminism: Nondeterminism) -> bytes | None:
        try:
            asked: Operation = _operations.decode(operation)
        except (msgspec.MsgspecError, ValueError):
            return _INVALID
        if isinstance(asked, Get):
            return encode(Found(self._values.get(asked.key)))
        return encode(self._scan(asked)) if isinstance(asked, Scan) else None

    def snapshot(self) -> Sequence[bytes]:
        return tuple(page for bucket in range(BUCKETS) for page in self._pages_of(bucket))

    def restore(self, pages: Sequence[bytes]) -> None:
        self._empty()
        for bucket in _split(pages):
            for key, value in bucket:
                self._set(key, value)

    def _empty(self) -> None:
        self._values: dict[str, bytes] = {}
        self._keys_of: list[set[str]] = [set() for _ in range(BUCKETS)]
        #: The pages of each bucket, None where it changed since they were made.
        self._pages: list[tuple[bytes, ...] | None] = [()] * BUCKETS

    def _set(self, key: str, value: bytes) -> None:
        bucket = _bucket(key)
        if key not in self._values:
            self._keys_of[bucket].add(key)
        self._values[key] = value
        self._pages[bucket] = None

    def _unset(self, key: str) -> bool:
        if key not in self._values:
            return False
        bucket = _bucket(key)
        self._keys_of[bucket].discard(key)
        del self._values[key]
        self._pages[bucket] = None
        return True

    def _scan(self, asked: Scan) -> Entries:
        found: list[tuple[str, bytes]] = []
        size = 0
        for key in sorted(
            key for key in self._values if key.startswith(asked.prefix) and key > asked.after
        ):
            value = self._values[key]
            size += len(value) + len(key)
            if len(found) == asked.limit or (found and size > SCAN_BYTES_MAX):
                return Entries(tuple(found), is_complete=False)
            found.append((key, value))
        return Entries(tuple(found), is_complete=True)

    def _pages_of(self, bucket: int) -> tuple[bytes, ...]:
        """A bucket's pages: none for an empty one. The first byte says whether another follows."""
        pages = self._pages[bucket]
        if pages is None:
            keys = sorted(self._keys_of[bucket])
            data = encode([(key, self._values[key]) for key in keys]) if keys else b""
            pages = self._pages[bucket] = _paged(data)
        return pages


_MORE, _LAST = b"\x01", b"\x00"


def _paged(data: bytes) -> tuple[bytes, ...]:
    """Pages of one encoding, each under a byte that tells whether the next belongs to it too."""
    size = PAGE_BYTES_MAX - 1
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return tuple(
        (_LAST if number == len(pieces) - 1 else _MORE) + piece
        for number, piece in enumerate(pieces)
    )


def _split(pages: Sequence[bytes]) -> list[list[tuple[str, bytes]]]:
    """The buckets that pages hold. ValueError where they are no snapshot of this service."""
    buckets, data = [], b""
    for page in pages:
        data += page[1:]
        if page[:1] == _LAST:
            try:
                buckets.append(_buckets.decode(data))
            except msgspec.MsgspecError as error:
                raise ValueError(f"no page of a key-value store: {error}") from error
            data = b""
    return buckets


def _bucket(key: str) -> int:
    return zlib.crc32(key.encode()) % BUCKETS
