"""Who is let into a general's field, and whose word a frame is (A2)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator

import pytest
import zmq

from node import links
from node.links import (
    CONNECTIONS_AT_ONCE,
    FIELD_DOMAIN,
    HANDSHAKE_MS,
    LINK_FRAMES_MAX,
    Field,
    Gate,
    TransportError,
    Trouble,
    Verdict,
    bind,
    guard,
)
from node.wire import FRAME_BYTES_MAX
from tests.live.conftest import Fields, raw_connections, settings, until


class Strangers:
    """Sockets of nobody in particular. All end with the test, whatever becomes of it."""

    def __init__(self) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.context.set(zmq.MAX_SOCKETS, 2000)

    def plain(self, kind: int) -> zmq.Socket[bytes]:
        socket = self.context.socket(kind)
        # Before it connects: afterwards, a refused one would keep its context from ending.
        socket.linger = 0
        return socket

    def client(
        self, server_key: bytes, keys: tuple[bytes, bytes] | None = None
    ) -> zmq.Socket[bytes]:
        """A PUSH under CURVE, with keys of its own unless it has somebody else's."""
        client = self.plain(zmq.PUSH)
        client.curve_publickey, client.curve_secretkey = keys or zmq.curve_keypair()
        client.curve_serverkey = server_key
        return client


@pytest.fixture
def strangers() -> Iterator[Strangers]:
    strangers = Strangers()
    yield strangers
    strangers.context.destroy(linger=0)


def keys_of(field: Field) -> tuple[bytes, bytes]:
    return field.public, field._secret


def test_a_frame_is_the_word_of_the_key_that_brought_it(three: Fields) -> None:
    three.deploy()
    three[1].deliver((0, 2), b"from one")
    three[2].deliver((0,), b"from two")
    assert three.until(lambda: len(three.heard[0]) == 2 and len(three.heard[2]) == 1)
    assert sorted(three.heard[0]) == [(1, b"from one"), (2, b"from two")]
    assert three.heard[2] == [(1, b"from one")]


def test_frames_of_one_peer_keep_their_order(two: Fields) -> None:
    two.deploy()
    for number in range(LINK_FRAMES_MAX):
        two[1].deliver((0,), bytes([number]))
    assert two.until(lambda: len(two.heard[0]) == LINK_FRAMES_MAX)
    assert [data for _, data in two.heard[0]] == [bytes([k]) for k in range(LINK_FRAMES_MAX)]


def test_what_is_said_before_the_roster_is_known_is_neither_lost_nor_let_in(two: Fields) -> None:
    two.deploy(1)
    two[1].deliver((0,), b"early")
    # Nobody answers the gate yet, so this can only end at its own deadline.
    assert not until(lambda: bool(two.heard[0]), lambda: two.heard[0].extend(two[0].drain(9)), 0.3)
    two.deploy(0)
    assert two.until(lambda: two.heard[0] == [(1, b"early")])


def test_a_claimed_routing_id_changes_nothing(three: Fields, strangers: Strangers) -> None:
    """NT1: general 2's key under general 1's name is general 2; and 1 stays connected."""
    three.deploy()
    three[1].deliver((0,), b"before")
    assert three.until(lambda: three.heard[0] == [(1, b"before")])
    thief = strangers.client(three[0].public, keys_of(three[2]))
    thief.setsockopt(zmq.ROUTING_ID, b"1")
    thief.connect(three[0].endpoint)
    thief.send(b"I am 1")
    assert three.until(lambda: (2, b"I am 1") in three.heard[0])
    three[1].deliver((0,), b"after")
    assert three.until(lambda: (1, b"after") in three.heard[0])


def test_an_outsiders_key_is_refused_and_counted(two: Fields, strangers: Strangers) -> None:
    """NT2."""
    two.deploy()
    outsider = strangers.client(two[0].public)
    outsider.connect(two[0].endpoint)
    outsider.send(b"let me in")
    assert two.until(lambda: two[0].troubles[Trouble.UNKNOWN_KEY, None] > 0)
    two[1].deliver((0,), b"good")
    assert two.until(lambda: two.heard[0] == [(1, b"good")])


