"""The PBFT rows of ATTACKS.md among containers: PB4 is in `test_dying_replicas.py`.

A traitor is a container that plays a strategy. What no strategy says is said by an impostor: he has
read the key of a replica or a client, and speaks from this host, which is the gateway of both
networks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import zmq
from click.testing import CliRunner
from zmq.utils import z85

from node import cluster
from node.client_links import Counterpart
from node.cluster import Identity
from node.protocols.pbft import key_value as kv
from node.protocols.pbft import wire
from node.protocols.pbft.execution import Execution
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
    ViewChange,
)
from orchestrator import camp, quarters
from orchestrator.__main__ import byzantine
from orchestrator.client import CLIENTS, Client
from orchestrator.engine import Engine
from orchestrator.replication import encampment
from orchestrator.replication.exercise import exercise
from tests.containers.replicas import (
    await_told,
    await_views,
    container_of,
    moved,
    told,
    up,
    views,
)

HUGE = (1 << 63) - 1


def judged(folder: Path) -> None:
    """Clients get one store's answers, and each of them."""
    done = exercise(folder, clients=2, operations=8, seed=1, patience_s=20.0)
    assert done.is_passed, done.promises


class Impostor:
    """Somebody with a replica's key."""

    def __init__(self, engine: Engine, folder: Path, me: int) -> None:
        self.me = me
        container = container_of(engine, folder)[me]
        key = camp.read_file(engine, container, f"{quarters.REPLICA_FOLDER}/{cluster.KEY_FILE}")
        assert key is not None
        identity = Identity(bytes.fromhex(key.decode().strip()))
        self._cluster = cluster.read(folder)
        self.authentication = cluster.replica_authentication(self._cluster, me, identity)
        self._context = zmq.Context()
        self._links = {}
        for member in self._cluster.members:
            link = self._context.socket(zmq.PUSH)
            link.curve_publickey = z85.encode(identity.exchange_public)
            link.curve_secretkey = z85.encode(identity.exchange_secret)
            link.curve_serverkey = z85.encode(member.exchange_public)
            link.connect(member.endpoint)
            self._links[member.replica] = link

    def say(self, to: int, *messages: Message) -> None:
        self._links[to].send(wire.encode(Packet(self._cluster.id, messages)))

    def close(self) -> None:
        self._context.destroy(linger=0)


class FalseClient:
    """Somebody with a client's key, who says what no client would."""

    def __init__(self, folder: Path, client: int) -> None:
        self.client = client
        self._cluster = cluster.read(folder)
        identity = cluster.read_identity(folder / CLIENTS / f"{client}.key")
        self.authentication = cluster.client_authentication(self._cluster, identity)
        members = [(m.client_endpoint, m.exchange_public) for m in self._cluster.members]
        self._links = Counterpart(identity.exchange_secret, identity.exchange_public, members)

    def request(self, timestamp: int, operation: kv.Operation, floor: int = 0) -> Request:
        return Request(self.client, timestamp, floor, (kv.encode(operation),), False)

    def say(self, to: int, *requests: Request) -> None:
        self._links.say(to, wire.encode(Asked(self._cluster.id, requests)))

    def close(self) -> None:
        self._links.close()


@contextmanager
def closing_all(*ones: Impostor | FalseClient) -> Iterator[None]:
    try:
        yield
    finally:
        for one in ones:
            one.close()


@pytest.mark.parametrize(
    ("strategy", "refused"),
    [("equivocator", None), ("inventor", "0/not_authentic")],
    ids=["PB1", "PB12"],
)
def test_a_lying_primary_is_deposed(
    built: Engine, folder: Path, strategy: str, refused: str | None
) -> None:
    up(folder, casting={0: strategy})
    with Client(folder) as client:
        client.put("a", b"1")
        assert client.get("a") == b"1"
    await_views(built, folder, 1, 2, 3, first=1)
    if refused:
        for replica in (1, 2, 3):
            await_told(folder, replica, lambda now: refused in now["refusals"])
    judged(folder)


def test_pb2_what_is_out_of_place_is_refused(built: Engine, folder: Path) -> None:
    up(folder, casting={2: "babbler"})
    impostor = Impostor(built, folder, 3)
    with closing_all(impostor):
        empty = Batch(1, b"", ())
        impostor.say(1, PrePrepare(0, 1, empty), PrePrepare(5, 1, empty))
        impostor.say(1, Prepare(0, HUGE, b"d" * 32), Commit(0, HUGE, b"d" * 32))
        await_told(
            folder,
            1,
            lambda now: (now["refusals"].get("3/not_primary"),
                         now["refusals"].get("3/outside_watermarks")) == (2, 2),
        )  # fmt: skip
    judged(folder)
    assert views(built, folder, 0, 1, 3) == {0}
    for one in (told(folder)[replica] for replica in (0, 1, 3)):
        assert any(name.startswith("2/") for name in one["refusals"])


