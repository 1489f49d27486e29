"""A replica's stable storage: its records in SQLite, one transaction and one fsync a write.

The journal is written ahead (WAL) with `synchronous=FULL`: when `write` returns, what it wrote
survives the loss of power. Records are kept in the order in which they were made, so that coming
back is the same fold as in the simulator; the pages of checkpoints are kept once each.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from node.protocols.pbft.effects import (
    Learnt,
    Prepared,
    PrePrepared,
    Record,
    Stable,
    Taken,
    ViewEntered,
)
from node.protocols.pbft.messages import Snapshot
from node.protocols.pbft.recovery import recovered
from node.protocols.pbft.replica import Recovered

FILE: Final = "replica.sqlite"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)

_SCHEMA: Final = """
create table if not exists owner (cluster blob not null, replica integer not null);
create table if not exists records (
    number integer primary key, kind text not null, sequence integer not null, data blob not null);
create table if not exists pages (digest blob primary key, data blob not null) without rowid;
"""


class StoreError(Exception):
    """The storage cannot be used; the text says why."""


class Store:
    """One replica's storage in its own folder. StoreError where it is another's, or damaged."""

    def __init__(self, folder: Path, cluster: bytes, replica: int) -> None:
        self._path = folder / FILE
        try:
            self._db = sqlite3.connect(self._path, isolation_level=None)
            self._db.execute("pragma journal_mode=wal")
            self._db.execute("pragma synchronous=full")
            self._db.execute("pragma locking_mode=exclusive")
            self._db.executescript(_SCHEMA)
            self._claim(cluster, replica)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def load(self) -> Recovered:
        """What the records add up to. StoreError where they cannot be read."""
        try:
            return recovered(self._records())
        except (sqlite3.Error, msgspec.MsgspecError, KeyError, ValueError) as error:
            raise StoreError(f"{self._path}: a record cannot be read: {error}") from error

    def write(self, records: Iterable[Record]) -> None:
        """All of them, durably, or none. StoreError where the disk does not take them."""
        try:
            self._db.execute("begin")
            for record in records:
                self._add(record)
            self._db.execute("commit")
        except sqlite3.Error as error:
            raise StoreError(f"{self._path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def _claim(self, cluster: bytes, replica: int) -> None:
        row = self._db.execute("select cluster, replica from owner").fetchone()
        if row is None:
            self._db.execute("insert into owner values (?, ?)", (cluster, replica))
        elif row != (cluster, replica):
            raise StoreError(f"{self._path} belongs to replica {row[1]} of another cluster")

    def _add(self, record: Record) -> None:
        if isinstance(record, Taken):
            record = self._without_pages(record)
        kind = type(record).__name__
        data = _encoder.encode(record)
        self._db.execute(
            "insert into records (kind, sequence, data) values (?, ?, ?)",
            (kind, _sequence(record), data),
        )
        if isinstance(record, Stable):
            self._collect(record.sequence)
        elif isinstance(record, ViewEntered):
            self._db.execute(
                "delete from records where kind = ? and number < (select max(number) from records)",
                (kind,),
            )

    def _without_pages(self, taken: Taken) -> Taken:
        snapshot = taken.snapshot
        self._db.executemany(
            "insert or ignore into pages values (?, ?)",
            zip(snapshot.page_digests, snapshot.pages, strict=True),
        )
        return Taken(msgspec.structs.replace(snapshot, pages=()))

    def _collect(self, stable: int) -> None:
        """Forgets what a stable checkpoint replaces."""
        self._db.execute(
            "delete from records where sequence <= ? and kind in (?, ?, ?)",
            (stable, PrePrepared.__name__, Prepared.__name__, Learnt.__name__),
        )
        self._db.execute(
            "delete from records where sequence < ? and kind in (?, ?)",
            (stable, Taken.__name__, Stable.__name__),
        )
        kept = {digest for taken in self._taken() for digest in taken.snapshot.page_digests}
        known = [row[0] for row in self._db.execute("select digest from pages")]
        self._db.executemany(
            "delete from pages where digest = ?", [(d,) for d in known if d not in kept]
        )

    def _taken(self) -> Iterator[Taken]:
        query = "select data from records where kind = ?"
        for (data,) in self._db.execute(query, (Taken.__name__,)):
            record = _decoder.decode(data)
            assert isinstance(record, Taken)
            yield record

    def _records(self) -> Iterator[Record]:
        for (data,) in self._db.execute("select data from records order by number"):
            record: Record = _decoder.decode(data)
            yield self._with_pages(record.snapshot) if isinstance(record, Taken) else record

    def _with_pages(self, bare: Snapshot) -> Taken:
        pages = []
        for digest in bare.page_digests:
            row = self._db.execute("select data from pages where digest = ?", (digest,)).fetchone()
            if row is None:
                raise KeyError(f"a page of checkpoint {bare.sequence} is missing")
            pages.append(row[0])
        return Taken(msgspec.structs.replace(bare, pages=tuple(pages)))


def _sequence(record: Record) -> int:
    match record:
        case Taken(snapshot):
            return snapshot.sequence
        case ViewEntered():
            return 0
        case _:
            return record.sequence