def test_a_client_without_curve_is_refused_and_counted(two: Fields, strangers: Strangers) -> None:
    """NT2."""
    two.deploy()
    plain = strangers.plain(zmq.PUSH)
    plain.connect(two[0].endpoint)
    plain.send(b"in the clear")
    assert two.until(lambda: two[0].troubles[Trouble.HANDSHAKE_FAILED, None] > 0)
    two[1].deliver((0,), b"good")
    assert two.until(lambda: two.heard[0] == [(1, b"good")])


def test_a_client_who_expects_another_server_is_refused_and_counted(
    two: Fields, strangers: Strangers
) -> None:
    """NT2: even with a key of the roster."""
    two.deploy()
    wrong, _ = zmq.curve_keypair()
    client = strangers.client(wrong, keys_of(two[1]))
    client.connect(two[0].endpoint)
    client.send(b"to somebody else")
    assert two.until(lambda: two[0].troubles[Trouble.HANDSHAKE_FAILED, None] > 0)
    two[1].deliver((0,), b"good")
    assert two.until(lambda: two.heard[0] == [(1, b"good")])


def test_a_handler_that_raises_refuses_one_and_serves_the_next(strangers: Strangers) -> None:
    """NT4."""
    crafted, good = zmq.curve_keypair(), zmq.curve_keypair()

    def admits(key: bytes) -> Verdict:
        if links.z85.encode(key) == crafted[0]:
            raise RuntimeError("a key that breaks the handler")
        return Verdict.ADMITTED

    troubles: links.Troubles = Counter()
    public, secret = zmq.curve_keypair()
    gate = Gate(strangers.context, admits, troubles)
    pull = strangers.context.socket(zmq.PULL)
    guard(pull, FIELD_DOMAIN, secret, FRAME_BYTES_MAX)
    endpoint = f"tcp://127.0.0.1:{bind(pull, '127.0.0.1', 10_000, 20_000)}"

    def serve() -> None:
        gate.serve(10)

    bad = strangers.client(public, crafted)
    bad.connect(endpoint)
    assert until(lambda: troubles[Trouble.HANDLER_RAISED, None] == 1, serve)
    client = strangers.client(public, good)
    client.connect(endpoint)
    client.send(b"still open")
    assert until(lambda: bool(pull.poll(0)), serve)
    assert pull.recv() == b"still open"


def test_a_request_that_is_no_request_is_refused(strangers: Strangers) -> None:
    """NT4: whatever stands in it."""
    gate = Gate(strangers.context, lambda key: Verdict.ADMITTED, Counter())
    client = strangers.plain(zmq.REQ)
    client.connect(links.ZAP_ENDPOINT)
    for request in ([b"1.0", b"7"], [b"1.0", b"8", b"d", b"a", b"i", b"NULL"], [b"", b"9"] * 9):
        client.send_multipart(request)
        assert until(lambda: bool(client.poll(0)), lambda: bool(gate.serve(1)) and None)
        assert client.recv_multipart()[2] == b"400"


def test_the_largest_frame_passes_and_one_byte_more_ends_the_link(two: Fields) -> None:
    """NT5: the sender is put out, and may come back; the general hears everybody else."""
    two.deploy()
    two[1].deliver((0,), bytes(FRAME_BYTES_MAX))
    assert two.until(lambda: two.heard[0] == [(1, bytes(FRAME_BYTES_MAX))])
    two[1].deliver((0,), bytes(FRAME_BYTES_MAX + 1))
    two[1].deliver((0,), b"the link is new")
    assert two.until(lambda: two[0].troubles[Trouble.RECONNECTED, 1] > 0)
    two[1].deliver((0,), b"again")
    assert two.until(lambda: two.heard[0][-1] == (1, b"again"))
    assert all(len(data) <= FRAME_BYTES_MAX for _, data in two.heard[0])


