"""How a replica who starts by himself comes to a cluster: his key, his card, and what he takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from node import cluster, enlistment
from node.cluster import Cluster, ClusterError, Member
from node.enlistment import enlist, laid, read_card
from node.protocols.pbft.configuration import Configuration


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own").mkdir()
    return tmp_path / "own"


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "desk").mkdir()
    return tmp_path / "desk"


def of(*identities: cluster.Identity) -> Cluster:
    members = (
        Member(r, "tcp://a:1", "tcp://a:2", one.exchange_public, one.signer.public)
        for r, one in enumerate(identities)
    )
    configuration = Configuration(n=len(identities))
    return Cluster(configuration=configuration, members=tuple(members), customers=(), nonce=b"n")


def others(count: int) -> list[cluster.Identity]:
    return [cluster.Identity(bytes([number]) * 32) for number in range(1, count + 1)]


def test_a_replica_takes_the_cluster_that_knows_the_key_on_his_card(
    folder: Path, desk: Path
) -> None:
    own = cluster.make_identity(folder / cluster.KEY_FILE)
    cluster.write(desk, of(*others(2), own, *others(3)[2:]))
    enlist(folder, 2, desk)
    card = read_card((desk / enlistment.CARD).read_bytes())
    assert (card.exchange_public, card.signing_public) == (own.exchange_public, own.signer.public)
    assert cluster.read(folder) == cluster.read(desk)
    assert (folder / "replica").read_text() == "2\n"


def test_who_belongs_to_a_cluster_looks_at_no_desk(folder: Path, desk: Path) -> None:
    cluster.write(folder, of(*others(4)))
    enlist(folder, 0, desk)
    assert not any(desk.iterdir())


@pytest.mark.parametrize("replica", [0, 3, 4])
def test_a_cluster_that_knows_somebody_else_is_refused(
    folder: Path, desk: Path, replica: int
) -> None:
    cluster.make_identity(folder / cluster.KEY_FILE)
    cluster.write(desk, of(*others(4)))
    with pytest.raises(ClusterError, match="somebody else"):
        enlist(folder, replica, desk)
    assert not (folder / cluster.FILE).exists()


@pytest.mark.parametrize("left", ["", "ab"])
def test_a_key_whose_making_was_cut_short_is_made_anew(folder: Path, desk: Path, left: str) -> None:
    (folder / cluster.KEY_FILE).write_text(left)
    cluster.write(desk, of(*others(4)))
    with pytest.raises(ClusterError, match="somebody else"):
        enlist(folder, 0, desk)
    own = cluster.read_identity(folder / cluster.KEY_FILE)
    card = read_card((desk / enlistment.CARD).read_bytes())
    assert card.signing_public == own.signer.public


def test_half_a_description_is_no_cluster_yet(desk: Path) -> None:
    cluster.write(desk, of(*others(4)))
    whole = (desk / cluster.FILE).read_bytes()
    for size in (0, 1, len(whole) // 2, len(whole) - 3):
        (desk / cluster.FILE).write_bytes(whole[:size])
        assert laid(desk) is None
    (desk / cluster.FILE).write_bytes(whole)
    assert laid(desk) == of(*others(4))


@pytest.mark.parametrize("data", [b"", b"{}", b"[1]", b'{"exchange_public": "!", "x": 1}'])
def test_what_is_no_card_is_refused(data: bytes) -> None:
    with pytest.raises(ClusterError, match="card cannot be read"):
        read_card(data)