def test_pb3_a_vote_said_three_times_counts_once(folder: Path) -> None:
    """Two replicas are left, and one of them votes three times: that makes two, and not four."""
    up(folder, casting={3: "repeater"}, timeout_s=20.0)
    encampment.kill(folder, 1)
    encampment.kill(folder, 2)
    with Client(folder) as client:
        asked = client.submit(kv.encode(kv.Put("a", b"1")))
        await_told(folder, 3, lambda now: now["sent"].get("Prepare", 0) >= 9)
        assert await_told(folder, 0, lambda now: now["sent"].get("PrePrepare"))["executed"] == 0
        assert not asked.done()
        up(folder)
        assert kv.outcome(asked.result(20)) == kv.Done(True)
    judged(folder)


def test_pb5_a_forged_new_view_is_refused_and_the_next_view_begins(
    built: Engine, folder: Path
) -> None:
    """The dead primary and the forger are two, so that the dead one must come back."""
    up(folder, casting={1: "new-view-forger"})
    with Client(folder) as client:
        client.put("a", b"1")
        encampment.kill(folder, 0)
        asked = client.submit(kv.encode(kv.Put("b", b"2")))
        await_told(folder, 2, lambda now: now["refusals"].get("1/bad_new_view"))
        up(folder)
        assert kv.outcome(asked.result(20)) == kv.Done(True)
        assert client.scan() == [("a", b"1"), ("b", b"2")]
    await_views(built, folder, 0, 2, 3, first=2)
    judged(folder)


def test_pb7_a_spammer_of_view_changes_moves_nobody_and_fills_no_memory(
    built: Engine, folder: Path
) -> None:
    up(folder, casting={3: "view-change-spammer"})
    judged(folder)
    loyal = [container_of(built, folder)[replica] for replica in (0, 1, 2)]
    before = [anonymous_bytes(built, one) for one in loyal]
    sent = told(folder)[3]["sent"]["ViewChange"]
    await_told(folder, 3, lambda now: now["sent"]["ViewChange"] > sent + 500)
    after = [anonymous_bytes(built, one) for one in loyal]
    assert max(b - a for a, b in zip(before, after, strict=True)) < 8 << 20
    assert views(built, folder, 0, 1, 2) == {0}
    judged(folder)


def anonymous_bytes(engine: Engine, container: str) -> int:
    """The memory that a container's processes have to themselves."""
    stats = engine.client.api.stats(container, stream=False, one_shot=True)["memory_stats"]
    return int(stats["stats"].get("anon") or stats["stats"]["total_rss"])


def test_pb8_a_weak_quorum_of_view_changes_takes_the_others_along(
    built: Engine, folder: Path
) -> None:
    """f do not, f + 1 do; and the view begins, although nobody's timer has run out."""
    up(folder, timeout_s=20.0)
    genesis = (Checkpoint(0, Execution(kv.KeyValueStore).snapshot().digest),)
    impostors = [Impostor(built, folder, me) for me in (2, 3)]
    with closing_all(*impostors):
        for count, impostor in enumerate(impostors):
            asking = impostor.authentication.signed_view_change(
                ViewChange(1, impostor.me, 0, genesis, (), ())
            )
            for to in range(4):
                if to != impostor.me:
                    impostor.say(to, asking)
            if not count:
                judged(folder)
                assert views(built, folder, 0, 1, 2, 3) == {0}
        for replica in range(4):
            await_told(folder, replica, lambda now: now["view"] == 1 and now["is_active"])
    assert moved(built, folder, 0)[0] == (1, "1999-4.5.2 join")
    judged(folder)


def test_pb9_a_forged_checkpoint_makes_nothing_stable(folder: Path) -> None:
    """Two of the three who are there agree, fewer than a quorum: the log stays as it is."""
    up(folder, casting={3: "checkpoint-forger"}, interval=8, window=32)
    encampment.kill(folder, 2)
    with Client(folder) as client:
        for number in range(16):
            client.put(str(number), b"x")
        now = await_told(folder, 0, lambda now: now["executed"] >= 16)
        assert now["stable"] == 0
        up(folder)
        for number in range(8):
            client.put(str(number), b"y")
        for replica in (0, 1, 2):
            await_told(folder, replica, lambda now: now["stable"] >= 16)
    judged(folder)


