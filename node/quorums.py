"""Every threshold, majority and choice; each cites its theorem.

Arrays hold codes of one domain (see `orders.py`): axis 0 runs over the votes, axis 1, where there
is one, over independent elections.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from node.orders import Codes, Combiner, Decision, Domain, Value


def oral_generals_min(m: int) -> int:
    """Theorem 1 (section 2): with oral messages, n >= 3m + 1."""
    return 3 * m + 1


def signed_generals_min(m: int) -> int:
    """Section 4: the promises are vacuous unless two generals are loyal, n >= m + 2."""
    return m + 2


def combined_generals_min(m: int) -> int:
    """A majority or a median of n values is bound by the loyal generals' where they are more than
    half, n >= 2m + 1 (section 1); m + 2 generals with signatures agree on it, whatever it is."""
    return 2 * m + 1


def lockstep_rounds(m: int) -> int:
    """OM(m) and SM(m) take m + 1 rounds; no algorithm takes fewer (Fischer and Lynch 1982)."""
    return m + 1


def phase_kings(m: int) -> int:
    """m + 1 kings, so that one of them is loyal (Berman, Garay, Perry 1989)."""
    return m + 1


def phase_queen_generals_min(m: int) -> int:
    """Two rounds a phase need n >= 4m + 1 (Berman, Garay, Perry 1989)."""
    return 4 * m + 1


def echoes_min(n: int, m: int) -> int:
    """More than (n + m) / 2: any two such sets have a loyal general in common (Bracha 1987)."""
    return (n + m) // 2 + 1


def readies_to_join(m: int) -> int:
    """m + 1: one of them is loyal (Bracha 1987)."""
    return m + 1


def readies_min(m: int) -> int:
    """2m + 1: m + 1 of them are loyal, and will make all others ready (Bracha 1987)."""
    return 2 * m + 1


def choice(values: Sequence[Value], domain: Domain) -> Value:
    """choice(V) of section 4: the only member, else the default; never which two they were."""
    return values[0] if len(values) == 1 else domain.default


def majorities(own: Codes, votes: Codes, domain: Domain) -> Codes:
    """Of each election, the value that more than half name, else the default (section 3).

    own: (elections,), one vote in each election; votes: (voters, elections), the other votes.
    Returns (elections,).
    """
    voters = len(votes) + 1
    if domain.is_binary:
        ones = np.add.reduce(votes, axis=0, dtype=np.uint8 if voters < 256 else np.uint32) + own
        # A tie goes to the default, which is code 0 or 1.
        needed = (voters + 1) // 2 if domain.code(domain.default) else voters // 2 + 1
        reached: Codes = (ones >= needed).view(np.uint8)
        return reached
    candidate = _majority_candidates(own, votes)
    support = (votes == candidate).sum(axis=0) + (own == candidate)
    return np.where(2 * support > voters, candidate, domain.code(domain.default)).astype(own.dtype)


def majority(values: Iterable[Value], domain: Domain) -> Value:
    """majority(v_1 .. v_k) over plain values, by the same rule."""
    codes = np.array([domain.code(value) for value in values], dtype=domain.dtype)
    if not len(codes):
        return domain.default
    return domain.value(majorities(codes[:1], codes[1:, None], domain)[0])


def median(values: Iterable[Value], domain: Domain) -> Value:
    """The median in the domain's order; of an even number, the lower of the two in the middle.

    Section 1 asks for a value that a minority of traitors cannot push outside what loyal generals
    measured; the lower median is itself one of the values, so it needs no arithmetic on orders.
    """
    codes = sorted(domain.code(value) for value in values)
    return domain.value(codes[(len(codes) - 1) // 2]) if codes else domain.default


def combine(values: Sequence[Value], combiner: Combiner, domain: Domain) -> Decision:
    """What a combiner reads out of the values that a general ended with."""
    match combiner:
        case Combiner.MAJORITY:
            return majority(values, domain)
        case Combiner.MEDIAN:
            return median(values, domain)
        case Combiner.VECTOR:
            return tuple(values)


def tally(values: Iterable[Value]) -> tuple[tuple[Value, int], ...]:
    """How many times each value is named, most named first, then by its text."""
    counted = Counter(values)
    return tuple(sorted(counted.items(), key=lambda item: (-item[1], str(item[0]))))


def _majority_candidates(own: Codes, votes: Codes) -> Codes:
    """The only value that can have a majority in each election (Boyer and Moore 1981)."""
    candidate = own.copy()
    lead: np.ndarray[Any, Any] = np.ones(len(own), dtype=np.int32)
    for vote in votes:
        agrees = vote == candidate
        deposed = lead == 0
        np.copyto(candidate, vote, where=deposed)
        lead += np.where(agrees | deposed, 1, -1)
    return candidate
