"""The orchestrator's end of the control link: whom he expects, what they reported, his orders.

Any key may connect, and counts for nothing until it has enrolled with the token that one general
was handed. From then on that general is whoever bears that key: the User-Id of each message, not
the routing id under which it came. A routing id is a claim that another client can make first, so
that none is taken but those that the socket itself gave out.
"""

from __future__ import annotations

import hashlib
import math
import secrets
import select
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Final, Self, assert_never

import zmq

from node import control
from node.control import (
    Collect,
    Decided,
    Disband,
    Done,
    Enlisted,
    Enrol,
    Failed,
    JournalPart,
    NotReady,
    Order,
    Reached,
    Ready,
    Report,
    Roster,
)
from node.effects import Milestone
from node.links import Gate, TransportError, Troubles, Verdict, bind, descriptor, guard
from node.orders import GeneralId
from node.settings import PORT_FIRST, PORTS, TOKEN_BYTES
from node.signatures import is_admissible

CONTROL_DOMAIN: Final = b"command"
#: Reports that are read before the condition of a wait is looked at again.
REPORTS_PER_TURN: Final = 64
REQUESTS_PER_TURN: Final = 64
#: Reports that wait for the orchestrator, a general; journals come in pieces, many of them.
REPORTS_QUEUED_MAX: Final = 32
#: Whether a general who was dismissed has hung up is looked at so often, in seconds.
DISMISS_AGAIN_S: Final = 0.02


class Intrusion(StrEnum):
    """What somebody tried on the control link, to no effect."""

    CLAIMED_ROUTING_ID = "claimed_routing_id"
    NOT_ENROLLED = "not_enrolled"
    WRONG_TOKEN = "wrong_token"  # noqa: S105 - the name of a refusal
    TOKEN_TWICE = "token_twice"  # noqa: S105
    KEY_NOT_OWN = "key_not_own"
    KEY_TAKEN = "key_taken"
    BAD_SIGNING_KEY = "bad_signing_key"
    WRONG_ROUTE = "wrong_route"
    MALFORMED = "malformed"


@dataclass
class Standing:
    """What headquarters knows of one general: all that he has reported so far."""

    enrolment: Enrol | None = None
    is_ready: bool = False
    missing: tuple[GeneralId, ...] = ()
    #: The highest number reached of each milestone; that of the last Suffer or Turn carried out.
    reached: dict[Milestone, int] = field(default_factory=dict)
    done: int = 0
    decided: Decided | None = None
    journal: list[bytes] = field(default_factory=list)
    has_journal: bool = False
    failed: str | None = None


