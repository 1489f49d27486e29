"""Each general a container of his own, on networks of the run's own.

The generals speak to each other on `field` and to headquarters on `command`, whose gateway is an
address of this host. They are started while those who are up already enrol: on a machine of few
cores, starting is what takes the time.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from node.control import Disband
from node.links import TransportError
from node.orders import GeneralId
from node.settings import summons
from orchestrator import camp, images, quarters, subnets
from orchestrator.backends import BackendError, Mustered
from orchestrator.backends.fork_client import Child
from orchestrator.backends.processes import Processes
from orchestrator.camp import Camp, Watch
from orchestrator.casting import Cast
from orchestrator.engine import Engine, EngineError, connect
from orchestrator.faults import Cut, Disconnect, Fault, Kill, Pause
from orchestrator.headquarters import Headquarters

#: Seconds that generals have to enrol, and more of them for each: cores are few, and containers
#: start one after the other.
MUSTER_S: Final = 15.0
MUSTER_EACH_S: Final = 1.0
#: Seconds that generals have to end once they are told to; then they are killed.
DISBAND_S: Final = 2.0
DISBAND_EACH_S: Final = 0.2
#: Generals who are kept wait so long for an orchestrator to come back, in seconds: a day.
KEPT_S: Final = 86_400.0
#: As much of a container's id as people read.
SHORT_ID: Final = 12


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
        self._logs: Path | None = None

    @property
    def project(self) -> str | None:
        """The run's compose project, once there is one."""
        return self._camp.project if self._camp else None

    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        self._learn(cast)
        self._logs = logs
        muster_s = MUSTER_S + cast.n * MUSTER_EACH_S
        with _engine_errors():
            self._pitch(cast.n)
            self._call_all_up(cast, KEPT_S if self._keep else 2 * muster_s)
        self._await_enrolment(time.monotonic() + muster_s)
        roster, run, nonce = self._line_up(cast, muster_s)
        hosts = {general: id[:SHORT_ID] for general, id in sorted(self._container_of.items())}
        return Mustered(roster, run, nonce, hosts)

    def why_not(self, fault: Fault) -> str | None:
        if isinstance(fault, Cut | Disconnect | Pause | Kill):
            return "containers cannot be cut off, paused or killed yet: take --backend processes"
        return None

    def disband(self) -> None:
        with _undisturbed(), _engine_errors():
            try:
                self._leave()
            finally:
                self._strike()

    # Muster.

    def _pitch(self, n: int) -> None:
        """Networks, headquarters on one of them, and a watch over the containers to come."""
        self._engine = engine = connect(allow_remote=self._allow_remote)
        self._image = images.require(engine, images.GENERAL)
        try:
            pool = subnets.pool()
        except ValueError as error:
            raise EngineError(str(error)) from None
        self._camp = camp.pitch(engine, self._camp_id, n, pool)
        gateway = self._camp.command.gateway
        try:
            self._headquarters = Headquarters(gateway)
        except TransportError as error:
            raise EngineError(
                f"headquarters cannot listen on {gateway}, the gateway of network "
                f"{self._camp.command.name} ({error}): the engine at {engine.endpoint} has its "
                "networks on another machine; run byzantine there, or --backend processes"
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
        environment = {
            "BYZANTINE_BIND_HOST": self._camp.field.address(general),
            "BYZANTINE_PORT": str(quarters.FIELD_PORT),
            "BYZANTINE_PATIENCE": str(patience_s),
        }
        call = summons(token, self._hq.endpoint, self._hq.public)
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
                self._children[general].status = 128 - status if status > 128 else status
        if watch.is_blind:
            self._fault = self._fault or EngineError("the engine is gone")

    def _any_lost(self) -> bool:
        return self._fault is not None or super()._any_lost()

    def _is_lost(self, general: GeneralId) -> bool:
        return self._fault is not None or super()._is_lost(general)

    def _not_ready(self, generals: Iterable[GeneralId], why: str) -> BackendError:
        if self._fault is not None:
            return BackendError(str(self._fault))
        return super()._not_ready(generals, why)

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

    # The end.

    def _leave(self) -> None:
        """Tells the generals to end, unless they are kept, and closes headquarters."""
        if self._hands is not None:
            # What is being started is waited for: the engine would finish it anyway.
            self._hands.shutdown(wait=True, cancel_futures=True)
            self._hands = None
        if self._headquarters is not None:
            if not self._keep and self._watch is not None:
                self._end_generals(self._headquarters)
            self._headquarters.close()
            self._headquarters = None
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _end_generals(self, headquarters: Headquarters) -> None:
        called_up = [self._children[general] for general in self._container_of]

        def all_have_ended() -> bool:
            return self._fault is not None or all(child.has_ended for child in called_up)

        headquarters.order_all(self._children, Disband())
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
