"""The limit of a run: the frames of m + 1 rounds over CURVE, with nothing in them or around them.

Who speaks to whom is OM's and SM's rule: in round 1 the commander to every lieutenant, afterwards
every lieutenant to every other. Nobody speaks in a round before he has heard all of the last one.
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
#: The commander wakes so much early and watches the clock, so that no sleep ends late.
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


def bare_rounds(n: int, bytes_by_round: Sequence[int]) -> BareRounds:
    """One run among n processes; every frame of round r is `bytes_by_round[r - 1]` bytes long.

    The mesh is up and proven before the start. The clock is CLOCK_MONOTONIC, one for all processes
    of a host. Call it in a fresh process, as whatever forks.
    """
    if n < 3 or not bytes_by_round or min(bytes_by_round) < 1 or len(bytes_by_round) > 255:
        raise ValueError("bare rounds need 3 members, 1 to 255 rounds and a byte in each frame")
    with Team(n, bare_member, frames_of(bytes_by_round)) as team:
        return conduct(team)


def frames_of(bytes_by_round: Sequence[int]) -> list[bytes]:
    """A frame a round, of that size, whose first byte is the round's number from 0."""
    return [bytes([r]) + bytes(size - 1) for r, size in enumerate(bytes_by_round)]


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


def bare_member(me: int, link: Connection, frames: list[bytes], host: str = HOST) -> None:
    """One of the members, over his pipe: joins, plays when he is told to, and reports."""
    peer = join(me, link, host)
    gc.disable()
    link.send("ready")
    start = receive(link)
    if me == COMMANDER:
        _await(start)
        ended, used = _command(peer, frames)
    else:
        ended, used = _obey(peer, frames)
    link.send((ended, used))
    receive(link)
    peer.close()


def _command(peer: CurvePeer, frames: list[bytes]) -> tuple[float, float]:
    before = time.process_time()
    for push in peer.pushes.values():
        push.send(frames[0])
    return time.monotonic(), time.process_time() - before


def _obey(peer: CurvePeer, frames: list[bytes]) -> tuple[float, float]:
    """A lieutenant's rounds. A frame's first byte says its round: a quick peer may be one ahead."""
    before = time.process_time()
    lieutenants = [push for member, push in peer.pushes.items() if member != COMMANDER]
    receive_frame = peer.pull.recv
    missing = [1, *[len(lieutenants)] * (len(frames) - 1)]
    for round, frame in enumerate(frames):
        if round > 0:
            for push in lieutenants:
                push.send(frame)
        while missing[round]:
            missing[receive_frame()[0]] -= 1
    return time.monotonic(), time.process_time() - before


def _await(moment: float) -> None:
    time.sleep(max(0.0, moment - WATCH_S - time.monotonic()))
    while time.monotonic() < moment:
        pass
