"""Cut, lose, delay, duplicate, reorder, corrupt: what links do to messages, on every backend alike.

The faults of a link act where its sender hands a message over. Chance is keyed by (seed, rule,
sender, receiver, round, kind), and by how many messages of that key went before, never by arrival
or clock: the same run loses the same messages everywhere. Only what a protocol says is touched;
the start barrier is not.

Over TCP a cut turns loss into lateness: what is sent meanwhile arrives once the link is healed. So
it does here. What is lost is lost for good.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from typing import TypeAlias, assert_never

import msgspec

from node.orders import GeneralId

#: No message is delayed longer, in seconds: the run waits for it.
DELAY_S_MAX = 60.0


class Constant(msgspec.Struct, frozen=True, tag="constant"):
    """The same delay for every message."""

    seconds: float


class Uniform(msgspec.Struct, frozen=True, tag="uniform"):
    """Any delay between the two, all alike."""

    low_s: float
    high_s: float


class Exponential(msgspec.Struct, frozen=True, tag="exponential"):
    """Delays of that mean, mostly shorter ones, at most `DELAY_S_MAX`."""

    mean_s: float


Delay: TypeAlias = Constant | Uniform | Exponential


class LinkRule(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of some messages of one sender. None matches all.

    `receivers`, `rounds` and `kinds` say which messages; `key` tells the chance of one rule from
    another's. Probabilities are from 0 to 1.
    """

    key: int = 0
    receivers: tuple[GeneralId, ...] | None = None
    rounds: tuple[int, ...] | None = None
    kinds: tuple[str, ...] | None = None
    cut: bool = False
    lose: float = 0.0
    delay: Delay | None = None
    duplicate: float = 0.0
    reorder: float = 0.0
    corrupt: float = 0.0

    def matches(self, to: GeneralId, round: int, kind: str) -> bool:
        return (
            (self.receivers is None or to in self.receivers)
            and (self.rounds is None or round in self.rounds)
            and (self.kinds is None or kind in self.kinds)
        )


class Mishap(StrEnum):
    """What a rule did to one message."""

    CUT = "cut"
    LOST = "lost"
    DELAYED = "delayed"
    DUPLICATED = "duplicated"
    REORDERED = "reordered"
    CORRUPTED = "corrupted"


#: Whether a message of (receiver, round, kind) stays where it is.
Held: TypeAlias = Callable[[GeneralId, int, str], bool]


class Passage(msgspec.Struct, frozen=True):
    """Bytes that leave for `to` after `delay_s` seconds."""

    delay_s: float
    to: GeneralId
    data: bytes


class LinkFaults:
    """The links that lead out of one general."""

    def __init__(self, me: GeneralId, seed: int) -> None:
        self._me = me
        self._seed = seed
        self._rules: tuple[LinkRule, ...] = ()
        #: How many messages of (receiver, round, kind) there were: each has chances of its own.
        self._sent: Counter[tuple[GeneralId, int, str]] = Counter()
        self._cut_off: list[tuple[Passage, int, str]] = []
        self._overtaken: list[tuple[Passage, int, str]] = []

    @property
    def are_idle(self) -> bool:
        """Whether every message passes at once, as it is."""
        return not self._rules

    def impose(self, rules: tuple[LinkRule, ...]) -> list[Passage]:
        """Takes other rules; returns what those before held back and these do not."""
        self._rules = rules
        freed = self._freed(self._cut_off, self._is_cut) + self._freed(
            self._overtaken, self._may_be_overtaken
        )
        return [passage for passage, _, _ in freed]

    def send(
        self, to: GeneralId, round: int, kind: str, data: bytes
    ) -> tuple[list[Passage], list[Mishap]]:
        """What leaves for one receiver on account of one message, and what befell it."""
        if self._is_cut(to, round, kind):
            self._cut_off.append((Passage(0.0, to, data), round, kind))
            return [], [Mishap.CUT]
        mishaps: list[Mishap] = []
        passages = self._suffered(to, round, kind, data, mishaps)
        overtaking = [p for p, _, _ in self._overtaken if p.to == to]
        self._overtaken = [held for held in self._overtaken if held[0].to != to]
        if passages and Mishap.REORDERED in mishaps:
            self._overtaken += [(passage, round, kind) for passage in passages]
            return overtaking, mishaps
        return passages + overtaking, mishaps

    def _suffered(
        self, to: GeneralId, round: int, kind: str, data: bytes, mishaps: list[Mishap]
    ) -> list[Passage]:
        """One message through all the rules that match it."""
        number = self._sent[to, round, kind]
        self._sent[to, round, kind] += 1
        delay_s, copies = 0.0, 1
        for rule in self._rules:
            if not rule.matches(to, round, kind):
                continue
            key = f"{self._seed}/{rule.key}/{self._me}/{to}/{round}/{kind}/{number}"
            if _chance(key, "lose") < rule.lose:
                mishaps.append(Mishap.LOST)
                return []
            if rule.delay is not None:
                delay_s += _drawn_s(rule.delay, _chance(key, "delay"))
                mishaps.append(Mishap.DELAYED)
            if _chance(key, "duplicate") < rule.duplicate:
                copies += 1
                mishaps.append(Mishap.DUPLICATED)
            if _chance(key, "reorder") < rule.reorder:
                mishaps.append(Mishap.REORDERED)
            if _chance(key, "corrupt") < rule.corrupt:
                data = _corrupted(data, _chance(key, "place"))
                mishaps.append(Mishap.CORRUPTED)
        return [Passage(min(delay_s, DELAY_S_MAX), to, data)] * copies

    def _is_cut(self, to: GeneralId, round: int, kind: str) -> bool:
        return any(rule.cut and rule.matches(to, round, kind) for rule in self._rules)

    def _may_be_overtaken(self, to: GeneralId, round: int, kind: str) -> bool:
        return any(rule.reorder and rule.matches(to, round, kind) for rule in self._rules)

    @staticmethod
    def _freed(
        held: list[tuple[Passage, int, str]], is_held: Held
    ) -> list[tuple[Passage, int, str]]:
        """Takes out of `held` what nothing holds any more, in the order in which it was sent."""
        freed = [one for one in held if not is_held(one[0].to, one[1], one[2])]
        held[:] = [one for one in held if one not in freed]
        return freed


def _chance(key: str, purpose: str) -> float:
    """A number from 0 to 1, 1 excluded, that depends on key and purpose alone."""
    digest = hashlib.blake2b(f"link/{purpose}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _drawn_s(delay: Delay, chance: float) -> float:
    match delay:
        case Constant(seconds):
            return seconds
        case Uniform(low_s, high_s):
            return low_s + chance * (high_s - low_s)
        case Exponential(mean_s):
            return -mean_s * math.log1p(-chance)
        case _:
            assert_never(delay)


def _corrupted(data: bytes, chance: float) -> bytes:
    """One bit turned over."""
    place = int(chance * 8 * len(data))
    turned = bytearray(data)
    turned[place // 8] ^= 1 << place % 8
    return bytes(turned)