class Headquarters:
    """Bound on a free port of `host` until closed. One thread: words are heard inside `attend`.

    `endpoint` and `public` (Z85) are what a general needs besides his token. Generals who reach it
    from elsewhere know it as `advertised_host`.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        advertised_host: str | None = None,
        port_first: int = PORT_FIRST,
        ports: int = PORTS,
    ) -> None:
        self.standing: dict[GeneralId, Standing] = {}
        self.intrusions: Counter[Intrusion] = Counter()
        self.troubles: Troubles = Counter()
        self._general_of_token: dict[bytes, GeneralId] = {}
        self._general_of_user: dict[str, GeneralId] = {}
        self._routes: dict[GeneralId, bytes] = {}
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context(io_threads=1)
        self._gate = Gate(self._context, lambda _key: Verdict.ADMITTED, self.troubles)
        self._router = self._context.socket(zmq.ROUTER)
        public, secret = zmq.curve_keypair()
        guard(self._router, CONTROL_DOMAIN, secret, control.CONTROL_BYTES_MAX)
        self._router.router_mandatory = True
        self._router.rcvhwm = REPORTS_QUEUED_MAX
        try:
            port = bind(self._router, host, port_first, ports)
        except TransportError:
            self._context.destroy(linger=0)
            raise
        self.endpoint = f"tcp://{advertised_host or host}:{port}"
        self.public = public.decode()
        self._poll = select.poll()
        self._handlers: dict[int, Callable[[], bool]] = {}
        self._listen(descriptor(self._router), self._hear)
        self._listen(self._gate.fd, lambda: self._gate.serve(REQUESTS_PER_TURN))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def expect(self, general: GeneralId) -> bytes:
        """A token with which `general` can enrol, once. It is not kept here, only its digest."""
        token = secrets.token_bytes(TOKEN_BYTES)
        self._general_of_token[_digest(token)] = general
        self.standing[general] = Standing()
        return token

    def roster(self) -> Roster:
        """The keys and endpoints of all who enrolled, in ascending order of general."""
        return Roster(
            tuple(
                Enlisted(general, enrol.endpoint, enrol.curve_public, enrol.signing_public)
                for general, standing in sorted(self.standing.items())
                if (enrol := standing.enrolment) is not None
            )
        )

    def order(self, general: GeneralId, order: Order) -> bool:
        """Sends an order; whether the general has a link that could carry it."""
        return self._send(general, control.encode(order))

    def order_all(self, generals: Iterable[GeneralId], order: Order) -> None:
        data = control.encode(order)
        for general in generals:
            self._send(general, data)

    def collect(self, generals: Iterable[GeneralId]) -> None:
        """Asks for journals, from their beginning."""
        for general in generals:
            standing = self.standing[general]
            standing.journal.clear()
            standing.has_journal = False
            self.order(general, Collect())

    def dismiss(self, generals: Iterable[GeneralId], deadline_s: float) -> bool:
        """Sends Disband until all have hung up: a link that we end may take its last word along."""
        everyone = tuple(generals)

        def all_have_left() -> bool:
            told = [self.order(general, Disband()) for general in everyone]
            return not any(told)

        return self.attend(all_have_left, deadline_s, look_s=DISMISS_AGAIN_S)

    def also_listen(self, fd: int, handler: Callable[[], None]) -> None:
        """Calls `handler` inside `attend` whenever a descriptor that is not ours is readable."""

        def handled() -> bool:
            handler()
            return False

        self._listen(fd, handled)

    def stop_listening(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._handlers[fd]

    def attend(
        self, until: Callable[[], bool], deadline_s: float, look_s: float = math.inf
    ) -> bool:
        """Hears reports until the condition holds; whether it did by `deadline_s` (monotonic).

        What no report tells of is looked at every `look_s` seconds.
        """
        busy = set(self._handlers)
        while True:
            busy = {fd for fd in busy if fd in self._handlers and self._handlers[fd]()}
            if until():
                return True
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 and not busy:
                return False
            timeout_ms = 0 if busy else int(min(left_s, look_s) * 1000) + 1
            busy.update(fd for fd, _ in self._poll.poll(timeout_ms))

    def close(self) -> None:
        self._router.close(linger=0)
        self._gate.close()
        self._context.term()

    def _listen(self, fd: int, handler: Callable[[], bool]) -> None:
        self._handlers[fd] = handler
        self._poll.register(fd, select.POLLIN)

    def _send(self, general: GeneralId, data: bytes) -> bool:
        route = self._routes.get(general)
        if route is None:
            return False
        try:
            self._router.send_multipart((route, data), zmq.NOBLOCK)
        except zmq.ZMQError:
            # Gone, or so far behind that he hears nothing: either way he will be missed later.
            return False
        return True

    def _hear(self) -> bool:
        """Reads reports, at most a turn's worth; whether there may be more."""
        for _ in range(REPORTS_PER_TURN):
            try:
                route = self._router.recv(zmq.NOBLOCK)
                # Where an interrupt fell between the two, what is read as a route is a word.
                word = self._router.recv(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return False
            if word.more:
                self._skip_parts()
                self.intrusions[Intrusion.MALFORMED] += 1
                continue
            intrusion = self._judge(route, str(word.get("User-Id")), word.bytes)
            if intrusion is not None:
                self.intrusions[intrusion] += 1
        return True

    def _skip_parts(self) -> None:
        while self._router.get(zmq.RCVMORE):
            self._router.recv(zmq.NOBLOCK, copy=False)

    def _judge(self, route: bytes, user: str, data: bytes) -> Intrusion | None:
        """Takes one report in, or says why it counts for nothing."""
        if not route.startswith(b"\0"):
            return Intrusion.CLAIMED_ROUTING_ID
        report = control.decode_report(data)
        if report is None:
            return Intrusion.MALFORMED
        if isinstance(report, Enrol):
            return self._enrol(route, user, report)
        general = self._general_of_user.get(user)
        if general is None:
            return Intrusion.NOT_ENROLLED
        if self._routes[general] != route:
            return Intrusion.WRONG_ROUTE
        _take(self.standing[general], report)
        return None

    def _enrol(self, route: bytes, user: str, enrol: Enrol) -> Intrusion | None:
        """Accepts a token once; again from the same key only, whose connection was new-made."""
        general = self._general_of_token.get(_digest(enrol.token))
        if general is None:
            return Intrusion.WRONG_TOKEN
        if enrol.curve_public != user.encode():
            return Intrusion.KEY_NOT_OWN
        holder = self._general_of_user.get(user)
        known = self.standing[general].enrolment
        if known is not None and holder != general:
            return Intrusion.TOKEN_TWICE
        if holder not in (None, general) or self._is_taken(general, enrol.signing_public):
            return Intrusion.KEY_TAKEN
        if not is_admissible(enrol.signing_public):
            return Intrusion.BAD_SIGNING_KEY
        self._general_of_user[user] = general
        self._routes[general] = route
        if known is None:
            self.standing[general].enrolment = enrol
        return None

    def _is_taken(self, general: GeneralId, signing_public: bytes) -> bool:
        """Whether another general enrolled with that signing key: one key is one general."""
        return any(
            other != general and standing.enrolment.signing_public == signing_public
            for other, standing in self.standing.items()
            if standing.enrolment is not None
        )


def _take(standing: Standing, report: Report) -> None:
    """Enters a report of an enrolled general."""
    match report:
        case Ready():
            standing.is_ready = True
        case NotReady(missing):
            standing.missing = missing
        case Reached(milestone, number):
            standing.reached[milestone] = max(number, standing.reached.get(milestone, number))
        case Done(number):
            standing.done = number
        case Decided():
            standing.decided = report
        case JournalPart(data, last):
            standing.journal.append(data)
            standing.has_journal = last
        case Failed(reason):
            standing.failed = reason
        case Enrol():
            pass
        case _:
            assert_never(report)


def _digest(token: bytes) -> bytes:
    return hashlib.blake2b(token, digest_size=32).digest()
