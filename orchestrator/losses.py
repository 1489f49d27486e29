"""Two generals whose messengers may be caught: every loss there is, played by their rule book.

Nothing but the losses differs from run to run, so the two machines are handed their messages here
and no backend is needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from node.orders import ATTACK, Decision, Enumerated
from node.protocols.two_generals import TwoGenerals, sender

#: Beyond that all losses are more than anyone waits for.
ALL_LOSSES_MAX = 16


@dataclass(frozen=True)
class Fate:
    """One run: which of its messages were lost, and what the two generals decided."""

    lost: tuple[int, ...]
    decisions: tuple[Decision, Decision]

    @property
    def is_split(self) -> bool:
        return self.decisions[0] != self.decisions[1]


@dataclass(frozen=True)
class Losses:
    """All 2^N fates of N messages."""

    messages: int
    fates: tuple[Fate, ...]

    @property
    def splits(self) -> list[Fate]:
        """Those that leave one attacking alone, the fewest losses first."""
        return [fate for fate in self.fates if fate.is_split]

    def count(self, decisions: tuple[Decision, Decision]) -> int:
        return sum(fate.decisions == decisions for fate in self.fates)

    def agreement(self, rate: float) -> float:
        """The chance that both decide alike, where each message is lost with that probability."""
        return sum(self._chance(fate, rate) for fate in self.fates if not fate.is_split)

    def attack(self, rate: float) -> float:
        """The chance that both attack."""
        both = (ATTACK, ATTACK)
        return sum(self._chance(fate, rate) for fate in self.fates if fate.decisions == both)

    def _chance(self, fate: Fate, rate: float) -> float:
        lost = len(fate.lost)
        return float(rate**lost * (1.0 - rate) ** (self.messages - lost))


def all_losses(messages: int) -> Losses:
    """Every set of lost messages, played."""
    return Losses(messages, tuple(fate(messages, lost) for lost in _subsets(messages)))


def fate(messages: int, lost: Collection[int]) -> Fate:
    """A run of so many messages in which those numbers are lost, if they are sent at all."""
    generals = [
        TwoGenerals(me=me, messages=messages, domain=Enumerated(), order=None if me else ATTACK)
        for me in (0, 1)
    ]
    for number in range(1, messages + 1):
        speaker, hearer = sender(number), 1 - sender(number)
        sends = generals[speaker].say(number)
        if sends and number not in lost:
            generals[hearer].hear(number, {speaker: sends[0].body})
    first, second = (general.decide().value for general in generals)
    return Fate(tuple(sorted(lost)), (first, second))


def _subsets(messages: int) -> Iterator[Sequence[int]]:
    for size in range(messages + 1):
        yield from combinations(range(1, messages + 1), size)
