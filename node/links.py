"""CURVE sockets: the field between generals, and the control link to the orchestrator.

The one importer of zmq in this package. Who sent a frame (A2) is the CURVE key that the transport
proved, which ZeroMQ hands over with each frame as its User-Id: never a routing id, never an
address, never a field of the message.

Nothing here blocks and nothing here runs in a thread of its own. Every socket shows a file
descriptor to poll; once that is readable its owner drains the socket until nothing is left, because
the descriptor tells of a change and not of a state.
"""

from __future__ import annotations

import errno
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum, StrEnum
from typing import Final, Protocol, Self, TypeAlias

import zmq
from zmq.utils import z85

from node import control
from node.control import Order, Report, Roster
from node.orders import GeneralId
from node.settings import Settings
from node.wire import FRAME_BYTES_MAX

ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
FIELD_DOMAIN: Final = b"field"
#: What CURVE adds to a message on the wire, in bytes: name, nonce, authenticator and flags.
CURVE_OVERHEAD_BYTES: Final = 33
#: Frames that wait on one link, at each of its ends. A loyal lockstep general sends one a round.
LINK_FRAMES_MAX: Final = 64
#: Who has not proven his key after so long is put out, in milliseconds.
HANDSHAKE_MS: Final = 2_500
#: libzmq waits 100 ms before a second attempt by default, which would be felt at every start.
RECONNECT_MS: Final = 5
RECONNECT_MS_MAX: Final = 200
#: A peer who does not answer is asked anew after so long, in milliseconds: the kernel by itself
#: would ask ever more seldom.
CONNECT_MS: Final = 1_000
#: Without heartbeats nothing notices a peer that was stopped or cut off, in milliseconds.
HEARTBEAT_MS: Final = 1_000
HEARTBEAT_TIMEOUT_MS: Final = 3_000
#: Connections that one key may open at once, and how many more each second.
CONNECTIONS_AT_ONCE: Final = 4
CONNECTIONS_PER_S: Final = 1.0
#: Ports that are tried before a general gives up.
BIND_TRIES: Final = 500
#: Waiting connections that the kernel keeps for a general: a whole mesh knocks at once.
BACKLOG: Final = 1_024

#: Plain numbers, which libzmq takes without looking them up.
_EVENTS: Final = int(zmq.EVENTS)
_POLLIN: Final = int(zmq.POLLIN)
_MORE: Final = int(zmq.MORE)
_HANDSHAKE_FAILURES: Final = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


class Trouble(StrEnum):
    """What a transport sees and survives."""

    UNKNOWN_KEY = "unknown_key"
    HANDSHAKE_FAILED = "handshake_failed"
    HANDLER_RAISED = "handler_raised"
    RECONNECTED = "reconnected"
    CONNECTIONS_REFUSED = "connections_refused"
    MULTIPART = "multipart"
    LINK_FULL = "link_full"
    NO_SUCH_PEER = "no_such_peer"


#: How often each trouble was seen, by the general that it is charged to where one was proven.
Troubles: TypeAlias = Counter[tuple[Trouble, GeneralId | None]]


class TransportError(Exception):
    """The transport cannot be used, or has broken a promise that everything rests on."""


class Verdict(Enum):
    """A ZAP status. LATER closes the connection, and the client tries again by himself."""

    ADMITTED = b"200"
    LATER = b"300"
    REFUSED = b"400"


class Gate:
    """The ZAP handler of one context. To be made before any CURVE server of it binds.

    `admits` judges a client's CURVE key, 32 bytes. An admitted client's User-Id is his key in Z85.
    Requests wait, unanswered, until `serve` is called: nobody is let in before.
    """

    def __init__(
        self, context: zmq.Context[zmq.Socket[bytes]], admits: Admission, troubles: Troubles
    ) -> None:
        self._admits = admits
        self._troubles = troubles
        self._socket = context.socket(zmq.REP)
        self._socket.linger = 0
        self._socket.rcvhwm = 0
        self._socket.bind(ZAP_ENDPOINT)
        self.fd = descriptor(self._socket)

    def serve(self, requests_max: int) -> bool:
        """Answers waiting requests; whether there may be more of them."""
        for _ in range(requests_max):
            try:
                request = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return False
            self._socket.send_multipart(self._answer(request))
        return True

    def close(self) -> None:
        self._socket.close()

    def _answer(self, request: list[bytes]) -> list[bytes]:
        """The reply to one request. Total: a handler that raises hangs all later handshakes."""
        is_curve = len(request) == 7 and request[5] == b"CURVE" and len(request[6]) == 32
        key = request[6] if is_curve else b""
        try:
            verdict = self._admits(key) if is_curve else Verdict.REFUSED
            user = z85.encode(key) if verdict is Verdict.ADMITTED else b""
        except Exception:
            self._troubles[Trouble.HANDLER_RAISED, None] += 1
            verdict, user = Verdict.REFUSED, b""
        return [b"1.0", request[1], verdict.value, verdict.name.encode(), user, b""]


