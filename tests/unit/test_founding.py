"""A cluster is founded at desks, once: whatever is cut short, and whoever comes next."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from node import cluster, enlistment
from node.cluster import ClusterError, Identity
from node.enlistment import card_of, enlist, lay_card
from node.protocols.pbft.configuration import Configuration
from orchestrator.client import CLIENTS
from orchestrator.replication import desks as at_desks
from orchestrator.replication import founding
from orchestrator.replication.desks import PLAN_FILE, Plan, found_at

N = 4


@pytest.fixture
def desks(tmp_path: Path) -> Path:
    """The desks of four replicas, each with a card."""
    folder = tmp_path / "desks"
    folder.mkdir()
    plan = Plan(2, Configuration(n=N, timeout_s=3.0))
    (folder / PLAN_FILE).write_bytes(msgspec.json.encode(plan))
    for replica in range(N):
        lay_card(folder / str(replica), card_of(identity(replica)))
    return folder


def identity(replica: int) -> Identity:
    return Identity(bytes([replica + 1]) * 32)


def test_all_are_told_of_one_cluster_as_it_was_planned(desks: Path, tmp_path: Path) -> None:
    found_at(desks, tmp_path / "kv")
    described = cluster.read(tmp_path / "kv")
    assert described.configuration == Configuration(n=N, timeout_s=3.0)
    assert {cluster.read(desks / str(replica)).id for replica in range(N)} == {described.id}
    for replica, member in enumerate(described.members):
        assert member.exchange_public == identity(replica).exchange_public
        assert member.endpoint == f"tcp://replica-{replica}.field:10000"
        assert member.client_endpoint == f"tcp://replica-{replica}.command:10001"
    for customer in described.customers:
        key = cluster.read_identity(tmp_path / "kv" / CLIENTS / f"{customer.client}.key")
        assert key.exchange_public == customer.exchange_public
    assert len(described.customers) == 2


def test_whoever_comes_next_founds_no_other(desks: Path, tmp_path: Path) -> None:
    found_at(desks, tmp_path / "kv")
    first = cluster.read(tmp_path / "kv")
    # Desks are in memory: after a restart they are bare, and the replicas need them no more.
    for replica in range(N):
        for path in (desks / str(replica)).iterdir():
            path.unlink()
    found_at(desks, tmp_path / "kv")
    assert cluster.read(tmp_path / "kv") == first
    assert cluster.read(desks / "0") == first


def test_a_founding_that_was_cut_short_is_finished(desks: Path, tmp_path: Path) -> None:
    """After the clients' keys, and after some desks."""
    (tmp_path / "kv" / CLIENTS).mkdir(parents=True)
    (tmp_path / "kv" / CLIENTS / "0.key").write_text("ab")
    found_at(desks, tmp_path / "kv")
    (desks / "2" / cluster.FILE).unlink()
    (desks / "3" / cluster.FILE).write_text('{"format": 1, "serv')
    found_at(desks, tmp_path / "kv")
    assert len({cluster.read(desks / str(replica)).id for replica in range(N)}) == 1


def test_who_shows_no_card_is_named(
    desks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (desks / "2" / enlistment.CARD).unlink()
    monkeypatch.setattr(at_desks, "CARDS_S", 0.0)
    with pytest.raises(ClusterError, match="replica 2 shows no card"):
        found_at(desks, tmp_path / "kv")
    assert not founding.is_founded(tmp_path / "kv")


def test_two_cards_of_one_key_make_no_cluster(desks: Path, tmp_path: Path) -> None:
    lay_card(desks / "1", card_of(identity(0)))
    with pytest.raises(ClusterError, match="share a exchange_public"):
        found_at(desks, tmp_path / "kv")
    assert not founding.is_founded(tmp_path / "kv")


@pytest.mark.parametrize("plan", ["", "{}", '{"clients": 1, "configuration": {"n": 3}}'])
def test_a_plan_that_is_none_is_refused(desks: Path, tmp_path: Path, plan: str) -> None:
    (desks / PLAN_FILE).write_text(plan)
    with pytest.raises(ClusterError, match=PLAN_FILE):
        found_at(desks, tmp_path / "kv")


def test_a_replica_takes_what_was_founded(desks: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    lay_card(desks / "3", card_of(cluster.make_identity(own / cluster.KEY_FILE)))
    found_at(desks, tmp_path / "kv")
    enlist(own, 3, desks / "3")
    assert cluster.read(own) == cluster.read(tmp_path / "kv")