def test_pb11_a_request_said_again_is_executed_once(folder: Path) -> None:
    up(folder)
    false = FalseClient(folder, 3)
    with closing_all(false), Client(folder, 0) as client:
        first = false.authentication.with_signature(false.request(5, kv.Put("n", b"1")))
        for _ in range(3):
            for replica in range(4):
                false.say(replica, first)
        for replica in range(4):
            await_told(folder, replica, lambda now: now["executed"] == 1)
        # The same timestamp with another operation; then an older one, which is acknowledged.
        other = false.authentication.with_signature(false.request(5, kv.Put("n", b"2")))
        newer = false.authentication.with_signature(false.request(6, kv.Put("m", b""), floor=5))
        older = false.authentication.with_signature(false.request(4, kv.Put("n", b"3")))
        for request in (other, newer, older, first):
            for replica in range(4):
                false.say(replica, request)
        for replica in range(4):
            await_told(folder, replica, lambda now: now["executed"] >= 2)
        assert client.get("m") == b""
        assert client.get("n") == b"1"
    judged(folder)


def test_pb13_an_authenticator_for_the_primary_alone_stalls_nobody_for_long(
    built: Engine, folder: Path
) -> None:
    """It costs one view change; then that client must sign, which his own program does."""
    up(folder)
    false = FalseClient(folder, 3)

    def attack(timestamp: int, view: int) -> None:
        good = false.authentication.with_macs(false.request(timestamp, kv.Put("x", b"")))
        primary = view % 4
        mine = good.macs[16 * primary : 16 * primary + 16]
        macs = b"".join(mine if replica == primary else bytes(16) for replica in range(4))
        false.say(primary, msgspec.structs.replace(good, macs=macs))

    with closing_all(false), Client(folder, 0) as client:
        client.put("a", b"1")
        attack(1, 0)
        await_told(folder, 1, lambda now: now["view"] == 1 and now["is_active"])
        client.put("b", b"2")
        for timestamp in range(2, 12):
            attack(timestamp, 1)
            client.put("c", str(timestamp).encode())
        assert views(built, folder, 0, 1, 2, 3) == {1}
    with Client(folder, 3) as client:
        client.put("d", b"3")
    judged(folder)


def test_pb14_a_primary_at_nine_tenths_of_the_timeout_is_slow_and_safe(
    built: Engine, folder: Path
) -> None:
    """It stays in office, PBFT's known weakness. Where that takes too long, nobody says pass."""
    up(folder, casting={0: "slow"}, timeout_s=1.0)
    with Client(folder) as client:
        for number in range(3):
            began_s = time.monotonic()
            client.put("a", str(number).encode())
            assert time.monotonic() - began_s > 0.85
        assert client.get("a") == b"2"
    assert views(built, folder, 1, 2, 3) == {0}
    impatient = exercise(folder, clients=1, operations=5, seed=1, patience_s=0.5)
    assert [one.state for one in impatient.promises] == ["held", "broken"]


@pytest.mark.parametrize("has_read_only", [False, True])
def test_pb15_a_client_believes_no_lonely_replica(folder: Path, has_read_only: bool) -> None:
    up(folder, casting={3: "liar"}, has_read_only=has_read_only)
    with Client(folder) as client:
        for number in range(10):
            client.put("k", str(number).encode())
            assert client.get("k") == str(number).encode()
    judged(folder)


def test_pb16_two_primaries_in_a_row_crash(built: Engine, folder: Path) -> None:
    up(folder, n=7)
    with Client(folder) as client:
        client.put("a", b"1")
        encampment.kill(folder, 0)
        encampment.kill(folder, 1)
        client.put("b", b"2")
        assert client.scan() == [("a", b"1"), ("b", b"2")]
    await_views(built, folder, 2, 3, 4, 5, 6, first=2)
    assert [view for view, _ in moved(built, folder, 2)] == [1, 2, 2]
    judged(folder)


def test_two_colluders_of_seven_are_survived(folder: Path) -> None:
    up(folder, n=7, casting={0: "equivocator", 1: "certificate-forger"})
    judged(folder)


def test_pb17_three_replicas_survive_nobody_and_are_refused(tmp_path: Path) -> None:
    words = ["up", "--service", "kv", "--backend", "containers", "-n", "3"]
    done = CliRunner().invoke(byzantine, [*words, "--cluster", str(tmp_path / "c")])
    assert done.exit_code == 2
    assert "three replicas survive none" in done.output
    assert not (tmp_path / "c").exists()
