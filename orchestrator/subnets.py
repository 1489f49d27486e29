"""Small subnets for a run's networks, from a pool that can be chosen.

An engine that picks for itself has room for about thirty networks. A run takes two, each as small
as its generals allow, where neither the engine nor this host has one already.
"""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Final

#: The variable that names another pool.
POOL_VARIABLE: Final = "BYZANTINE_SUBNETS"
POOL: Final = "10.213.0.0/16"
#: No subnet is smaller: most runs have fewer generals.
PREFIX_MAX: Final = 26
#: Addresses of a subnet that no general can have: its name, its gateway, broadcast, and one spare.
ADDRESSES_ASIDE: Final = 4
#: The kernel's table of routes, its numbers in hex and in the order of this machine's bytes.
ROUTES: Final = Path("/proc/net/route")


def pool(environ: Mapping[str, str] = os.environ) -> IPv4Network:
    """The pool that subnets are taken from. ValueError, with an example, where it is none."""
    given = environ.get(POOL_VARIABLE, POOL)
    try:
        return IPv4Network(given)
    except ValueError as error:
        raise ValueError(f"{POOL_VARIABLE}={given!r}: {error}; for example {POOL}") from None


def prefix_for(generals: int) -> int:
    """The longest prefix whose subnet has an address for each general."""
    return min(PREFIX_MAX, 32 - (generals + ADDRESSES_ASIDE - 1).bit_length())


def free(pool: IPv4Network, prefix: int, taken: Iterable[IPv4Network]) -> Iterator[IPv4Network]:
    """Subnets of the pool that overlap none of those taken, from a random one on.

    A random one, because others who look at the same moment see the same ones free.
    """
    if prefix < pool.prefixlen:
        return
    near = [subnet for subnet in taken if subnet.overlaps(pool)]
    count = 1 << (prefix - pool.prefixlen)
    size = 1 << (32 - prefix)
    start = random.SystemRandom().randrange(count)
    for step in range(count):
        address = int(pool.network_address) + (start + step) % count * size
        subnet = IPv4Network((address, prefix))
        if not any(subnet.overlaps(other) for other in near):
            yield subnet


def of_engine(networks: Iterable[Mapping[str, Any]]) -> Iterator[IPv4Network]:
    """The subnets of networks as the engine lists them. IPv6 is not ours to collide with."""
    for network in networks:
        for config in (network.get("IPAM") or {}).get("Config") or ():
            if "." in (text := config.get("Subnet") or ""):
                yield IPv4Network(text, strict=False)


def of_host(routes: Path = ROUTES) -> Iterator[IPv4Network]:
    """What this host routes somewhere by name, the default route apart."""
    try:
        lines = routes.read_text("ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, destination, _, _, _, _, _, mask, *_ = line.split()
        subnet = IPv4Network((_address(destination), _ones(mask)))
        if subnet.prefixlen:
            yield subnet


def _address(text: str) -> int:
    return int.from_bytes(int(text, 16).to_bytes(4, sys.byteorder), "big")


def _ones(mask: str) -> int:
    return int(mask, 16).bit_count()
