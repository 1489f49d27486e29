"""Each general an operating-system process of its own, forked from one warm parent.

The processes speak over CURVE on 127.0.0.1 and nothing else. Whatever happens here, a general's
process ends: by an order, by the fork server's hand, or because the fork server is gone.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from node.control import Decided, Disband, Muster, Roster, Start, run_id
from node.links import TransportError
from node.orders import GeneralId
from node.protocols import catalogue
from node.runtime import STATUS_NOWHERE, STATUSES
from node.settings import PORT_FIRST, PORTS, Settings
from orchestrator.backends import Backend, BackendError, Mustered
from orchestrator.backends.fork_client import Child, ForkServer
from orchestrator.casting import Cast, Part
from orchestrator.headquarters import Headquarters

HOST: Final = "127.0.0.1"
#: Seconds that generals have to enrol, and then to prove their links.
MUSTER_S: Final = 15.0
#: Seconds beyond all rounds' deadlines that a general may still calculate.
CALCULATION_S: Final = 60.0
#: Seconds that journals may take to arrive.
COLLECT_S: Final = 60.0
#: Seconds that generals have to end once they are told to; then they are killed.
DISBAND_S: Final = 1.0
#: How long before it the common start is announced: enough for the word to get around.
NOTICE_S: Final = 0.003
NOTICE_EACH_S: Final = 0.0003
NONCE_BYTES: Final = 32


class Processes(Backend):
    """A run among processes. `base_port`: general k listens there + k; else on any free port.

    `forks` is a fork server that outlives the run; without one the run has its own.
    """

    name = "processes"

    def __init__(
        self,
        base_port: int | None = None,
        forks: ForkServer | None = None,
        muster_s: float = MUSTER_S,
    ) -> None:
        self._base_port = base_port
        self._muster_s = muster_s
        self._own_forks = ForkServer() if forks is None else None
        self._forks = forks or self._own_forks
        self._headquarters: Headquarters | None = None
        self._children: dict[GeneralId, Child] = {}
        self._silence_s = 0.0

    def muster(self, cast: Cast, logs: Path | None) -> Mustered:
        self._silence_s = CALCULATION_S + _deadlines_s(cast)
        deadline_s = time.monotonic() + self._muster_s
        self._open(cast.n)
        self._server.warm(cast.parts[0].brief)
        for part in cast.parts:
            log = logs / f"general-{part.general}.log" if logs else None
            self._children[part.general] = self._call_up(part.general, log)
        self._await_enrolment(deadline_s)
        roster, nonce = self._hq.roster(), secrets.token_bytes(NONCE_BYTES)
        run = run_id(roster, cast.scenario, nonce)
        for part in cast.parts:
            self._hq.order(part.general, _orders(part, cast, run, roster, self._muster_s))
        self._await_barrier(time.monotonic() + self._muster_s)
        hosts = {general: str(child.pid) for general, child in self._children.items()}
        return Mustered(roster, run, nonce, hosts)

    def command(self, on_decided: Callable[[GeneralId], None]) -> dict[GeneralId, Decided]:
        told: set[GeneralId] = set()

        def all_are_done() -> bool:
            for general in self._decisions().keys() - told:
                told.add(general)
                on_decided(general)
            return all(self._is_done(general) for general in self._children)

        notice_s = NOTICE_S + len(self._children) * NOTICE_EACH_S
        self._hq.order_all(self._children, Start(time.monotonic() + notice_s))
        self._hq.attend(all_are_done, time.monotonic() + self._silence_s)
        return self._decisions()

    def collect(self) -> dict[GeneralId, bytes]:
        present = self._present()
        self._hq.collect(present)
        standing = self._hq.standing
        self._hq.attend(
            lambda: all(standing[g].has_journal or self._is_lost(g) for g in present),
            time.monotonic() + COLLECT_S,
        )
        return {g: b"".join(standing[g].journal) for g in present if standing[g].has_journal}

    def disband(self) -> None:
        if self._headquarters is not None:
            self._end_generals(self._headquarters)
            self._headquarters.close()
            self._headquarters = None
        if self._own_forks is not None:
            self._own_forks.close()
            self._own_forks = None

    @property
    def _hq(self) -> Headquarters:
        if self._headquarters is None:
            raise BackendError("nobody is mustered")
        return self._headquarters

    # Muster.

    def _open(self, n: int) -> None:
        """Headquarters of this run, at the port behind the generals' where ports are given."""
        base = self._base_port
        first, ports = (PORT_FIRST, PORTS) if base is None else (base + n, 1)
        try:
            self._headquarters = Headquarters(HOST, port_first=first, ports=ports)
        except TransportError as fault:
            raise BackendError(f"the orchestrator cannot listen: {fault}") from fault
        self._headquarters.also_listen(self._server.fd, self._server.listen)

    @property
    def _server(self) -> ForkServer:
        if self._forks is None:
            raise BackendError("the fork server has been closed")
        return self._forks

    def _call_up(self, general: GeneralId, log: Path | None) -> Child:
        return self._server.fork(self._settings(general), log)

    def _settings(self, general: GeneralId) -> Settings:
        base = self._base_port
        return Settings(
            headquarters=self._hq.endpoint,
            headquarters_key=self._hq.public,
            token=self._hq.expect(general),
            bind_host=HOST,
            advertised_host=HOST,
            port_first=PORT_FIRST if base is None else base + general,
            ports=PORTS if base is None else 1,
        )

    def _await_enrolment(self, deadline_s: float) -> None:
        standing = self._hq.standing

        def is_settled() -> bool:
            return self._any_lost() or all(one.enrolment is not None for one in standing.values())

        self._hq.attend(is_settled, deadline_s)
        absent = [general for general, one in standing.items() if one.enrolment is None]
        lost = [general for general in self._children if self._is_lost(general)]
        if absent or lost:
            raise self._not_ready(lost or absent, "it never enrolled")

    def _await_barrier(self, deadline_s: float) -> None:
        standing = self._hq.standing

        def is_settled() -> bool:
            return self._any_lost() or all(one.is_ready for one in standing.values())

        if self._hq.attend(is_settled, deadline_s) and not self._any_lost():
            return
        lost = [general for general in self._children if self._is_lost(general)]
        raise self._not_ready(lost or self._blamed(), "its links never carried a message both ways")

    def _blamed(self) -> list[GeneralId]:
        """Whom most generals miss; where none could say, those who are not ready."""
        standing = self._hq.standing
        missed = Counter(general for one in standing.values() for general in one.missing)
        if not missed:
            return [general for general, one in standing.items() if not one.is_ready]
        most = max(missed.values())
        return sorted(general for general, times in missed.items() if times == most)

    def _not_ready(self, generals: Iterable[GeneralId], why: str) -> BackendError:
        reasons = [f"node {g} not ready: {self._end_of(g) or why}" for g in sorted(generals)]
        return BackendError("; ".join(reasons))

    # Who is still there.

    def _any_lost(self) -> bool:
        return any(map(self._is_lost, self._children))

    def _is_lost(self, general: GeneralId) -> bool:
        return self._children[general].has_ended or self._hq.standing[general].failed is not None

    def _end_of(self, general: GeneralId) -> str | None:
        """How a general came to an end, for people; None where he still runs."""
        failed, status = self._hq.standing[general].failed, self._children[general].status
        if failed is not None:
            return failed
        if status is None:
            return None
        if status < 0:
            return f"its process was ended by signal {-status}"
        if status == STATUS_NOWHERE and self._base_port is not None:
            port = self._base_port + general
            return f"it could not listen on port {port}: choose another --base-port"
        return f"{STATUSES.get(status, 'it failed')} (exit status {status})"

    def _present(self) -> list[GeneralId]:
        return [general for general in self._children if not self._is_lost(general)]

    def _is_done(self, general: GeneralId) -> bool:
        decided = self._hq.standing[general].decided
        return self._is_lost(general) or (decided is not None and decided.is_done)

    def _decisions(self) -> dict[GeneralId, Decided]:
        return {
            general: one.decided
            for general, one in sorted(self._hq.standing.items())
            if one.decided is not None
        }

    # The end.

    def _end_generals(self, headquarters: Headquarters) -> None:
        def all_have_ended() -> bool:
            return all(child.has_ended for child in self._children.values())

        headquarters.order_all(self._children, Disband())
        if not headquarters.attend(all_have_ended, time.monotonic() + DISBAND_S):
            for child in self._children.values():
                if not child.has_ended:
                    self._server.kill(child)
            headquarters.attend(all_have_ended, time.monotonic() + DISBAND_S)
        headquarters.stop_listening(self._server.fd)
        self._children.clear()


def _orders(part: Part, cast: Cast, run: bytes, roster: Roster, wait_s: float) -> Muster:
    return Muster(
        me=part.general,
        run=run,
        roster=roster,
        brief=part.brief,
        role=part.role,
        seed=cast.seed,
        wait_s=wait_s,
    )


def _deadlines_s(cast: Cast) -> float:
    """All rounds' lengths together, and one more for who speaks late."""
    brief = cast.parts[0].brief
    return (catalogue.rounds(brief) + 1) * brief.delta_s
