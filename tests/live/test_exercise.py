"""A cluster that is put through its paces, and a judge who does not let everything pass."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from node.protocols.pbft import key_value as kv
from node.protocols.pbft.configuration import Configuration
from orchestrator.__main__ import byzantine
from orchestrator.client import Client, NoAnswer
from orchestrator.replication import household
from orchestrator.replication.exercise import exercise
from orchestrator.replication.verdict import State

pytestmark = pytest.mark.live


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "cluster"
    household.put_up(path, Configuration(n=4, timeout_s=0.3), "kv", 4, {})
    yield path
    household.stop(path)


def test_a_store_that_loses_a_replica_and_waits_for_another_keeps_its_promises(
    folder: Path,
) -> None:
    household.kill(folder, 0)
    household.pause(folder, 1)
    back = threading.Timer(1.0, household.resume, (folder, 1))
    back.start()
    done = exercise(folder, clients=3, operations=30, seed=1, patience_s=20.0)
    back.join()
    assert done.is_passed, done.promises
    assert len(done.calls) == 90
    assert done.slowest_s > 0.5, "they waited for replica 1"
    with Client(folder) as client:
        assert client.scan() == [], "it leaves nothing behind"


def test_too_few_replicas_answer_nobody_and_that_is_said(folder: Path) -> None:
    household.kill(folder, 0)
    household.kill(folder, 1)
    done = exercise(folder, clients=1, operations=1, seed=1, patience_s=0.5)
    linearisable, liveness = done.promises
    assert not done.is_passed
    assert (linearisable.state, liveness.state) == (State.HELD, State.BROKEN)


def test_where_nobody_is_answered_any_more_each_client_waits_once(folder: Path) -> None:
    household.kill(folder, 0)
    household.kill(folder, 1)
    done = exercise(folder, clients=2, operations=40, seed=1, patience_s=0.5)
    assert [call.outcome for call in done.calls] == [None, None]
    assert done.promises[1].because == "2 of 2 operations had no answer in 0.5 s"
    words = ["kv", "exercise", "--clients", "1", "--patience", "0.5", "--cluster", str(folder)]
    said = CliRunner().invoke(byzantine, words, standalone_mode=False)
    assert said.return_value == 1
    assert re.match(r"1 operations of 1 clients in \S+ s, none of them answered\n", said.output)


def test_a_client_that_is_told_lies_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One answer in ten is what the key held no more, or never did."""
    honest, chance = Client.call, random.Random(1)

    def lying(self: Client, operation: kv.Operation) -> kv.Outcome:
        outcome = honest(self, operation)
        if isinstance(outcome, kv.Found) and chance.random() < 0.1:
            return kv.Found(b"never written")
        return outcome

    monkeypatch.setattr(Client, "call", lying)
    done = exercise(folder, clients=3, operations=40, seed=1, patience_s=20.0)
    assert done.promises[0].state is State.BROKEN


def test_an_answer_that_never_came_may_have_taken_effect(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, chance = Client.call, random.Random(2)

    def deaf(self: Client, operation: kv.Operation) -> kv.Outcome:
        outcome = honest(self, operation)
        if chance.random() < 0.05:
            raise NoAnswer
        return outcome

    monkeypatch.setattr(Client, "call", deaf)
    done = exercise(folder, clients=3, operations=40, seed=1, patience_s=20.0)
    assert [one.state for one in done.promises] == [State.HELD, State.BROKEN]
