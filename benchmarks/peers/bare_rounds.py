"""The limit of a run: the frames of m + 1 rounds over CURVE, with nothing in them or around them.

Nobody speaks in a round before he has heard all of the last one.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

from benchmarks.peers.curve import HOST, CurvePeer, join
from benchmarks.peers.team import Team, receive

COMMANDER = 0
#: From the moment that all are ready to the common start: enough for the word to get around.
NOTICE_S = 0.05
#: The commander wakes so much early and watches the clock, so that his sleep does not end late. Not
#: more than one does: they would take the processors from one another.
WATCH_S = 0.002


class Conducted(Protocol):
    """Members who are told and asked together, wherever they run."""

    def gather(self) -> list[Any]: ...

    def tell(self, message: object) -> None: ...


@dataclass(frozen=True)
class BareRounds:
    """`seconds` from the common start to the last member's end; `processor_s` of all together."""

    seconds: float
    processor_s: float


@dataclass(frozen=True)
class Round:
    """Each of `speakers` sends `frame` to each of `hearers` but himself."""

    frame: bytes
    speakers: frozenset[int]
    hearers: frozenset[int]


def all_to_all(n: int, bytes_by_round: Sequence[int]) -> list[Round]:
    """Everybody speaks to everybody in each round; frames of round r are bytes_by_round[r - 1]."""
    everyone = frozenset(range(n))
    return [Round(frame, everyone, everyone) for frame in _frames(bytes_by_round)]


def as_in_the_paper(n: int, bytes_by_round: Sequence[int]) -> list[Round]:
    """In round 1 the commander speaks to the lieutenants, afterwards they among themselves.

    Fewer frames than all to all: no more than OM and SM cannot do without.
    """
    commander, lieutenants = frozenset([COMMANDER]), frozenset(range(n)) - {COMMANDER}
    return [
        Round(frame, lieutenants if frame[0] else commander, lieutenants)
        for frame in _frames(bytes_by_round)
    ]


def frames_in(script: Sequence[Round]) -> int:
    """How many frames a run of these rounds carries."""
    return sum(len(r.hearers - {speaker}) for r in script for speaker in r.speakers)


def bare_rounds(n: int, script: Sequence[Round]) -> BareRounds:
    """One run of these rounds among n processes.

    The mesh is up and proven before the start. The clock is CLOCK_MONOTONIC, one for all processes
    of a host. Call it in a fresh process, as whatever forks.
    """
    with Team(n, bare_member, script) as team:
        return conduct(team)


def conduct(team: Conducted) -> BareRounds:
    """Takes a team of members from their addresses to the last one's end."""
    team.tell(team.gather())
    team.gather()
    start = time.monotonic() + NOTICE_S
    team.tell(start)
    ends = team.gather()
    team.tell("close")
    return BareRounds(
        seconds=max(ended for ended, _ in ends) - start,
        processor_s=sum(used for _, used in ends),
    )


def bare_member(me: int, link: Connection, script: Sequence[Round], host: str = HOST) -> None:
    """One of the members, over his pipe: joins, plays when he is told to, and reports."""
    peer = join(me, link, host)
    gc.disable()
    link.send("ready")
    start = receive(link)
    if me in script[0].speakers:
        _await(start, WATCH_S if me == COMMANDER else 0.0)
    link.send(_play(me, peer, script))
    receive(link)
    peer.close()


def _frames(bytes_by_round: Sequence[int]) -> list[bytes]:
    """A frame a round, of that size, whose first byte is the round's number from 0."""
    if not bytes_by_round or min(bytes_by_round) < 1 or len(bytes_by_round) > 255:
        raise ValueError("bare rounds are 1 to 255, and each has a byte in its frames")
    return [bytes([r]) + bytes(size - 1) for r, size in enumerate(bytes_by_round)]


def _play(me: int, peer: CurvePeer, script: Sequence[Round]) -> tuple[float, float]:
    """When I was done, and my processor seconds.

    A frame's first byte says its round: a quick peer may be one ahead.
    """
    before = time.process_time()
    receive_frame = peer.pull.recv
    missing = [len(r.speakers - {me}) if me in r.hearers else 0 for r in script]
    for number, round in enumerate(script):
        if me in round.speakers:
            for hearer, push in peer.pushes.items():
                if hearer in round.hearers:
                    push.send(round.frame)
        while missing[number]:
            missing[receive_frame()[0]] -= 1
    return time.monotonic(), time.process_time() - before


def _await(moment: float, watch_s: float) -> None:
    time.sleep(max(0.0, moment - watch_s - time.monotonic()))
    while time.monotonic() < moment:
        pass
