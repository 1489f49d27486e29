"""All generals of one OM(m) by the rule book `node/protocols/oral.py`, without frames or sockets.

What is said in a round is heard in the same round. Lies enter between the two, so that the rule
book never knows who is a traitor.
"""

from __future__ import annotations

import numpy as np

from benchmarks.peers.message_by_message import COMMANDER, Path, Tell
from node.messages import Oral
from node.orders import Enumerated, GeneralId, Value, others
from node.protocols import paths
from node.protocols.oral import OralMessages

DOMAIN = Enumerated()


def oral_arrays(n: int, m: int, order: Value, tell: Tell | None = None) -> dict[GeneralId, Value]:
    """What each general decides, by id. With `tell`, every single value told goes through it."""
    generals = [
        OralMessages(
            me=me,
            n=n,
            m=m,
            commander=COMMANDER,
            domain=DOMAIN,
            order=order if me == COMMANDER else None,
        )
        for me in range(n)
    ]
    for round in range(1, m + 2):
        heard: list[dict[GeneralId, Oral]] = [{} for _ in generals]
        for sender, general in enumerate(generals):
            for send in general.say(round):
                body = send.body
                assert isinstance(body, Oral)
                for receiver in send.to:
                    heard[receiver][sender] = (
                        _told(body, n, round, sender, receiver, tell) if tell else body
                    )
        for general, frames in zip(generals, heard, strict=True):
            general.hear(round, frames)
    return {me: _value(general) for me, general in enumerate(generals)}


def forget_tables() -> None:
    """Empties the tables of positions, so that the next run computes them as a first run does."""
    paths.avoiding.cache_clear()
    paths.arrivals.cache_clear()


def _value(general: OralMessages) -> Value:
    decision = general.decide().value
    assert not isinstance(decision, tuple)
    return decision


def _told(
    body: Oral, n: int, round: int, sender: GeneralId, receiver: GeneralId, tell: Tell
) -> Oral:
    """The body with each value as `tell` has it for this receiver, path by path."""
    known = _paths_said(n, round, sender)
    codes = DOMAIN.unpack(body.values, len(known))
    told = [
        DOMAIN.code(tell(path, receiver, str(DOMAIN.value(code))))
        for path, code in zip(known, codes, strict=True)
    ]
    return Oral(DOMAIN.pack(np.array(told, dtype=DOMAIN.dtype)))


def _paths_said(n: int, round: int, sender: GeneralId) -> list[Path]:
    """The paths of a relayed level by position, each with the sender at its end."""
    if round == 1:
        return [(sender,)]
    peers = others(range(n), COMMANDER, sender)
    return [
        (COMMANDER, *(peers[rank] for rank in ranks), sender)
        for ranks in paths.labels(len(peers), round - 2)
    ]