Admission: TypeAlias = Callable[[bytes], Verdict]


class KeyPair:
    """A CURVE key pair, made here; its secret half is given to sockets alone."""

    def __init__(self, public: bytes, secret: bytes) -> None:
        self.public = public
        self.secret = secret

    @classmethod
    def new(cls) -> Self:
        return cls(*zmq.curve_keypair())

    def __repr__(self) -> str:
        return f"KeyPair({self.fingerprint})"

    @property
    def fingerprint(self) -> str:
        """16 hex digits of the BLAKE2b of the public key."""
        return fingerprint(self.public)


def fingerprint(curve_public: bytes) -> str:
    """A CURVE public key, in Z85, as people compare it."""
    return hashlib.blake2b(curve_public, digest_size=8).hexdigest()


class Place(Protocol):
    """Where to listen: the first free port of a range, and as whom others know the host."""

    @property
    def bind_host(self) -> str: ...

    @property
    def advertised_host(self) -> str: ...

    @property
    def port_first(self) -> int: ...

    @property
    def ports(self) -> int: ...


class Field:
    """One general's links to all others: a PULL bound, a PUSH to each peer, all under CURVE.

    `endpoint` and `public` are what the others need; nobody is let in before `deploy` has told who
    they are. Without `keys` he makes some.
    """

    def __init__(self, settings: Place, keys: KeyPair | None = None) -> None:
        self.troubles: Troubles = Counter()
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        keys = keys or KeyPair.new()
        self.public, self._secret = keys.public, keys.secret
        self._gate = Gate(self.context, self._admit, self.troubles)
        self._connections = Connections()
        self._general_of_key: dict[bytes, GeneralId] = {}
        self._general_of_user: dict[str, GeneralId] = {}
        self._pushes: dict[GeneralId, zmq.Socket[bytes]] = {}
        self._is_in_multipart = False
        self._pull = self._bind(settings)
        self._recv, self._look = self._pull.recv, self._pull.getsockopt
        self._alarm = self._watch()
        self.fd = descriptor(self._pull)
        self.gate_fd = self._gate.fd
        self.alarm_fd = descriptor(self._alarm)

    def deploy(self, me: GeneralId, roster: Roster) -> None:
        """Lets the roster's generals in and starts a connection to each, the next one first.

        From the next one on, so that not all knock at one door at once.
        """
        peers = [entry for entry in roster.generals if entry.general != me]
        self._general_of_key = {z85.decode(entry.curve_public): entry.general for entry in peers}
        self._general_of_user = {entry.curve_public.decode(): entry.general for entry in peers}
        for entry in sorted(peers, key=lambda entry: (entry.general < me, entry.general)):
            self._pushes[entry.general] = self._connect(entry.endpoint, entry.curve_public)
        self._sends = {general: push.send for general, push in self._pushes.items()}

    def deliver(self, to: Iterable[GeneralId], data: bytes) -> None:
        """The same bytes to each. A full link never blocks the general: it drops, and counts."""
        sends = self._sends
        for general in to:
            try:
                sends[general](data, zmq.NOBLOCK)
            except zmq.Again:
                self.troubles[Trouble.LINK_FULL, general] += 1
            except KeyError:
                self.troubles[Trouble.NO_SUCH_PEER, general] += 1

    def drain(self, frames_max: int) -> list[tuple[GeneralId, bytes]]:
        """What has arrived, oldest first a link, links in turn; fewer than asked: that was all.

        Links are read in turn by libzmq, so whoever floods is one voice among n. TransportError
        where a frame comes without a proven sender.
        """
        heard: list[tuple[GeneralId, bytes]] = []
        recv, look, general_of = self._recv, self._look, self._general_of_user
        try:
            # To look whether there is more costs a fifth of asking for more in vain.
            while not heard or (len(heard) < frames_max and int(look(_EVENTS)) & _POLLIN):
                frame = recv(zmq.NOBLOCK, False)
                sender = general_of[frame.get("User-Id")]  # type: ignore[index]
                # By its number: pyzmq takes three times as long over the attribute.
                if frame.get(_MORE) or self._is_in_multipart:
                    heard.append((sender, self._skip(frame, sender)))
                else:
                    heard.append((sender, frame.bytes))
        except zmq.Again:
            pass
        except (KeyError, zmq.ZMQError) as error:
            raise TransportError(f"a frame without a proven sender: {error!r}") from error
        return heard

    def admit(self, requests_max: int) -> bool:
        """Judges those who knock; whether there may be more of them."""
        return self._gate.serve(requests_max)

    def hear_alarms(self) -> None:
        """Counts handshakes that failed before any key was proven."""
        try:
            while True:
                self._alarm.recv_multipart(zmq.NOBLOCK)
                self.troubles[Trouble.HANDSHAKE_FAILED, None] += 1
        except zmq.Again:
            return

    def close(self) -> None:
        """Ends all links at once: what was not yet sent is lost."""
        self._pull.disable_monitor()
        for socket in (*self._pushes.values(), self._pull, self._alarm):
            socket.close(linger=0)
        self._gate.close()
        self.context.term()

    def client(self, kind: int, server_key: bytes) -> zmq.Socket[bytes]:
        """A socket that will connect as this general to the server with that key."""
        socket = self.context.socket(kind)
        introduce(socket, self.public, self._secret, server_key)
        socket.connect_timeout = CONNECT_MS
        return socket

    def _bind(self, settings: Place) -> zmq.Socket[bytes]:
        pull = self.context.socket(zmq.PULL)
        guard(pull, FIELD_DOMAIN, self._secret, FRAME_BYTES_MAX)
        pull.rcvhwm = LINK_FRAMES_MAX
        try:
            port = bind(pull, settings.bind_host, settings.port_first, settings.ports)
        except TransportError:
            # A context that is collected with an open socket waits for it for ever.
            self.context.destroy(linger=0)
            raise
        self.endpoint = f"tcp://{settings.advertised_host}:{port}"
        return pull

    def _watch(self) -> zmq.Socket[bytes]:
        """The socket that tells of failed handshakes. Unbounded: a full one would halt libzmq."""
        self._pull.monitor("inproc://field-alarm", _HANDSHAKE_FAILURES)
        alarm = self.context.socket(zmq.PAIR)
        alarm.rcvhwm = 0
        alarm.connect("inproc://field-alarm")
        return alarm

    def _connect(self, endpoint: str, server_key: bytes) -> zmq.Socket[bytes]:
        push = self.client(zmq.PUSH, server_key)
        push.sndhwm = LINK_FRAMES_MAX
        push.connect(endpoint)
        return push

    def _admit(self, key: bytes) -> Verdict:
        """Generals of the roster, each at a rate that suits somebody who was cut off at times."""
        general = self._general_of_key.get(key)
        if general is None:
            self.troubles[Trouble.UNKNOWN_KEY, None] += 1
            return Verdict.REFUSED
        if not self._connections.allow(general, time.monotonic()):
            self.troubles[Trouble.CONNECTIONS_REFUSED, general] += 1
            return Verdict.LATER
        if self._connections.opened[general] > 1:
            self.troubles[Trouble.RECONNECTED, general] += 1
        return Verdict.ADMITTED

    def _skip(self, frame: zmq.Frame, sender: GeneralId) -> bytes:
        """A message of several parts is none of ours. Each part comes to nothing, and counts."""
        self._is_in_multipart = bool(frame.more)
        self.troubles[Trouble.MULTIPART, sender] += 1
        return b""


