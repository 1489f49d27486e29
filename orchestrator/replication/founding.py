"""How a cluster comes to be: the replicas' cards, the clients' keys, and one description of all.

Founded, a folder holds what clients need:

    FOLDER/cluster.json          who is who, the switches; no secret
    FOLDER/clients/0.key ...     a client's secret each
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path

from node import cluster
from node.cluster import Cluster, ClusterError, Customer, Member
from node.enlistment import Card
from node.protocols.pbft.configuration import Configuration
from orchestrator.client import CLIENTS


def is_founded(folder: Path) -> bool:
    return (folder / cluster.FILE).exists()


def found(
    folder: Path,
    configuration: Configuration,
    service: str,
    clients: int,
    replicas: Sequence[tuple[Card, str, str]],
) -> Cluster:
    """A cluster of replicas, each with its card and its endpoints for replicas and for clients.

    ClusterError where the folder cannot be written to.
    """
    try:
        customers = _make_customers(folder / CLIENTS, clients)
        described = Cluster(
            service=service,
            configuration=configuration,
            members=tuple(
                Member(r, endpoint, door, card.exchange_public, card.signing_public)
                for r, (card, endpoint, door) in enumerate(replicas)
            ),
            customers=customers,
            nonce=secrets.token_bytes(32),
        )
        cluster.write(folder, described)
    except OSError as error:
        raise ClusterError(f"{error.filename}: {error.strerror}") from error
    return described


def _make_customers(folder: Path, count: int) -> tuple[Customer, ...]:
    folder.mkdir(parents=True, exist_ok=True)
    customers = []
    for client in range(count):
        path = folder / f"{client}.key"
        # Left by a founding that was cut short: no cluster knows it.
        path.unlink(missing_ok=True)
        one = cluster.make_identity(path)
        customers.append(Customer(client, one.exchange_public, one.signer.public))
    return tuple(customers)
