"""PBFT's parts on their own: quorums, the choice of O, the store, execution, wire, storage."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from node.cluster import Identity
from node.durable import Store, StoreError
from node.effects import Reason
from node.protocols.pbft import wire
from node.protocols.pbft.authentication import (
    NULL_BATCH,
    batch_digest,
    mac_key,
    request_digest,
)
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.effects import (
    Learnt,
    Prepared,
    PrePrepared,
    Record,
    Stable,
    Taken,
    ViewEntered,
)
from node.protocols.pbft.execution import Execution
from node.protocols.pbft.key_value import (
    CompareAndSwap,
    Delete,
    Done,
    Found,
    Get,
    Invalid,
    KeyValueStore,
    Put,
    encode,
    outcome,
)
from node.protocols.pbft.messages import (
    CLIENT_WINDOW,
    NULL,
    Batch,
    Checkpoint,
    Failed,
    NewView,
    Packet,
    Prepare,
    Request,
    ViewChange,
    Vote,
)
from node.protocols.pbft.recovery import recovered
from node.protocols.pbft.service import (
    PAGE_BYTES_MAX,
    Nondeterminism,
    Service,
    digest_of_pages,
    page_digest,
)
from node.protocols.pbft.view_change import Choice, choose, is_justified, is_well_formed

C4 = Configuration(n=4)
A, B = b"a" * 32, b"b" * 32
GENESIS = Checkpoint(0, b"g" * 32)
VALUES = Nondeterminism(1, b"")


def request(timestamp: int, *operations: bytes, acknowledged: int = 0, client: int = 0) -> Request:
    return Request(client, timestamp, acknowledged, operations, False)


def batch(*requests: Request) -> Batch:
    return Batch(1, b"", requests)


def view_change(
    replica: int,
    prepared: tuple[Vote, ...] = (),
    pre_prepared: tuple[Vote, ...] | None = None,
    *,
    stable: int = 0,
    checkpoints: tuple[Checkpoint, ...] = (GENESIS,),
    view: int = 5,
) -> ViewChange:
    q = prepared if pre_prepared is None else pre_prepared
    return ViewChange(view, replica, stable, checkpoints, prepared, q)


@pytest.mark.parametrize(
    ("n", "f", "quorum"), [(4, 1, 3), (5, 1, 4), (6, 1, 4), (7, 2, 5), (10, 3, 7), (13, 4, 9)]
)
def test_any_two_quorums_share_a_correct_replica_and_one_is_always_there(
    n: int, f: int, quorum: int
) -> None:
    c = Configuration(n=n)
    assert (c.f, c.quorum) == (f, quorum)
    assert 2 * quorum - n > f
    assert n - f >= quorum


# The choice of O (2002, section 4.4).


def test_nothing_prepared_begins_an_empty_view() -> None:
    assert choose([view_change(r) for r in range(3)], C4) == Choice(0, GENESIS.digest, ())


def test_too_few_view_changes_choose_nothing() -> None:
    """PB5: 2f of them."""
    assert choose([view_change(r) for r in range(2)], C4) is None


def test_what_one_replica_prepared_and_two_pre_prepared_keeps_its_number() -> None:
    vote = Vote(1, A, 0)
    changes = [view_change(0, (vote,)), view_change(1, (), (vote,)), view_change(2)]
    assert choose(changes, C4) == Choice(0, GENESIS.digest, (A,))


def test_what_nobody_else_pre_prepared_was_invented() -> None:
    """A2: f + 1 must vouch. Without them it is open, until a quorum knows of nothing."""
    vote = Vote(1, A, 0)
    changes = [view_change(0, (vote,)), view_change(1), view_change(2)]
    assert choose(changes, C4) is None
    assert choose([*changes, view_change(3)], C4) == Choice(0, GENESIS.digest, ())


def test_the_later_view_wins() -> None:
    early, late = Vote(1, A, 1), Vote(1, B, 3)
    changes = [
        view_change(0, (early,)),
        view_change(1, (late,)),
        view_change(2, (), (early, late)),
    ]
    assert choose(changes, C4) == Choice(0, GENESIS.digest, (B,))


def test_a_gap_becomes_the_null_request() -> None:
    vote = Vote(3, A, 0)
    changes = [view_change(0, (vote,)), view_change(1, (), (vote,)), view_change(2)]
    assert choose(changes, C4) == Choice(0, GENESIS.digest, (NULL, NULL, A))


def test_a_view_starts_at_the_last_checkpoint_that_f_plus_one_hold() -> None:
    later = Checkpoint(8, b"h" * 32)
    forged = Checkpoint(16, b"i" * 32)
    changes = [
        view_change(0, checkpoints=(GENESIS, later)),
        view_change(1, stable=8, checkpoints=(later,)),
        view_change(2, checkpoints=(GENESIS, forged)),
    ]
    assert choose(changes, C4) == Choice(8, later.digest, ())


@pytest.mark.parametrize(
    "change",
    [
        view_change(4),
        view_change(0, view=0),
        view_change(0, checkpoints=()),
        view_change(0, checkpoints=(Checkpoint(0, b"short"),)),
        view_change(0, checkpoints=(GENESIS,) * 9),
        view_change(0, (Vote(1, A, 5),)),
        view_change(0, (Vote(257, A, 0),)),
        view_change(0, (Vote(1, A, 0), Vote(1, B, 0))),
        view_change(0, (), (Vote(1, A, 0), Vote(1, A, 1))),
        view_change(0, stable=8),
    ],
)
def test_a_view_change_that_no_correct_replica_says(change: ViewChange) -> None:
    assert not is_well_formed(change, C4)


def test_a_new_view_must_follow_from_its_view_changes() -> None:
    """PB5: an omitted batch, a null for a batch, too few or doubled view-changes."""
    vote = Vote(1, A, 0)
    changes = (view_change(0, (vote,)), view_change(1, (), (vote,)), view_change(2))
    good = NewView(5, changes, 0, GENESIS.digest, (A,))
    assert is_justified(good, C4)
    for forged in (
        {"chosen": ()},
        {"chosen": (NULL,)},
        {"chosen": (B,)},
        {"chosen": (A, B)},
        {"stable": 1},
        {"view_changes": changes[:2]},
        {"view_changes": (*changes[:2], changes[1])},
        {"view": 6},
    ):
        assert not is_justified(msgspec.structs.replace(good, **forged), C4), forged


# Execution: exactly once.


def test_a_request_is_executed_once() -> None:
    execution = Execution(KeyValueStore)
    one = batch(request(1, encode(Put("k", b"1"))))
    assert len(execution.execute(1, one, A)) == 1
    assert execution.execute(2, one, A) == []
    assert execution.answer(0, 1) == (encode(Done(True)),)


def test_requests_of_a_client_may_overtake_each_other() -> None:
    execution = Execution(KeyValueStore)
    for timestamp in (3, 1, 2):
        one = batch(request(timestamp, encode(Put("k", b"1"))))
        assert len(execution.execute(timestamp, one, A)) == 1


def test_what_is_acknowledged_is_forgotten_and_never_executed_again() -> None:
    execution = Execution(KeyValueStore)
    execution.execute(1, batch(request(1, encode(Get("k")))), A)
    execution.execute(2, batch(request(5, encode(Get("k")), acknowledged=4)), A)
    assert execution.answer(0, 1) is None
    assert execution.is_over(0, 1)
    assert execution.execute(3, batch(request(4, encode(Put("k", b"")))), A) == []


def test_a_clients_answers_are_bounded() -> None:
    execution = Execution(KeyValueStore)
    for timestamp in range(1, 100):
        execution.execute(timestamp, batch(request(timestamp, encode(Get("k")))), A)
    assert sum(execution.answer(0, t) is not None for t in range(100)) == CLIENT_WINDOW


def test_reads_change_nothing_and_a_write_among_them_is_none() -> None:
    execution = Execution(KeyValueStore)
    execution.execute(1, batch(request(1, encode(Put("k", b"1")))), A)
    before = execution.snapshot()
    read = Request(0, 2, 0, (encode(Get("k")), b"no operation"), True)
    assert execution.read(read) == (encode(Found(b"1")), encode(Invalid()))
    for write in (Put("k", b"2"), Delete("k"), CompareAndSwap("k", b"1", b"2")):
        assert execution.read(msgspec.structs.replace(read, operations=(encode(write),))) is None
    assert execution.snapshot() == before
    assert Execution(Raising).read(read) == (Failed("the service failed: RuntimeError"),) * 2


class Raising(KeyValueStore):
    def execute(self, operation: bytes, client: int, nondeterminism: Nondeterminism) -> bytes:
        raise RuntimeError("no")

    read = execute


def test_a_service_that_raises_harms_nobody() -> None:
    execution = Execution(Raising)
    ((_, results),) = execution.execute(1, batch(request(1, b"x")), A)
    assert results == (Failed("the service failed: RuntimeError"),)


class Clock(KeyValueStore):
    def execute(self, operation: bytes, client: int, nondeterminism: Nondeterminism) -> bytes:
        return nondeterminism.time_ns.to_bytes(8, "big") + nondeterminism.seed


def test_agreed_time_never_runs_back_and_seeds_differ() -> None:
    execution = Execution(Clock)
    seen = []
    for sequence, time_ns in enumerate((100, 50, 200), 1):
        asked = Batch(time_ns, b"s", (request(sequence, b"", b""),))
        ((_, results),) = execution.execute(sequence, asked, A)
        seen += results
    times = [int.from_bytes(r[:8], "big") for r in seen]
    assert times == [100, 100, 101, 101, 200, 200]
    assert len(set(seen)) == 6


def test_a_checkpoint_restored_is_the_same_state() -> None:
    one, other = Execution(KeyValueStore), Execution(KeyValueStore)
    for number in range(1, 40):
        one.execute(number, batch(request(number, encode(Put(f"{number}", b"v" * 99)))), A)
    snapshot = one.snapshot()
    other.restore(snapshot)
    assert other.snapshot() == snapshot
    assert other.is_over(0, 39)
    assert other.answer(0, 39) == one.answer(0, 39)


@pytest.mark.parametrize("pages", [(b"\x00\x00\x00\x01", b"\xff"), (b"", b"\x00junk")])
def test_pages_that_are_no_state_are_refused(pages: tuple[bytes, ...]) -> None:
    snapshot = msgspec.structs.replace(Execution(KeyValueStore).snapshot(), pages=pages)
    with pytest.raises(ValueError, match="no "):
        Execution(KeyValueStore).restore(snapshot)


# The store.


def test_a_large_bucket_takes_several_pages_and_comes_back() -> None:
    store, other = KeyValueStore(), KeyValueStore()
    for number in range(2_000):
        store.execute(
            encode(Put(f"key-{number}", b"v" * 60_000 if number < 40 else b"w")), 0, VALUES
        )
    pages = store.snapshot()
    assert max(map(len, pages)) <= PAGE_BYTES_MAX
    other.restore(pages)
    assert other.digest() == store.digest() == digest_of_pages(map(page_digest, pages))
    assert outcome(other.execute(encode(Get("key-1999")), 0, VALUES)) == Found(b"w")
    other.execute(encode(Put("one more", b"")), 0, VALUES)
    assert other.digest() != store.digest()


@pytest.mark.parametrize(
    "operation", [b"", b"\xff", encode(Put("", b"")), encode(Put("k" * 513, b""))]
)
def test_bytes_that_are_no_operation_change_nothing(operation: bytes) -> None:
    store = KeyValueStore()
    before = store.digest()
    assert outcome(store.execute(operation, 0, VALUES)) == Invalid()
    assert store.digest() == before


# Wire, digests, keys.


def test_a_digest_covers_what_is_asked_and_not_its_proof() -> None:
    one = request(1, b"x")
    proven = msgspec.structs.replace(one, macs=b"m" * 64, signature=b"s" * 64)
    assert request_digest(one) == request_digest(proven)
    others = [request(2, b"x"), request(1, b"y"), request(1, b"x", client=1), request(1, b"", b"x")]
    assert len({request_digest(r) for r in (one, *others)}) == 5
    assert batch_digest(NULL_BATCH) == NULL
    assert batch_digest(batch(one)) != batch_digest(Batch(2, b"", (one,)))


def test_two_parties_share_a_key_that_a_third_does_not() -> None:
    one, two, three = (Identity(bytes([n]) * 32) for n in range(3))
    key = mac_key(one.exchange_secret, two.exchange_public, b"c")
    assert key == mac_key(two.exchange_secret, one.exchange_public, b"c")
    assert key != mac_key(three.exchange_secret, one.exchange_public, b"c")
    assert key != mac_key(one.exchange_secret, two.exchange_public, b"d")
    with pytest.raises(ValueError, match="X25519"):
        mac_key(one.exchange_secret, bytes(32), b"c")


def test_a_secret_is_not_shown() -> None:
    assert "01" * 32 not in repr(Identity(b"\x01" * 32))


def test_any_bytes_are_a_packet_or_refused() -> None:
    chance = random.Random(1)
    good = wire.encode(Packet(b"c" * 32, (Prepare(1, 2, A), Checkpoint(8, B))))
    assert isinstance(wire.decode_packet(good), Packet)
    for _ in range(20_000):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        if chance.random() < 0.3:
            data = data[: chance.randrange(len(data))]
        decoded = wire.decode_packet(bytes(data))
        assert isinstance(decoded, Packet | Reason)
    assert wire.decode_packet(good + b"\x00") is Reason.MALFORMED
    assert wire.decode_packet(b"\x92\xd9\x01c\x90") is Reason.MALFORMED
    # The view 1 spelt with more bytes than it needs.
    assert (
        wire.decode_packet(good.replace(b"\x94\x02\x01", b"\x94\x02\xcc\x01"))
        is Reason.NONCANONICAL
    )


# What is written down.


def records() -> list[Record]:
    execution = Execution(KeyValueStore)
    asked = batch(request(1, encode(Put("k", b"v"))))
    execution.execute(2, asked, A)
    snapshot = execution.snapshot()
    change = view_change(1, (Vote(3, B, 0),))
    return [
        PrePrepared(0, 1, A, asked),
        Prepared(0, 1, A),
        Learnt(2),
        Taken(snapshot),
        PrePrepared(0, 3, B, asked),
        ViewEntered(5, change, None),
        Stable(2),
        PrePrepared(5, 4, NULL, None),
        ViewEntered(6, change, None),
    ]


def test_storage_gives_back_what_was_written(tmp_path: Path) -> None:
    for count in range(len(records()) + 1):
        folder = tmp_path / str(count)
        folder.mkdir()
        store = Store(folder, b"c" * 32, 0)
        for record in records()[:count]:
            store.write([record])
        store.close()
        again = Store(folder, b"c" * 32, 0)
        assert again.load() == recovered(records()[:count])
        again.close()


def test_a_stable_checkpoint_replaces_what_is_older() -> None:
    known = recovered(records())
    assert (known.stable, known.learnt, known.view) == (2, 2, 6)
    assert set(known.pre_prepared) == {3, 4}
    assert set(known.batches) == {B}
    assert set(known.snapshots) == {2}
    assert not known.prepared


def test_storage_that_is_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "replica.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match=r"replica\.sqlite"):
        Store(tmp_path, b"c" * 32, 0)


def test_a_service_is_a_subclass_of_service() -> None:
    from node.cluster import ClusterError, service_maker

    assert issubclass(service_maker("kv"), Service)  # type: ignore[arg-type]
    for wrong in ("redis", "nothing:Here", "pathlib:Path"):
        with pytest.raises(ClusterError, match="service"):
            service_maker(wrong)
