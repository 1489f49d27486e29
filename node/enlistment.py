"""How a replica who starts by himself comes to a cluster.

He makes his key in his own folder, where nobody else looks, and lays a card with his public keys on
a desk. Whoever founds the cluster reads the cards of all, and lays its description on every desk.

    FOLDER/key, replica     his own secret, and his number
    DESK/card.json          from him: his public keys
    DESK/cluster.json       for him: the cluster
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from node import cluster
from node.cluster import Cluster, ClusterError, Identity
from node.protocols.pbft.messages import ReplicaId

CARD: Final = "card.json"
#: A desk is looked at again after so long, in seconds.
LOOK_AGAIN_S: Final = 0.05


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who a replica is to others."""

    exchange_public: bytes
    signing_public: bytes


def enlist(folder: Path, replica: ReplicaId, desk: Path) -> None:
    """Returns once the folder holds all that a replica plays from: at once where it does already.

    ClusterError where the cluster on the desk has no such replica, or knows it by another key.
    """
    if (folder / cluster.FILE).exists():
        return
    try:
        identity = _identity(folder / cluster.KEY_FILE)
        (folder / "replica").write_text(f"{replica}\n")
        card = card_of(identity)
        lay_card(desk, card)
        while (described := laid(desk)) is None:
            time.sleep(LOOK_AGAIN_S)
        known = [Card(m.exchange_public, m.signing_public) for m in described.members]
        if known[replica : replica + 1] != [card]:
            raise ClusterError(f"{desk}: replica {replica} of this cluster is somebody else")
        cluster.write(folder, described)
    except OSError as error:
        raise ClusterError(f"{error.filename}: {error.strerror}") from error


def card_of(identity: Identity) -> Card:
    return Card(identity.exchange_public, identity.signer.public)


def lay_card(desk: Path, card: Card) -> None:
    desk.mkdir(exist_ok=True)
    cluster.put_whole(desk / CARD, msgspec.json.encode(card))


def read_card(data: bytes) -> Card:
    """A card as it was laid. ClusterError where it is none."""
    try:
        return msgspec.json.decode(data, type=Card)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ClusterError(f"a replica's card cannot be read: {error}") from None


def laid(desk: Path) -> Cluster | None:
    """The cluster on a desk; None where there is none yet, or one that is still being written."""
    try:
        return cluster.read(desk)
    except ClusterError:
        return None


def _identity(path: Path) -> Identity:
    """The key that is there, or a new one. One whose making was cut short was shown to nobody."""
    try:
        return cluster.read_identity(path)
    except ClusterError:
        path.unlink(missing_ok=True)
        return cluster.make_identity(path)
