"""The kernel's table of who has which address: one for all containers of a host.

Every general speaks to every other and to the orchestrator, and the orchestrator to every general.
Once the table holds `gc_thresh3` entries (arp(7)), the kernel drops what needs another: connections
never come about, and nobody is told why.
"""

from __future__ import annotations

from math import isqrt
from pathlib import Path
from typing import Final

#: Shown by the kernel outside of containers alone.
LIMIT: Final = Path("/proc/sys/net/ipv4/neigh/default/gc_thresh3")
#: A line of names, then a line for each processor, in hex.
COUNTS: Final = Path("/proc/net/stat/arp_cache")


def entries_of(generals: int) -> int:
    """How many entries so many generals and their orchestrator need."""
    return generals * (generals + 1)


def room() -> int | None:
    """The most generals that the table has room for; None where it cannot be seen."""
    limit = _limit()
    return None if limit is None else (isqrt(4 * limit + 1) - 1) // 2


def objection(generals: int) -> str | None:
    """Why so many generals cannot all speak to each other, and what to do; None if they can."""
    limit, needed = _limit(), entries_of(generals)
    if limit is None or needed <= limit:
        return None
    return (
        f"{generals} containers that speak to each other need {needed:,} entries of this host's "
        f"ARP table, which holds {limit:,}, enough for {room()}: {advice(needed)}"
    )


def advice(needed: int) -> str:
    """What gives the table twice the room that is needed."""
    return f"`sysctl -w net.ipv4.neigh.default.gc_thresh3={2 * needed}` as root gives it more"


def times_full() -> int:
    """How often the kernel has dropped something because the table was full, since it started."""
    try:
        names, *processors = (line.split() for line in COUNTS.read_text("ascii").splitlines())
        column = names.index("table_fulls")
        return sum(int(counts[column], 16) for counts in processors)
    except (OSError, ValueError, IndexError):
        return 0


def _limit() -> int | None:
    try:
        return int(LIMIT.read_text("ascii"))
    except (OSError, ValueError):
        return None
