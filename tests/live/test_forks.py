"""The fork server: one warm parent, and nothing that outlives it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.endings import STATUS_DISMISSED, STATUS_NOWHERE, STATUS_ORPHANED
from node.orders import Brief
from node.settings import Settings
from orchestrator.backends import BackendError
from orchestrator.backends.fork_client import Child, ForkServer
from orchestrator.headquarters import Headquarters
from tests.live.conftest import settings, until


@pytest.fixture
def server() -> Iterator[ForkServer]:
    with ForkServer() as server:
        yield server


@pytest.fixture
def headquarters() -> Iterator[Headquarters]:
    with Headquarters() as headquarters:
        yield headquarters


def runs(pid: int | None) -> bool:
    """Whether a process is there and no zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return text.rpartition(")")[2].split()[0] not in "ZX"


def enlisted(server: ForkServer, hq: Headquarters, count: int, **more: object) -> list[Child]:
    """Forked generals, all of whom have enrolled."""
    children = [server.fork(recruit(hq, general, **more), None) for general in range(count)]
    hq.also_listen(server.fd, server.listen)
    assert until(
        lambda: all(one.enrolment is not None for one in hq.standing.values()),
        lambda: attend(hq),
    )
    assert all(runs(child.pid) for child in children)
    return children


def recruit(hq: Headquarters, general: int, **more: object) -> Settings:
    return settings(hq.endpoint, hq.public, token=hq.expect(general), **more)


def attend(hq: Headquarters) -> None:
    hq.attend(lambda: True, 0.0)


def test_every_general_makes_keys_of_his_own(
    server: ForkServer, headquarters: Headquarters
) -> None:
    """A forked generator of random numbers would give all of them the same."""
    enlisted(server, headquarters, 8)
    roster = headquarters.roster().generals
    assert len({entry.curve_public for entry in roster}) == 8
    assert len({entry.signing_public for entry in roster}) == 8
    assert len({entry.endpoint for entry in roster}) == 8
    pids = {one.enrolment.pid for one in headquarters.standing.values() if one.enrolment}
    assert len(pids) == 8


def test_children_end_with_the_pipe(server: ForkServer, headquarters: Headquarters) -> None:
    children = enlisted(server, headquarters, 3)
    server.close()
    assert until(lambda: not any(runs(child.pid) for child in children))
    assert not server.is_running


def test_children_end_with_a_server_that_is_killed(
    server: ForkServer, headquarters: Headquarters
) -> None:
    """By their lifeline: nobody is left who could tell them."""
    children = enlisted(server, headquarters, 3)
    os.kill(server.pid, signal.SIGKILL)
    assert until(lambda: not any(runs(child.pid) for child in children))
    server.listen()
    assert all(child.has_ended for child in children)
    with pytest.raises(BackendError, match="fork server has ended"):
        server.fork(recruit(headquarters, 9), None)


def test_a_child_that_is_killed_is_told_of(server: ForkServer, headquarters: Headquarters) -> None:
    children = enlisted(server, headquarters, 2)
    server.kill(children[0])
    assert until(lambda: children[0].has_ended, server.listen)
    assert children[0].status == -signal.SIGKILL
    assert not children[1].has_ended
    server.kill(children[0])  # A process id may be another's by now: the server knows better.
    assert runs(children[1].pid)


def test_a_terminated_general_ends_in_order_and_at_once(
    server: ForkServer, headquarters: Headquarters
) -> None:
    (child,) = enlisted(server, headquarters, 1)
    server.kill(child, signal.SIGTERM)
    assert until(lambda: child.has_ended, server.listen, within_s=1.0)
    assert child.status == STATUS_DISMISSED


def test_ctrl_c_is_left_to_the_orchestrator(server: ForkServer, headquarters: Headquarters) -> None:
    (child,) = enlisted(server, headquarters, 1)
    server.kill(child, signal.SIGINT)
    server.kill(child, signal.SIGTERM)
    assert until(lambda: child.has_ended, server.listen)
    assert child.status == STATUS_DISMISSED


def test_a_general_who_loses_the_orchestrator_ends_by_his_own_deadline(server: ForkServer) -> None:
    """CH9, on one host: the fork server lives on, the orchestrator's socket does not."""
    headquarters = Headquarters()
    (child,) = enlisted(server, headquarters, 1, patience_s=0.5)
    headquarters.close()
    assert until(lambda: child.has_ended, server.listen)
    assert child.status == STATUS_ORPHANED


def test_a_general_whom_nobody_answers_ends_by_his_own_deadline(server: ForkServer) -> None:
    child = server.fork(settings(patience_s=0.3), None)
    assert until(lambda: child.has_ended, server.listen)
    assert child.status == STATUS_ORPHANED


def test_a_general_without_a_port_says_so(
    server: ForkServer, headquarters: Headquarters, tmp_path: Path
) -> None:
    taken = int(headquarters.endpoint.rpartition(":")[2])
    log = tmp_path / "general-0.log"
    child = server.fork(recruit(headquarters, 0, port_first=taken, ports=1), log)
    assert until(lambda: child.has_ended, server.listen)
    assert child.status == STATUS_NOWHERE
    assert f"no free port on 127.0.0.1 in {taken} .. {taken}" in log.read_text()


def test_the_token_is_in_no_argument_and_no_variable(
    server: ForkServer, headquarters: Headquarters, tmp_path: Path
) -> None:
    """SC6."""
    given = recruit(headquarters, 0)
    log = tmp_path / "general-0.log"
    child = server.fork(given, log)
    assert until(
        lambda: headquarters.standing[0].enrolment is not None, lambda: attend(headquarters)
    )
    assert until(lambda: child.pid is not None, server.listen)
    for pid in (server.pid, child.pid):
        seen = b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
        assert given.token not in seen
        assert given.token.hex().encode() not in seen
    server.kill(child, signal.SIGTERM)
    assert until(lambda: child.has_ended, server.listen)
    assert given.token not in log.read_bytes()
    assert given.token.hex() not in log.read_text() + repr(given) + str(given)


def test_warming_for_any_brief_leaves_the_server_standing(
    server: ForkServer, headquarters: Headquarters
) -> None:
    """Even one that cannot be played: general by general they will say so themselves."""
    server.warm(Brief(protocol="nonsense", n=4, m=1))
    server.warm(Brief(protocol="oral", n=1, m=0))
    server.warm(Brief(protocol="oral", n=100, m=30))
    enlisted(server, headquarters, 1)


def test_a_server_can_be_closed_twice(server: ForkServer) -> None:
    server.close()
    server.close()
