"""Each general a container of his own, on networks of the run's own.

The generals speak to each other on `field` and to headquarters on `command`, whose gateway is an
address of this host. They are started while those who are up already enrol: on a machine of few
cores, starting is what takes the time.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from node.control import Disband
from node.links import TransportError
from node.orders import GeneralId
from node.settings import summons
from orchestrator import arp, camp, cuts, images, misfortunes, quarters, subnets
from orchestrator.backends import BackendError, FaultError, Mustered
from orchestrator.backends.fork_client import Child
from orchestrator.backends.processes import Processes
from orchestrator.camp import Camp, Watch
from orchestrator.casting import Cast
from orchestrator.cuts import Gate
from orchestrator.engine import Engine, EngineError, connect
from orchestrator.faults import Disconnect, Link, links_of
from orchestrator.headquarters import Headquarters

#: Seconds that generals have to enrol, and more of them for each: cores are few, and containers
#: start one after the other.
MUSTER_S: Final = 15.0
MUSTER_EACH_S: Final = 1.0
#: Seconds that generals have to end once they are told to; then they are killed.
DISBAND_S: Final = 2.0
DISBAND_EACH_S: Final = 0.2
#: Seconds until a link that is mended carries again: a sender who was not heard tries ever more
#: seldom, and begins anew once his heartbeats are missed.
FLOW_S: Final = 20.0
#: Generals who are kept wait so long for an orchestrator to come back, in seconds: a day.
KEPT_S: Final = 86_400.0


class Containers(Processes):
    """A run among containers. `keep`: they and their networks stay when it is over."""

    name = "containers"

    def __init__(self, *, allow_remote: bool = False, keep: bool = False) -> None:
        self._allow_remote = allow_remote
        self._keep = keep
        self._base_port = None
        self._clear()
        self._engine: Engine | None = None
        self._camp_id = camp.new_id()
        self._camp: Camp | None = None
        self._watch: Watch | None = None
        self._hands: ThreadPoolExecutor | None = None
        self._container_of: dict[GeneralId, str] = {}
        self._fault: BaseException | None = None
        #: What the host's kernel had dropped for want of room before the muster.
        self._times_full = 0
        self._logs: Path | None = None
        #: Links whose receiver's kernel drops what comes; how many packets it has dropped so far.
        self._held: frozenset[Link] = frozenset()
        self.dropped: Counter[Link] = Counter()
        #: Whose containers have left the field.
        self._gone: frozenset[GeneralId] = frozenset()
        self._counted: frozenset[Link] = frozenset()

    @property
    def project(self) -> str | None:
        """The run's compose project, once there is one."""
        return self._camp.project if self._camp else None

    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        self._learn(cast)
        self._logs = logs
        self._muster_s = muster_s = MUSTER_S + cast.n * MUSTER_EACH_S
        self._times_full = arp.times_full()
        with _engine_errors():
            self._engine = connect(allow_remote=self._allow_remote)
            self._open_headquarters(self._engine, self._pitch(self._engine, cast.n))
            self._call_all_up(cast, KEPT_S if self._keep else 2 * muster_s)
        self._await_enrolment(time.monotonic() + muster_s)
        roster, run, nonce = self._line_up(cast, muster_s)
        hosts = {general: id[: camp.SHORT_ID] for general, id in sorted(self._container_of.items())}
        return Mustered(roster, run, nonce, hosts)

    def disband(self) -> None:
        with _undisturbed(), _engine_errors():
            try:
                self._leave()
            finally:
                self._strike()

    # Muster.

    def _pitch(self, engine: Engine, n: int) -> str:
        """Makes the networks; this host's address on that of commands."""
        self._image = images.require(engine, images.GENERAL)
        try:
            pool = subnets.pool()
        except ValueError as error:
            raise EngineError(str(error)) from None
        self._camp = camp.pitch(engine, self._camp_id, n, pool)
        return self._camp.command.gateway

    def _open_headquarters(self, engine: Engine, gateway: str) -> None:
        """Headquarters at that address, and a watch over the containers to come."""
        try:
            self._headquarters = Headquarters(gateway)
        except TransportError as error:
            raise EngineError(
                f"headquarters cannot listen on {gateway}, the gateway of the network of commands "
                f"({error}): the engine at {engine.endpoint} has its networks on another machine; "
                "run byzantine there, or --backend processes"
            ) from error
        self._watch = Watch(engine, self._camp_id)
        self._hq.also_listen(self._watch.fd, self._hear_news)

    def _call_all_up(self, cast: Cast, patience_s: float) -> None:
        """Starts the containers, a few at a time; who waits hears who is up already."""
        self._hands = ThreadPoolExecutor(camp.HANDS, thread_name_prefix="call-up")
        for part in cast.parts:
            general = part.general
            self._children[general] = Child(ticket=general)
            token = self._hq.expect(general)
            called = self._hands.submit(self._put_up, general, token, patience_s)
            called.add_done_callback(self._is_called_up)

    def _put_up(self, general: GeneralId, token: bytes, patience_s: float) -> None:
        assert self._camp is not None
        call = summons(token, self._hq.endpoint, self._hq.public)
        environment = self._camp.post(general, patience_s)
        id = self._camp.put_up(general, self._image, environment, call)
        self._container_of[general] = id

    def _is_called_up(self, called: Future[None]) -> None:
        """In the thread that did it: wakes who waits for news, of what went wrong too."""
        if called.cancelled():
            return
        self._fault = self._fault or called.exception()
        if self._watch is not None:
            # He may have ended before anyone knew whose container that was.
            self._watch.ring()

    def _hear_news(self) -> None:
        """Enters who has ended."""
        if (watch := self._watch) is None:
            return
        watch.hear()
        for general, id in tuple(self._container_of.items()):
            if id in watch.ended:
                status = watch.ended[id]
                # The engine tells a signal as a shell does.
                child = self._restarted.get(general, self._children[general])
                child.status = 128 - status if status > 128 else status
        if watch.is_blind:
            self._fault = self._fault or EngineError("the engine is gone")

    def _any_lost(self) -> bool:
        return self._fault is not None or super()._any_lost()

    def _is_lost(self, general: GeneralId) -> bool:
        return self._fault is not None or super()._is_lost(general)

    def _not_ready(self, generals: Iterable[GeneralId], why: str) -> BackendError:
        if self._fault is not None:
            return BackendError(str(self._fault))
        told = super()._not_ready(generals, why)
        if arp.times_full() == self._times_full:
            return told
        needed = arp.entries_of(len(self._children))
        return BackendError(
            f"{told}; meanwhile this host's ARP table was full, of which they need {needed:,} "
            f"entries beside what else is up: {arp.advice(needed)}"
        )

    def _end_of(self, general: GeneralId) -> str | None:
        """How a general came to an end; the kernel's own hand is told by the engine alone."""
        if self._children[general].status == -signal.SIGKILL and self._was_too_big(general):
            return f"his container went beyond its {quarters.MEMORY_BYTES >> 20} MiB of memory"
        told = super()._end_of(general)
        if told is None or self._hq.standing[general].failed is not None:
            return told
        last = self._last_words(general)
        return told.replace("its process", "his container") + (last and f": {last}")

    def _last_words(self, general: GeneralId) -> str:
        """The last line that a general's container put out; empty where there is none."""
        assert self._engine is not None
        with suppress(EngineError):
            return camp.last_words(self._engine, self._container_of[general])
        return ""

    def _was_too_big(self, general: GeneralId) -> bool:
        assert self._engine is not None
        try:
            found = self._engine.client.api.inspect_container(self._container_of[general])
        except Exception:
            return False
        return bool(found["State"]["OOMKilled"])

    # What befalls the generals: the links by their kernels, the rest by the engine.

    def _cut_in_messages(self) -> frozenset[Link]:
        return frozenset()

    def _cut(self, links: frozenset[Link]) -> None:
        """Holds these links and no others, and waits until those that are mended carry again."""
        gone = frozenset(f.general for f in self._faults if isinstance(f, Disconnect))
        n = len(self._children)
        with _fault_errors():
            self._move(gone)
            mended = self._held - links
            for general in self._gone - gone:
                mended |= links_of(general, n) - links
            self._gone = gone
            # Who cannot be heard for another reason is not waited for.
            deaf = gone | self._paused | {g for g in self._children if self._is_lost(g)}
            mended = frozenset(link for link in mended if not deaf.intersection(link))
            self._hold(links, mended)
            if mended:
                gates = {self._address(general): self._gate(general) for _, general in mended}
                flows = {(self._address(a), self._address(b)) for a, b in mended}
                cuts.await_flow(gates, flows, time.monotonic() + FLOW_S)
                self._hold(links, frozenset())

    def _move(self, gone: frozenset[GeneralId]) -> None:
        """Takes those off the field, and the others back to it."""
        assert self._engine is not None
        for general in sorted(gone - self._gone):
            misfortunes.disconnect(self._engine, self._camp_id, self._container_of[general])
        for general in sorted(self._gone - gone):
            misfortunes.connect(
                self._engine, self._camp_id, self._container_of[general], self._address(general)
            )

    def _hold(self, links: frozenset[Link], counted: frozenset[Link]) -> None:
        """Sets the rules of every receiver whom that concerns, a few at a time."""
        concerned = {b for _, b in self._held ^ links} | {b for _, b in counted | self._counted}

        def set_at(receiver: GeneralId) -> None:
            before = self._gate(receiver).hold(
                *(
                    [self._address(a) for a, b in sorted(some) if b == receiver]
                    for some in (links, counted)
                )
            )
            for sender in self._children:
                self.dropped[sender, receiver] += before.get(self._address(sender), 0)

        with ThreadPoolExecutor(camp.HANDS) as hands:
            there = [g for g in concerned if not self._is_lost(g)]
            list(hands.map(set_at, there))
        self._held, self._counted = links, counted

    def _gate(self, general: GeneralId) -> Gate:
        assert self._engine is not None
        image = images.LINK_FAULT.name
        return Gate(self._engine, image, self._camp_id, self._container_of[general])

    def _address(self, general: GeneralId) -> str:
        assert self._camp is not None
        return self._camp.field.address(general)

    def _pause(self, general: GeneralId) -> None:
        self._befall(general, misfortunes.pause)

    def _unpause(self, general: GeneralId) -> None:
        self._befall(general, misfortunes.unpause)

    def _kill(self, general: GeneralId) -> None:
        self._befall(general, misfortunes.kill)
        child = self._children[general]
        if not self._hq.attend(lambda: child.has_ended, time.monotonic() + misfortunes.STATE_S):
            raise FaultError(f"nobody has told that general {general}'s container ended")

    def _befall(self, general: GeneralId, misfortune: Callable[[Engine, str], None]) -> None:
        assert self._engine is not None
        with _fault_errors():
            misfortune(self._engine, self._container_of[general])

    def _call_up_as(self, number: GeneralId, general: GeneralId) -> Child:
        assert self._engine is not None
        assert self._watch is not None
        container = self._container_of[general]
        call = summons(self._hq.expect(number), self._hq.endpoint, self._hq.public)
        self._watch.forget(container)
        with _fault_errors():
            misfortunes.restart(self._engine, container, call)
        return Child(ticket=number)

    # The end.

    def _leave(self) -> None:
        """Tells the generals to end, unless they are kept, and closes headquarters."""
        if self._hands is not None:
            # What is being started is waited for: the engine would finish it anyway.
            self._hands.shutdown(wait=True, cancel_futures=True)
            self._hands = None
        if self._headquarters is not None:
            if self._watch is not None:
                self._part(self._headquarters)
            self._headquarters.close()
            self._headquarters = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _part(self, headquarters: Headquarters) -> None:
        """The last word to the generals: to end, and that they do; those who are kept have none."""
        if self._keep:
            return
        called_up = [self._children[general] for general in self._container_of]
        called_up += self._restarted.values()

        def all_have_ended() -> bool:
            return self._fault is not None or all(child.has_ended for child in called_up)

        headquarters.order_all(headquarters.standing, Disband())
        disband_s = DISBAND_S + len(called_up) * DISBAND_EACH_S
        headquarters.attend(all_have_ended, time.monotonic() + disband_s)

    def _strike(self) -> None:
        """Saves the logs and leaves nothing behind, unless it is to be kept."""
        if self._engine is None:
            return
        with closing(self._engine) as engine, ExitStack() as duties:
            if not self._keep:
                duties.callback(camp.strike, engine, self._camp_id)
            if self._logs is not None:
                camp.save_logs(engine, self._camp_id, self._logs)
        self._engine = None


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise BackendError(str(error)) from error


@contextmanager
def _fault_errors() -> Iterator[None]:
    try:
        yield
    except EngineError as error:
        raise FaultError(str(error)) from error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keeps a second Ctrl-C from interrupting what clears up after the first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
