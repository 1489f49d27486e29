"""The limit of a muster: forking n processes and bringing up the CURVE mesh between them."""

from __future__ import annotations

import time
from multiprocessing.connection import Connection

from benchmarks.peers.curve import join
from benchmarks.peers.team import Team, receive


def bare_mesh(n: int) -> float:
    """Seconds from just before the first fork until all n(n-1) connections are proven.

    Each member makes his keys, binds, connects to all others and proves each connection by a probe
    and its echo. Call it in a fresh process: a fork takes longer from a big parent.
    """
    start = time.monotonic()
    with Team(n, _member) as team:
        team.tell(team.gather())
        team.gather()
        elapsed = time.monotonic() - start
        team.tell("close")
    return elapsed


def _member(me: int, link: Connection) -> None:
    peer = join(me, link)
    link.send("proven")
    receive(link)
    peer.close()
