"""How many failures are to be borne? The chance that more than m of n generals are down at once.

Each general fails at a constant rate, 1 / MTTF, and is repaired at a constant rate, 1 / repair, if
at all. A share beta of each one's failures has a cause that strikes all at once (the beta-factor
model, Fleming 1975): a batch of disks, a bug that all have, a power line. The rest are independent.

The number of those that are down is a Markov chain with states 0 .. m, and m + 1, which it never
leaves: more than m were down, and what was promised was not owed for a moment. A common cause leads
there from everywhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Events that a Monte Carlo run may take for each of its trials: beyond that nobody waits.
EVENTS_MAX = 100_000
#: What a normal distribution leaves outside so many standard deviations is 5 %.
DEVIATIONS_95 = 1.959964


@dataclass(frozen=True)
class Rates:
    """How one general fails, in hours. `repair_h`: None where nobody repairs. `beta`: the share of
    failures that strike all at once."""

    mttf_h: float
    repair_h: float | None
    mission_h: float
    beta: float = 0.0

    def __post_init__(self) -> None:
        times = (self.mttf_h, self.mission_h, 1.0 if self.repair_h is None else self.repair_h)
        if not all(math.isfinite(time) and time > 0 for time in times):
            raise ValueError("MTTF, repair time and mission time are positive and finite")
        if not 0.0 <= self.beta <= 1.0:
            raise ValueError(f"beta is {self.beta}, not within 0 and 1")

    @property
    def alone_per_h(self) -> float:
        return (1.0 - self.beta) / self.mttf_h

    @property
    def together_per_h(self) -> float:
        return self.beta / self.mttf_h

    @property
    def repair_per_h(self) -> float:
        return 0.0 if self.repair_h is None else 1.0 / self.repair_h


@dataclass(frozen=True)
class Estimate:
    """What a Monte Carlo run found: how many of its trials failed, and the 95 % interval."""

    trials: int
    failed: int
    low: float
    high: float


def chance_of_more(n: int, m: int, rates: Rates) -> float:
    """The chance that at some moment of the mission more than m of n generals are down."""
    if m >= n:
        return 0.0
    generator = _generator(n, m, rates) * rates.mission_h
    return float(_exponential(generator)[0, m + 1])


def simulate(n: int, m: int, rates: Rates, trials: int, seed: int) -> Estimate:
    """The same by chance: every general fails and is repaired by himself, trial by trial.

    ValueError where a mission is so long that a trial would take more than EVENTS_MAX events.
    """
    cycle_h = rates.mttf_h + (rates.repair_h or math.inf)
    if n * (1 + 2 * rates.mission_h / cycle_h) > EVENTS_MAX:
        raise ValueError("the mission has too many failures for a Monte Carlo run: shorten it")
    chance = np.random.default_rng(seed)
    shock_h = _drawn(chance, rates.together_per_h, trials)
    is_failed = shock_h <= rates.mission_h if m < n else np.zeros(trials, dtype=bool)
    next_h = _drawn(chance, rates.alone_per_h, (trials, n))
    is_down = np.zeros((trials, n), dtype=bool)
    going = np.flatnonzero(~is_failed)
    while going.size:
        who = next_h[going].argmin(axis=1)
        now_h = next_h[going, who]
        is_over = now_h > rates.mission_h
        going, who, now_h = going[~is_over], who[~is_over], now_h[~is_over]
        is_down[going, who] ^= True
        down_now = is_down[going, who]
        waits_h = np.where(
            down_now,
            _drawn(chance, rates.repair_per_h, going.size),
            _drawn(chance, rates.alone_per_h, going.size),
        )
        next_h[going, who] = now_h + waits_h
        has_failed = is_down[going].sum(axis=1) > m
        is_failed[going[has_failed]] = True
        going = going[~has_failed]
    return _estimate(trials, int(is_failed.sum()))


def _generator(n: int, m: int, rates: Rates) -> NDArray[np.float64]:
    """Rates an hour between the states 0 .. m + 1; rows sum to 0."""
    q = np.zeros((m + 2, m + 2))
    for down in range(m + 1):
        q[down, down + 1] += (n - down) * rates.alone_per_h
        q[down, m + 1] += rates.together_per_h
        if down:
            q[down, down - 1] += down * rates.repair_per_h
        q[down, down] = -q[down].sum()
    return q


def _exponential(q: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(q) of a generator by uniformization and squaring: nothing is ever subtracted, so that
    chances far below the rounding error of 1 keep their digits."""
    fastest = float(-q.diagonal().min())
    if fastest == 0.0:
        return np.eye(len(q))
    squarings = max(0, math.ceil(math.log2(fastest)) + 1)
    step = q / 2.0**squarings
    rate = fastest / 2.0**squarings
    jumps = step / rate
    jumps[np.diag_indices_from(jumps)] = 1.0 + jumps.diagonal()
    term = np.eye(len(q)) * math.exp(-rate)
    total = term.copy()
    for count in range(1, 40):
        term = term @ jumps * (rate / count)
        total += term
    for _ in range(squarings):
        total = total @ total
    return total


def _drawn(
    chance: np.random.Generator, per_h: float, size: int | tuple[int, int]
) -> NDArray[np.float64]:
    if per_h == 0.0:
        return np.full(size, math.inf)
    return chance.exponential(1.0 / per_h, size)


def _estimate(trials: int, failed: int) -> Estimate:
    """Wilson's interval, which holds also where nothing or everything failed."""
    share, z2 = failed / trials, DEVIATIONS_95**2
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    spread *= DEVIATIONS_95 / (1 + z2 / trials)
    return Estimate(trials, failed, max(0.0, middle - spread), min(1.0, middle + spread))
