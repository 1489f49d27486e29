"""OM(m) as the paper words it: message by message, by recursion, without arrays or rounds.

Two implementations that share nothing but the paper agree by being right. Nobody is silent here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

#: What a traitor tells `to` in the place of `value`, which he should relay along `path`.
Lie = Callable[[str, tuple[int, ...], int], str]


def majority(values: Sequence[str], default: str) -> str:
    """The value that more than half name, else the default."""
    value, count = Counter(values).most_common(1)[0]
    return value if 2 * count > len(values) else default


class Recursion:
    """One run of OM(m) among n generals under commander 0, some of whom lie."""

    def __init__(self, n: int, m: int, order: str, default: str, lies: dict[int, Lie]) -> None:
        self.messages = 0
        self._default = default
        self._lies = lies
        lieutenants = tuple(range(1, n))
        #: What each lieutenant counts in the end: v_1 .. v_n-1, by general.
        self.counted: dict[int, dict[int, str]] = {}
        self.decisions = self._om(m, (0,), lieutenants, order)

    def tally(self, general: int) -> dict[str, int]:
        return dict(Counter(self.counted[general].values()))

    def _om(
        self, m: int, path: tuple[int, ...], lieutenants: tuple[int, ...], value: str
    ) -> dict[int, str]:
        """What each of `lieutenants` makes of `value`, which the last of `path` commands."""
        received = {i: self._told(value, path, i) for i in lieutenants}
        if m == 0:
            return received
        v = {i: {i: received[i]} for i in lieutenants}
        for j in lieutenants:
            rest = tuple(i for i in lieutenants if i != j)
            for i, said in self._om(m - 1, (*path, j), rest, received[j]).items():
                v[i][j] = said
        if len(path) == 1:
            self.counted = v
        return {i: majority(list(v[i].values()), self._default) for i in lieutenants}

    def _told(self, value: str, path: tuple[int, ...], to: int) -> str:
        self.messages += 1
        lie = self._lies.get(path[-1])
        return lie(value, path, to) if lie else value


def opposite(value: str) -> str:
    return {"attack": "retreat", "retreat": "attack"}[value]


def parity(value: str, path: tuple[int, ...], to: int) -> str:
    return value if to % 2 else opposite(value)


def flip(value: str, path: tuple[int, ...], to: int) -> str:
    return opposite(value)