def test_empty_frames_arrive_as_what_they_are(three: Fields) -> None:
    """NT5: ten thousand of them keep nobody from being heard."""
    three.deploy()
    left = 10_000

    def pour() -> None:
        nonlocal left
        for _ in range(min(left, LINK_FRAMES_MAX)):
            before = three[1].troubles[Trouble.LINK_FULL, 0]
            three[1].deliver((0,), b"")
            left -= three[1].troubles[Trouble.LINK_FULL, 0] == before
        three.serve()

    assert until(lambda: left == 0, pour)
    three[2].deliver((0,), b"heard")
    assert three.until(lambda: len(three.heard[0]) == 10_001)
    assert Counter(three.heard[0]) == {(1, b""): 10_000, (2, b"heard"): 1}


def test_a_message_in_parts_comes_to_nothing_and_is_charged(
    three: Fields, strangers: Strangers
) -> None:
    three.deploy()
    client = strangers.client(three[0].public, keys_of(three[1]))
    client.connect(three[0].endpoint)
    client.send_multipart([b"a"] * 5)
    client.send(b"whole")
    assert three.until(lambda: (1, b"whole") in three.heard[0])
    assert three[0].troubles[Trouble.MULTIPART, 1] == 5
    assert [data for _, data in three.heard[0]] == [b""] * 5 + [b"whole"]


def test_a_full_link_drops_and_counts_and_never_blocks(two: Fields) -> None:
    two.deploy(1)  # General 0 never opens his gate.
    start_s = time.monotonic()
    for _ in range(10 * LINK_FRAMES_MAX):
        two[1].deliver((0,), b"more")
    assert time.monotonic() - start_s < 1.0
    assert two[1].troubles[Trouble.LINK_FULL, 0] == 9 * LINK_FRAMES_MAX


def test_a_frame_to_nobody_is_counted(two: Fields) -> None:
    two.deploy()
    two[1].deliver((99,), b"whoever you are")
    assert two[1].troubles[Trouble.NO_SUCH_PEER, 99] == 1


def test_silent_connections_are_closed_and_hinder_nobody(two: Fields) -> None:
    """NT7."""
    two.deploy(0)
    start_s = time.monotonic()
    silent = raw_connections(two[0].endpoint, 200)
    two.deploy(1)
    two[1].deliver((0,), b"through the crowd")
    assert two.until(lambda: two.heard[0] == [(1, b"through the crowd")])
    for connection in silent:
        connection.setblocking(False)
    assert two.until(lambda: all(is_closed(connection) for connection in silent))
    assert time.monotonic() - start_s < HANDSHAKE_MS / 1000 + 3.0
    for connection in silent:
        connection.close()


def is_closed(connection: object) -> bool:
    """Whether the other side has hung up; what it said before, its greeting, is read away."""
    try:
        while connection.recv(4096):  # type: ignore[attr-defined]
            pass
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def test_many_connections_of_one_key_are_bounded_and_counted(
    three: Fields, strangers: Strangers
) -> None:
    """NT8."""
    three.deploy()
    start_s = time.monotonic()
    crowd = [strangers.client(three[0].public, keys_of(three[1])) for _ in range(500)]
    for client in crowd:
        client.connect(three[0].endpoint)
    assert three.until(lambda: three[0].troubles[Trouble.CONNECTIONS_REFUSED, 1] >= 400)
    three[2].deliver((0,), b"heard")
    assert three.until(lambda: (2, b"heard") in three.heard[0])
    elapsed_s = time.monotonic() - start_s
    opened = three[0]._connections.opened[1]
    assert opened <= CONNECTIONS_AT_ONCE + elapsed_s * links.CONNECTIONS_PER_S
    assert three[0].troubles[Trouble.RECONNECTED, 1] == opened - 1
    assert three[0]._connections.opened[2] == 1


def test_a_port_that_is_taken_is_an_error_where_no_other_is_allowed(two: Fields) -> None:
    port = int(two[0].endpoint.rpartition(":")[2])
    with pytest.raises(TransportError, match=f"no free port on 127.0.0.1 in {port} .. {port}"):
        Field(settings(port_first=port, ports=1))


def test_ports_lie_below_the_ephemeral_range(two: Fields) -> None:
    for field in two.fields:
        assert 10_000 <= int(field.endpoint.rpartition(":")[2]) < 32_768
