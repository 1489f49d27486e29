"""What is done once before a run, so that its rounds find all at hand.

Tables that depend on the brief alone are made in the parent of all generals, who then share them. A
forked general shares his other memory too, until he touches it, and then each page costs a fault;
and an interpreter learns its code's habits only by running it. So each general plays a small run
inside his own process first. It has keys, generals and a run of its own and leaves nothing behind.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Final

import msgspec

from node.control import Enlisted, Muster, Role, Roster
from node.general import Action, Deliver, General
from node.orders import Brief, GeneralId
from node.protocols import catalogue, paths
from node.traitors import STRATEGIES, Power

GENERALS: Final = 5
_FEW: Final = {catalogue.TWO_GENERALS: 2}
#: OM's third round is the first that does all that later ones do.
TRAITORS_MAX: Final = 2
#: Tables larger than this together, in bytes, are left to each general's own need.
TABLES_BYTES_MAX: Final = 1 << 28
_RUN: Final = bytes(32)


def lay_out(brief: Brief) -> None:
    """Makes the tables of positions that OM's generals will look up, for any of their ranks."""
    lieutenants = brief.n - 2
    if "oral" not in (brief.protocol, brief.over) or lieutenants < 1:
        return
    lengths = range(1, min(brief.m, lieutenants) + 1)
    positions = sum(paths.count(lieutenants, length) for length in lengths)
    if 2 * positions * 8 > TABLES_BYTES_MAX:
        return
    for length in lengths:
        paths.arrivals(lieutenants, length)
        for rank in range(lieutenants):
            paths.avoiding(lieutenants, length - 1, rank)


def rehearse(brief: Brief, role: Role | None = None) -> None:
    """Plays the brief's protocol among a few generals who hand each other their frames.

    All are loyal; who is to be a traitor plays again with one of them in his role, unless it is a
    user's own, which may count its runs, or floods. Never fails: whatever is wrong with a brief or
    a role is the real run's to say.
    """
    small = _small(brief)
    with suppress(Exception):
        _rehearse(small, None)
    if role is None or role.strategy not in STRATEGIES:
        return
    if Power.INJECT not in STRATEGIES[role.strategy].powers:
        with suppress(Exception):
            _rehearse(small, msgspec.structs.replace(role, coalition=(), conceals=False))


def _rehearse(brief: Brief, role: Role | None) -> None:
    """`role` is the last general's."""
    generals = [General() for _ in range(brief.n)]
    roster = Roster(
        tuple(Enlisted(me, "", b"", who.signer.public) for me, who in enumerate(generals))
    )
    for me, who in enumerate(generals):
        who.enlist(
            Muster(
                me=me,
                run=_RUN,
                roster=roster,
                brief=brief,
                role=role if me == brief.n - 1 else None,
                seed=0,
                wait_s=0.0,
            )
        )
    _play(generals, [who.muster() for who in generals])
    _play(generals, [who.start(0.0) for who in generals])


def _small(brief: Brief) -> Brief:
    return Brief(
        protocol=brief.protocol,
        n=_FEW.get(brief.protocol, GENERALS),
        m=min(brief.m, TRAITORS_MAX),
        commander=None if brief.commander is None else 0,
        over=brief.over,
        combiner=brief.combiner,
        domain=brief.domain,
        value=brief.domain.default,
        messages=brief.messages,
    )


def _play(generals: list[General], said: list[list[Action]]) -> None:
    """Delivers until nobody says anything more."""
    mail: deque[tuple[GeneralId, GeneralId, bytes]] = deque()

    def post(sender: GeneralId, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Deliver):
                mail.extend((sender, to, action.data) for to in action.to)

    for sender, actions in enumerate(said):
        post(sender, actions)
    while mail:
        sender, to, data = mail.popleft()
        post(to, generals[to].receive(sender, data, 0.0))
