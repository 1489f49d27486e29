"""OM(m) as its recursion is told: a dictionary from path to order, a message at a time.

It is the peer that the arrays of `node/protocols/oral.py` are measured against, and the oracle that
they are compared with: it shares no code with them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

ATTACK, RETREAT = "attack", "retreat"
COMMANDER = 0

#: Who passed an order on, the commander first, the one who says it last.
Path = tuple[int, ...]
#: (path that ends in the sender, receiver, what the sender holds) -> what he tells that receiver.
Tell = Callable[[Path, int, str], str]


def truth(path: Path, receiver: int, order: str) -> str:
    return order


def message_by_message(n: int, m: int, order: str, tell: Tell = truth) -> dict[int, str]:
    """What each general decides, by id. Traitors lie in what they `tell` and in nothing else."""
    lieutenants = range(1, n)
    heard = exchange(n, m, order, tell)
    decided = {me: om_3(me, (COMMANDER,), m, n, heard[me]) for me in lieutenants}
    return {COMMANDER: order, **decided}


def exchange(n: int, m: int, order: str, tell: Tell) -> dict[int, dict[Path, str]]:
    """What each lieutenant has heard over each path after m + 1 rounds."""
    lieutenants = range(1, n)
    start: Path = (COMMANDER,)
    heard = {me: {start: tell(start, me, order)} for me in lieutenants}
    fresh = heard
    for _ in range(m):
        told: dict[int, dict[Path, str]] = {me: {} for me in lieutenants}
        for sender in lieutenants:
            for path, value in fresh[sender].items():
                relayed = (*path, sender)
                for receiver in lieutenants:
                    if receiver not in relayed:
                        told[receiver][relayed] = tell(relayed, receiver, value)
        for me in lieutenants:
            heard[me] = heard[me] | told[me]
        fresh = told
    return heard


def om_3(me: int, path: Path, m: int, n: int, heard: dict[Path, str]) -> str:
    """OM-3 for the commander at the end of `path`, with `m` rounds of relays still below it."""
    if m == 0:
        return heard[path]
    votes = [heard[path]]
    for lieutenant in range(1, n):
        if lieutenant != me and lieutenant not in path:
            votes.append(om_3(me, (*path, lieutenant), m - 1, n, heard))
    return majority(votes)


def majority(votes: list[str]) -> str:
    for value in set(votes):
        if 2 * votes.count(value) > len(votes):
            return value
    return RETREAT


def opposite(order: str) -> str:
    return RETREAT if order == ATTACK else ATTACK


def parity(traitors: Iterable[int]) -> Tell:
    """The first seed's lie: a traitor tells generals of even number the opposite."""
    liars = frozenset(traitors)

    def tell(path: Path, receiver: int, order: str) -> str:
        return opposite(order) if path[-1] in liars and receiver % 2 == 0 else order

    return tell


def paper_messages(n: int, m: int) -> int:
    """(n-1) + (n-1)(n-2) + ... to m + 1 factors (section 3)."""
    total, product = 0, 1
    for factor in range(n - 1, n - 2 - m, -1):
        product *= factor
        total += product
    return total
