"""Exactly-once execution over a service, and checkpoints of both (1999, sections 4.1 and 4.3).

A client may have several requests under way. What he was answered is kept until he acknowledges it,
at most `CLIENT_WINDOW` answers: a request is executed unless its timestamp was, or lies below all
that are kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from node.protocols.pbft.messages import (
    CLIENT_WINDOW,
    OPERATIONS_MAX,
    Batch,
    ClientId,
    Failed,
    Request,
    Result,
    Snapshot,
)
from node.protocols.pbft.service import (
    PAGE_BYTES_MAX,
    Nondeterminism,
    Service,
    digest_of_pages,
    page_digest,
    paged,
)

#: The results of one request are no larger together, in bytes: they travel in one packet.
RESULTS_BYTES_MAX: Final = 1 << 18

Results: TypeAlias = tuple[Result, ...]
_Do: TypeAlias = Callable[[bytes, ClientId, Nondeterminism], bytes | None]

_NO_BYTES: Final = Failed("the service gave no bytes")


class Answers(msgspec.Struct):
    """One client's row: all below or at `floor` is over; what he was answered since."""

    floor: int = 0
    given: dict[int, Results] = {}


class _Table(msgspec.Struct, array_like=True):
    """The first pages of a checkpoint: the last agreed time, and every client's answers."""

    time_ns: int
    rows: list[tuple[ClientId, int, list[tuple[int, Results]]]]


_encoder = msgspec.msgpack.Encoder()
_tables = msgspec.msgpack.Decoder(_Table)


class Execution:
    """The service, who was answered what, and how far. `sequence`: of the last executed batch."""

    def __init__(self, make: Callable[[], Service]) -> None:
        self._service = make()
        self.sequence = 0
        self._time_ns = 0
        self._answers: dict[ClientId, Answers] = {}

    def execute(self, sequence: int, batch: Batch, digest: bytes) -> list[tuple[Request, Results]]:
        """Carries the batch out as number `sequence`; each new request and its results."""
        self.sequence = sequence
        done = []
        if batch.requests:
            self._time_ns = max(batch.time_ns, self._time_ns + 1)
        for place, request in enumerate(batch.requests):
            if (answers := self._room(request)) is not None:
                results = self._results(request, batch, digest, place)
                answers.given[request.timestamp] = results
                done.append((request, results))
        return done

    def read(self, request: Request) -> Results | None:
        """The results of operations that change nothing, or None where one might."""
        values = Nondeterminism(self._time_ns, b"")
        results: list[Result] = []
        for operation in request.operations:
            result = self._one(self._service.read, operation, request.client, values)
            if result is None:
                return None
            results.append(result)
        return self._bounded(results)

    def answer(self, client: ClientId, timestamp: int) -> Results | None:
        """What a request was answered, if that is still kept."""
        answers = self._answers.get(client)
        return answers.given.get(timestamp) if answers else None

    def is_over(self, client: ClientId, timestamp: int) -> bool:
        """Whether a request was executed, or is too old to be."""
        answers = self._answers.get(client)
        return answers is not None and (timestamp <= answers.floor or timestamp in answers.given)

    def snapshot(self) -> Snapshot:
        rows = [
            (client, row.floor, sorted(row.given.items()))
            for client, row in sorted(self._answers.items())
        ]
        table = paged(_encoder.encode(_Table(self._time_ns, rows)))
        # The first page says how many of the next ones are the table's.
        head = len(table).to_bytes(4, "big")
        pages = (head, *table, *self._service.snapshot())
        if max(map(len, pages)) > PAGE_BYTES_MAX:
            raise ValueError(f"a service's page is larger than {PAGE_BYTES_MAX} bytes")
        digests = tuple(map(page_digest, pages))
        return Snapshot(self.sequence, snapshot_digest(self.sequence, digests), pages, digests)

    def restore(self, snapshot: Snapshot) -> None:
        """Becomes the state of a checkpoint. ValueError where its pages are no state."""
        count = int.from_bytes(snapshot.pages[0], "big")
        try:
            table = _tables.decode(b"".join(snapshot.pages[1 : 1 + count]))
        except msgspec.MsgspecError as error:
            raise ValueError(f"no table of clients: {error}") from error
        self._service.restore(snapshot.pages[1 + count :])
        self.sequence = snapshot.sequence
        self._time_ns = table.time_ns
        self._answers = {c: Answers(floor, dict(given)) for c, floor, given in table.rows}

    def _room(self, request: Request) -> Answers | None:
        """The row of a client whose request is to be executed, with room in it; else None."""
        answers = self._answers.get(request.client)
        if answers is None:
            answers = self._answers[request.client] = Answers()
        given = answers.given
        if request.timestamp <= answers.floor or request.timestamp in given:
            return None
        acknowledged = min(request.acknowledged, request.timestamp - 1)
        if acknowledged > answers.floor:
            answers.floor = acknowledged
            for old in [timestamp for timestamp in given if timestamp <= acknowledged]:
                del given[old]
        if len(given) >= CLIENT_WINDOW:
            oldest = min(given)
            if request.timestamp < oldest:
                return None
            del given[oldest]
            answers.floor = oldest
        return answers

    def _results(self, request: Request, batch: Batch, digest: bytes, place: int) -> Results:
        results = []
        for number, operation in enumerate(request.operations[:OPERATIONS_MAX]):
            seed = _seed(batch.seed, digest, place, number)
            values = Nondeterminism(self._time_ns, seed)
            result = self._one(self._service.execute, operation, request.client, values)
            results.append(_NO_BYTES if result is None else result)
        return self._bounded(results)

    def _one(
        self, do: _Do, operation: bytes, client: ClientId, values: Nondeterminism
    ) -> Result | None:
        """One result. A service that raises does so on every replica, and harms none of them."""
        try:
            result = do(operation, client, values)
        except Exception as fault:
            return Failed(f"the service failed: {type(fault).__name__}")
        return result if result is None or isinstance(result, bytes) else _NO_BYTES

    def _bounded(self, results: Sequence[Result]) -> Results:
        if sum([len(r) for r in results if isinstance(r, bytes)]) > RESULTS_BYTES_MAX:
            return (Failed("the results are too large: ask for less at a time"),) * len(results)
        return tuple(results)


def snapshot_digest(sequence: int, page_digests: Sequence[bytes]) -> bytes:
    """A checkpoint's digest: over its number and the digests of its pages."""
    return digest_of_pages((sequence.to_bytes(8, "big"), *page_digests))


def _seed(seed: bytes, digest: bytes, place: int, number: int) -> bytes:
    return hashlib.blake2b(
        seed + digest + place.to_bytes(4, "big") + number.to_bytes(4, "big"), digest_size=16
    ).digest()
