"""The PBFT rows of ATTACKS.md, in the simulator."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest

from node.effects import Reason
from node.protocols.pbft import key_value, wire
from node.protocols.pbft.configuration import Authentication
from node.protocols.pbft.effects import Send
from node.protocols.pbft.events import Received
from node.protocols.pbft.key_value import Done, Found, Get, Put
from node.protocols.pbft.messages import (
    Asked,
    Batch,
    Checkpoint,
    Commit,
    Message,
    Packet,
    Prepare,
    PrePrepare,
    Request,
)
from node.protocols.pbft.view_change import is_evidence
from node.traitors.replicas import (
    REPLICA_STRATEGIES,
    CertificateForger,
    CheckpointForger,
    Equivocator,
    Inventor,
    Liar,
    NewViewForger,
    Repeater,
    ReplicaStrategy,
    Silent,
    Slow,
    Starver,
    TwoFacedViewChanger,
    ViewChangeSpammer,
)
from orchestrator.replication.world import World
from tests.cluster import (
    assert_one_state,
    assert_safe,
    cluster,
    correct,
    do,
    machine,
    put,
    refused,
    signed,
)


def say(where: World, sender: int, to: int, *messages: Message) -> None:
    """One replica says something to another, whatever it is."""
    data = wire.encode(Packet(where.cluster, messages))
    where._receive(sender, to, data)


def views(where: World) -> set[int]:
    return {machine(where, r).view for r in correct(where)}


def test_pb1_an_equivocating_primary_never_gets_two_batches_committed() -> None:
    where = cluster(traitors={0: Equivocator})
    put(where, "a", "b")
    assert_safe(where)
    assert views(where) == {1}
    assert_one_state(where)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (PrePrepare(0, 1, Batch(1, b"", ())), Reason.NOT_PRIMARY),
        (PrePrepare(5, 1, Batch(1, b"", ())), Reason.NOT_PRIMARY),
        (Prepare(0, (1 << 63) - 1, b"d" * 32), Reason.OUTSIDE_WATERMARKS),
        (Commit(0, (1 << 63) - 1, b"d" * 32), Reason.OUTSIDE_WATERMARKS),
        (Checkpoint(7, b"d" * 32), Reason.BAD_SHAPE),
    ],
)
def test_pb2_what_is_out_of_place_is_refused_and_nothing_is_kept(
    message: Message, reason: Reason
) -> None:
    where = cluster()
    before = dict(machine(where, 1)._log.slots)
    say(where, 3, 1, message)
    assert refused(where, 1) == {(3, reason.value): 1}
    assert machine(where, 1)._log.slots == before


def test_pb2_a_primary_beyond_the_high_watermark_is_refused() -> None:
    where = cluster()
    say(where, 0, 1, PrePrepare(0, (1 << 63) - 1, Batch(1, b"", ())))
    assert refused(where, 1) == {(0, "outside_watermarks"): 1}
    assert not machine(where, 1)._log.slots


def test_pb3_a_vote_said_three_times_counts_once() -> None:
    where = cluster(is_durable=False)
    digest = b"d" * 32
    for _ in range(3):
        say(where, 3, 1, Prepare(0, 1, digest), Commit(0, 1, digest))
    slot = machine(where, 1)._log.slots[1]
    assert (len(slot.prepares), len(slot.commits), slot.committed) == (1, 1, None)
    say(where, 3, 1, Prepare(0, 1, b"e" * 32), Commit(0, 1, b"e" * 32))
    assert refused(where, 1) == {(3, "conflicting"): 2}
    where = cluster(traitors={3: Repeater})
    put(where, *map(str, range(10)))
    assert_safe(where)


@pytest.mark.parametrize("n", [4, 7])
def test_pb5_a_forged_new_view_is_refused_and_the_next_view_begins(n: int) -> None:
    where = cluster(n, {1: NewViewForger})
    put(where, "a")
    where.crash(0)
    where.traitors[0] = Silent  # Charged with its absence.
    if n == 4:
        # With f = 1 a dead primary and a forger are two: the dead one comes back.
        where.at(1.2, lambda: where.start(0))
    put(where, "b", "c")
    assert views(where) <= {2, 3}
    assert any((1, "bad_new_view") in refused(where, r) for r in correct(where))
    assert_safe(where)


def test_pb7_a_spammer_of_view_changes_moves_nobody_and_fills_no_memory() -> None:
    where = cluster(traitors={3: ViewChangeSpammer}, has_tentative_execution=False)
    put(where, "a")
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    where.run_for(30.0)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert views(where) == {0}
    assert all(len(machine(where, r)._view_changes) <= 1 for r in correct(where))
    assert machine(where, 0)._view_changes[3].view > 10_000
    assert after - before < 8 << 20
    put(where, "b")


def test_pb9_a_forged_checkpoint_makes_nothing_stable() -> None:
    where = cluster(traitors={3: CheckpointForger})
    where.crash(2)
    put(where, *map(str, range(15)))
    # Two of three are correct: fewer than a quorum agree, and the log stays as it is.
    assert {machine(where, r).stable for r in (0, 1)} == {0}
    where.start(2)
    put(where, *map(str, range(15, 30)))
    where.run_for(2.0)
    assert {machine(where, r).stable for r in (0, 1, 2)} == {24}
    assert_one_state(where)


def test_a_state_is_fetched_past_a_source_that_forges_it() -> None:
    where = cluster(7, traitors={1: CheckpointForger})
    where.crash(6)
    put(where, *map(str, range(60)))
    where.start(6)
    assert_one_state(where)
    assert where.seats[6].restored


def test_pb11_a_request_said_again_is_executed_once_and_answered_again() -> None:
    where = cluster()
    counted = Put("n", b"1")
    packet = signed(where, 0, 5, counted)
    for _ in range(3):
        for replica in where.seats:
            where.ask(0, replica, packet)
    where.run_for(0.5)
    answered = [seat.node.answered for seat in where.seats.values() if seat.node]
    assert {machine(where, r).executed for r in where.seats} == {1}
    for replica in where.seats:
        where.ask(0, replica, packet)
    where.run_for(0.5)
    assert [s.node.answered for s in where.seats.values() if s.node] == [a + 1 for a in answered]
    # The same timestamp with another operation, and an older one that is acknowledged.
    where.ask(0, 0, signed(where, 0, 5, Put("n", b"2")))
    bare = Request(0, 6, 5, (key_value.encode(Put("m", b"1")),), False)
    newer = where.client_authentication(0).with_signature(bare)
    where.ask(0, 0, wire.encode(Asked(where.cluster, (newer,))))
    where.run_for(0.5)
    where.ask(0, 0, signed(where, 0, 4, Put("n", b"3")))
    where.run_for(0.5)
    assert do(where, Get("n"), client=1) == Found(b"1")


@pytest.mark.parametrize("authentication", Authentication)
def test_pb12_a_request_that_its_client_never_made_is_not_executed(
    authentication: Authentication,
) -> None:
    where = cluster(traitors={0: Inventor}, authentication=authentication)
    put(where, "a", "b")
    assert views(where) == {1}
    for replica in correct(where):
        assert (0, "not_authentic") in refused(where, replica)
    assert_safe(where)


def test_pb13_an_authenticator_for_the_primary_alone_stalls_nobody_for_long() -> None:
    """It costs one view change, the first time; then that client must sign."""
    where = cluster(clients=2)
    put(where, "a", client=1)

    def attack(timestamp: int) -> None:
        bare = Request(0, timestamp, 0, (key_value.encode(Put("x", b"")),), False)
        good = where.client_authentication(0).with_macs(bare)
        primary = where.configuration.primary(machine(where, 1).view)
        mine = good.macs[16 * primary : 16 * primary + 16]
        macs = b"".join(mine if r == primary else bytes(16) for r in range(4))
        packet = Asked(where.cluster, (msgspec.structs.replace(good, macs=macs),))
        where.ask(0, primary, wire.encode(packet))

    attack(1)
    put(where, "b", client=1)
    assert views(where) == {1}
    began_s = where.now_s
    for timestamp in range(2, 12):
        attack(timestamp)
        put(where, f"c{timestamp}", client=1)
    assert views(where) == {1}
    assert where.now_s - began_s < 0.5
    put(where, "d", client=0)  # Under his signature the client is served again.
    assert_safe(where)


def test_pb13_a_primary_that_spoils_authenticators_stops_no_honest_client() -> None:
    class Spoiler(ReplicaStrategy):
        def tell(self, message: Message, to: int) -> list[Message]:
            if not isinstance(message, PrePrepare):
                return [message]
            spoilt = tuple(
                msgspec.structs.replace(r, macs=bytes(len(r.macs))) for r in message.batch.requests
            )
            batch = msgspec.structs.replace(message.batch, requests=spoilt)
            return [msgspec.structs.replace(message, batch=batch)]

    where = cluster(traitors={0: Spoiler})
    put(where, "a", "b", "c")
    assert_safe(where)


def test_pb14_a_primary_at_nine_tenths_of_the_timeout_is_slow_and_safe() -> None:
    """It stays in office, which is PBFT's known weakness: throughput drops, nothing breaks."""
    slow, quick = cluster(traitors={0: Slow}), cluster()
    took = {}
    for name, where in (("slow", slow), ("quick", quick)):
        began_s = where.now_s
        put(where, *map(str, range(5)))
        took[name] = where.now_s - began_s
    assert took["slow"] > 50 * took["quick"]
    assert took["slow"] > 5 * 0.85
    assert views(slow) == {0}
    assert_safe(slow)


