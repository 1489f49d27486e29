"""What a replicated service is. A user's own is a subclass, named as `module:Class`."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

#: A page of a snapshot is no larger, in bytes: it travels in one packet.
PAGE_BYTES_MAX: Final = 1 << 18


class Nondeterminism(msgspec.Struct, frozen=True):
    """What replicas could not compute alike by themselves, agreed through the pre-prepare.

    `time_ns`: nanoseconds since 1970, never running backwards. `seed`: 16 bytes that the primary
    drew; they differ from operation to operation. A traitorous primary chooses both, the time
    within the clock skew that backups tolerate: nothing secret may rest on the seed.
    """

    time_ns: int
    seed: bytes


class Service(ABC):
    """A deterministic state machine: equal operations in equal order give equal results and states.

    It reads no clock, no chance, no file and no environment; an exception out of `execute` becomes
    the operation's result on every replica, so whatever was changed before it must be the same too.
    """

    @abstractmethod
    def execute(self, operation: bytes, client: int, nondeterminism: Nondeterminism) -> bytes:
        """Carries one operation out and gives its result."""

    @abstractmethod
    def snapshot(self) -> Sequence[bytes]:
        """The whole state in pages of at most `PAGE_BYTES_MAX` bytes: see `paged`."""

    @abstractmethod
    def restore(self, pages: Sequence[bytes]) -> None:
        """Becomes the state of a snapshot; no pages at all are the state at the beginning."""

    def digest(self) -> bytes:
        """What stands for the state: the digest over the digests of its snapshot's pages."""
        return digest_of_pages(map(page_digest, self.snapshot()))

    def read(self, operation: bytes, client: int, nondeterminism: Nondeterminism) -> bytes | None:
        """The result of an operation that changes nothing, so that it need not be ordered; None
        for every other one, and nothing is changed."""
        return None


def page_digest(page: bytes) -> bytes:
    return hashlib.blake2b(page, digest_size=32, person=b"pbft-page").digest()


def digest_of_pages(digests: Iterable[bytes]) -> bytes:
    return hashlib.blake2b(b"".join(digests), digest_size=32, person=b"pbft-state").digest()


def paged(data: bytes) -> tuple[bytes, ...]:
    """Bytes cut into pages; `b"".join` puts them together again."""
    return tuple(data[at : at + PAGE_BYTES_MAX] for at in range(0, len(data), PAGE_BYTES_MAX))
