"""The barest member of a CURVE mesh: one PULL bound, one PUSH to each peer, keys checked by ZAP.

Nothing of `node/` is used: this is what sockets cost alone. One thread does all; the ZAP requests
of peers who connect are answered from the loop that proves the connections.
"""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

import zmq
from zmq.utils import z85

from benchmarks.peers.team import PATIENCE_S

#: Below the ephemeral range, where nobody's outgoing connection can sit on a port.
PORT_MIN, PORT_MAX = 10_000, 32_767
DOMAIN = b"bare"
PROBE, ECHO = b"\x00", b"\x01"

HOST = "127.0.0.1"

#: Endpoint and public key of each member, by number: what everybody must know to connect.
Roster = list[tuple[str, bytes]]


class CurvePeer:
    """One member. In this order: made, `address` told to all, `connect`, `prove`, then free use."""

    def __init__(self, me: int, host: str = HOST) -> None:
        self._me = me
        self._public, self._secret = zmq.curve_keypair()
        self._context = zmq.Context()
        # Bound before the PULL is: a handshake that finds no handler would be let in unseen.
        self._zap = self._context.socket(zmq.REP)
        self._zap.linger = 0
        self._zap.bind("inproc://zeromq.zap.01")
        self.pull = self._context.socket(zmq.PULL)
        self.pull.linger = 0
        self.pull.rcvtimeo = int(PATIENCE_S * 1000)
        self.pull.curve_server = True
        self.pull.curve_secretkey = self._secret
        self.pull.curve_publickey = self._public
        self.pull.zap_domain = DOMAIN
        self.pull.zap_enforce_domain = True
        port = self.pull.bind_to_random_port(f"tcp://{host}", PORT_MIN, PORT_MAX)
        self.address = (f"tcp://{host}:{port}", self._public)
        self.pushes: dict[int, zmq.Socket[bytes]] = {}
        self._known: dict[bytes, int] = {}

    def connect(self, roster: Roster) -> None:
        """Starts a connection to every other member, the next one first.

        From the next one on, so that not all knock at one door at once.
        """
        n = len(roster)
        self._known = {_raw(public): peer for peer, (_, public) in enumerate(roster)}
        for step in range(1, n):
            peer = (self._me + step) % n
            endpoint, public = roster[peer]
            push = self._context.socket(zmq.PUSH)
            push.linger = 0
            push.sndtimeo = int(PATIENCE_S * 1000)
            push.curve_secretkey = self._secret
            push.curve_publickey = self._public
            push.curve_serverkey = public
            push.connect(endpoint)
            self.pushes[peer] = push

    def prove(self) -> None:
        """Returns once every peer has answered my probe and I have answered his."""
        for push in self.pushes.values():
            push.send(PROBE)
        awaited = {(peer, kind) for peer in self.pushes for kind in (PROBE, ECHO)}
        poller = zmq.Poller()
        poller.register(self._zap, zmq.POLLIN)
        poller.register(self.pull, zmq.POLLIN)
        deadline = time.monotonic() + PATIENCE_S
        while awaited:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._me} still waits for {len(awaited)} probes and echoes")
            ready = dict(poller.poll(1000))
            if self._zap in ready:
                self._admit()
            if self.pull in ready:
                self._answer(awaited)

    def close(self) -> None:
        for socket in (*self.pushes.values(), self.pull, self._zap):
            socket.close()
        self._context.term()

    def _admit(self) -> None:
        """Answers all waiting ZAP requests: 200 and the member's number for a key of the roster."""
        while _is_readable(self._zap):
            version, request, *_, key = self._zap.recv_multipart()
            verdict = [b"400", b"unknown key", b""]
            if key in self._known:
                verdict = [b"200", b"OK", b"%d" % self._known[key]]
            self._zap.send_multipart([version, request, *verdict, b""])

    def _answer(self, awaited: set[tuple[int, bytes]]) -> None:
        """Reads all that has come in: probes are echoed; who sent them is the User-Id's to say."""
        while _is_readable(self.pull):
            frame = self.pull.recv(copy=False)
            peer, kind = int(frame.get("User-Id")), frame.bytes
            if kind == PROBE:
                self.pushes[peer].send(ECHO)
            awaited.discard((peer, kind))


def join(me: int, link: Connection, host: str = HOST) -> CurvePeer:
    """A member whose every connection is proven: keys, port, roster, connections, probes."""
    peer = CurvePeer(me, host)
    link.send(peer.address)
    peer.connect(link.recv())
    peer.prove()
    return peer


def _is_readable(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.get(zmq.EVENTS)) & zmq.POLLIN)


def _raw(public: bytes) -> bytes:
    """ZAP gives keys in 32 bytes, the sockets' options in Z85."""
    return z85.decode(public)