def test_pb15_a_client_believes_no_lonely_replica() -> None:
    where = cluster(traitors={3: Liar}, has_read_only=False)
    for number in range(10):
        put(where, str(number))
        assert do(where, Get(str(number))) == Found(str(number).encode())


def test_a_starving_primary_is_deposed() -> None:
    where = cluster(traitors={0: Starver}, clients=2)
    put(where, "a", client=1)
    put(where, "b", client=0)
    assert views(where) != {0}


@pytest.mark.parametrize("name", REPLICA_STRATEGIES)
@pytest.mark.parametrize("place", [0, 2])
def test_every_strategy_in_either_office_is_survived(name: str, place: int) -> None:
    where = cluster(traitors={place: REPLICA_STRATEGIES[name]}, timeout_s=0.3)
    for number in range(10):
        put(where, str(number), client=number % 2)
    assert_safe(where)
    assert_one_state(where)


def test_two_view_changes_for_one_view_are_evidence_to_anybody() -> None:
    where = cluster(7, {4: TwoFacedViewChanger})
    put(where, "a")
    # The quorum that is left needs the word of everybody.
    where.crash(0)
    where.crash(6)
    put(where, "b")
    where.run_for(2.0)
    found = [a for seat in where.seats.values() for a in seat.accusations]
    assert {a.culprit for a in found} == {4}
    public_keys_alone = where._authentication(5)
    assert is_evidence(found[0].proof, 4, public_keys_alone.of_view_change)
    assert not is_evidence(found[0].proof, 3, public_keys_alone.of_view_change)
    assert not is_evidence(found[0].proof[:1] * 2, 4, public_keys_alone.of_view_change)
    spoilt = msgspec.structs.replace(found[0].proof[1], stable=1)
    assert not is_evidence((found[0].proof[0], spoilt), 4, public_keys_alone.of_view_change)