class Connections:
    """How many connections each general has opened, and whether he may open one more now."""

    def __init__(self) -> None:
        self.opened: Counter[GeneralId] = Counter()
        self._credit: dict[GeneralId, tuple[float, float]] = {}

    def allow(self, general: GeneralId, at_s: float) -> bool:
        credit, since_s = self._credit.get(general, (CONNECTIONS_AT_ONCE, at_s))
        credit = min(CONNECTIONS_AT_ONCE, credit + (at_s - since_s) * CONNECTIONS_PER_S)
        is_allowed = credit >= 1.0
        self._credit[general] = (credit - is_allowed, at_s)
        self.opened[general] += is_allowed
        return is_allowed


class Control:
    """A general's own link to the orchestrator, under the same key as his links to the others."""

    def __init__(self, field: Field, settings: Settings) -> None:
        self._socket = field.client(zmq.DEALER, settings.headquarters_key.encode())
        self._socket.maxmsgsize = control.CONTROL_BYTES_MAX + CURVE_OVERHEAD_BYTES
        self._socket.sndhwm = 0  # What a general has to report, he holds in memory anyway.
        # A link that is down has no queue, so that `look` tells the truth.
        self._socket.immediate = True
        self._socket.connect(settings.headquarters)
        self.fd = descriptor(self._socket)

    def look(self) -> tuple[bool, bool]:
        """Whether the orchestrator's key is proven and the link stands; whether orders wait.

        To be asked last before the descriptor is polled again, for any other use of the socket may
        take in what the descriptor tells of.
        """
        events = int(self._socket.get(zmq.EVENTS))
        return bool(events & zmq.POLLOUT), bool(events & zmq.POLLIN)

    def report(self, report: Report) -> bool:
        """Hands a report over; whether there was a link to carry it."""
        try:
            self._socket.send(control.encode(report), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def orders(self) -> list[Order]:
        """What the orchestrator has said since. What is no order is left out."""
        said: list[Order] = []
        try:
            while True:
                order = control.decode_order(self._socket.recv(zmq.NOBLOCK))
                if order is not None:
                    said.append(order)
        except zmq.Again:
            return said

    def close(self, linger_ms: int) -> None:
        """Ends the link; last words have `linger_ms` milliseconds to leave."""
        self._socket.close(linger=linger_ms)


def guard(socket: zmq.Socket[bytes], domain: bytes, secret: bytes, bytes_max: int) -> None:
    """Makes a socket a CURVE server whose clients must all pass the gate of its context."""
    socket.curve_server = True
    socket.curve_secretkey = secret
    socket.zap_domain = domain
    socket.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.maxmsgsize = bytes_max + CURVE_OVERHEAD_BYTES
    socket.handshake_ivl = HANDSHAKE_MS
    socket.backlog = BACKLOG
    socket.linger = 0


def introduce(socket: zmq.Socket[bytes], public: bytes, secret: bytes, server_key: bytes) -> None:
    """Makes a socket a CURVE client of the server with that key; all keys are in Z85."""
    socket.curve_publickey = public
    socket.curve_secretkey = secret
    socket.curve_serverkey = server_key
    socket.linger = 0
    socket.handshake_ivl = HANDSHAKE_MS
    socket.reconnect_ivl = RECONNECT_MS
    socket.reconnect_ivl_max = RECONNECT_MS_MAX
    socket.heartbeat_ivl = HEARTBEAT_MS
    socket.heartbeat_timeout = HEARTBEAT_TIMEOUT_MS


def descriptor(socket: zmq.Socket[bytes]) -> int:
    """What to poll. It tells that something changed; reading until nothing is left tells what."""
    return int(socket.get(zmq.FD))


def bind(socket: zmq.Socket[bytes], host: str, port_first: int, ports: int) -> int:
    """Binds the first port that is free, from a random one of the range on, and returns it."""
    start = random.SystemRandom().randrange(ports)
    for step in range(min(ports, BIND_TRIES)):
        port = port_first + (start + step) % ports
        try:
            socket.bind(f"tcp://{host}:{port}")
        except zmq.ZMQError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise TransportError(f"cannot listen on {host}:{port}: {error}") from error
        else:
            return port
    last = port_first + ports - 1
    raise TransportError(f"no free port on {host} in {port_first} .. {last}")