def test_two_colluders_of_seven_are_survived() -> None:
    where = cluster(7, {0: Equivocator, 1: CertificateForger}, timeout_s=0.3)
    put(where, *map(str, range(10)))
    assert_safe(where)
    assert_one_state(where)


def test_two_traitors_of_four_can_break_it() -> None:
    """One more than f: a judge who never sees safety broken would judge nothing."""

    class TwoFaced(Equivocator):
        """Tells each half its own story, and votes for both."""

        def change(self, effects):
            told = []
            for effect in effects:
                if isinstance(effect, Send) and isinstance(effect.message, PrePrepare):
                    told += self._stories(effect.message)
                elif not isinstance(effect, Send):
                    told.append(effect)
            return told

        def _stories(self, message: PrePrepare) -> list[Send]:
            from node.protocols.pbft.authentication import batch_digest

            told = []
            for to, time_ns in ((1, 5), (2, 6)):
                base = message.batch.time_ns
                batch = msgspec.structs.replace(message.batch, time_ns=base + time_ns)
                digest = batch_digest(batch)
                view, sequence = message.view, message.sequence
                told.append(Send((to,), PrePrepare(view, sequence, batch), "lie"))
                told.append(Send((to,), Commit(view, sequence, digest), "lie"))
                accomplice.append((to, Prepare(view, sequence, digest)))
                accomplice.append((to, Commit(view, sequence, digest)))
            return told

    accomplice: list[tuple[int, Message]] = []
    where = cluster(traitors={0: TwoFaced, 3: Silent}, is_durable=False)
    where.invoke(0, key_value.encode(Put("a", b"1")))
    where.run_for(0.1)
    for to, message in accomplice:
        say(where, 3, to, message)
    where.run_for(0.1)
    assert where.seats[1].executed[1] != where.seats[2].executed[1]
    with pytest.raises(AssertionError, match="different batches at 1"):
        assert_safe(where)


def test_a_packet_of_another_cluster_is_refused() -> None:
    where = cluster()
    where._receive(1, 0, wire.encode(Packet(b"x" * 32, (Prepare(0, 1, b"d" * 32),))))
    assert refused(where, 0) == {(1, "wrong_run"): 1}


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\x92\xc4\x00", b"\xdd\xff\xff\xff\xff"])
def test_bytes_that_are_no_packet_are_refused(data: bytes) -> None:
    where = cluster()
    where._receive(1, 0, data)
    where.ask(0, 0, data)
    assert refused(where, 0) == {(1, "malformed"): 1, (None, "malformed"): 1}


def test_an_event_makes_effects_and_nothing_else() -> None:
    """The machine is deterministic: the same events give the same effects."""
    one, other = cluster(seed=5), cluster(seed=5)
    event = Received(one.now_s, 3, Prepare(0, 1, b"d" * 32))
    assert machine(one, 1).on_event(event) == machine(other, 1).on_event(event)
    assert do(one, Put("a", b"")) == do(other, Put("a", b"")) == Done(True)
