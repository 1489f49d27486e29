"""`byzantine losses` and `odds`: what chance does to two generals, and to n of them."""

from __future__ import annotations

import re
from typing import Any

import click

from orchestrator.cli.rows import STYLE, show

_HOURS = {"ms": 1 / 3_600_000, "s": 1 / 3600, "min": 1 / 60, "h": 1.0, "d": 24.0, "y": 8766.0}


class Hours(click.ParamType):  # type: ignore[type-arg]
    """A time with its unit: 90s, 10h, 30d, 5y. A year has 8766 hours."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = re.fullmatch(r"([0-9.]{1,20}(?:e[0-9]{1,2})?) ?([a-z]+)", str(value))
        try:
            hours = float(found[1]) * _HOURS[found[2]] if found else 0.0
        except (KeyError, ValueError):
            hours = 0.0
        if not hours:
            units = ", ".join(_HOURS)
            self.fail(
                f"{value!r} is no time above zero: write a number and one of {units}", param, ctx
            )
        return hours


class Range(click.ParamType):  # type: ignore[type-arg]
    """A number, or several: 4, 4..10, 4,7,10."""

    name = "range"

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        numbers: list[int] = []
        for part in str(value).split(","):
            found = re.fullmatch(r"([0-9]{1,6})(?:\.\.([0-9]{1,6}))?", part.strip())
            if not found:
                self.fail(f"{value!r} is no number and no range such as 4..10", param, ctx)
            first, last = int(found[1]), int(found[2] or found[1])
            if not self._least <= first <= last <= self._most:
                self.fail(f"{part} is not within {self._least}..{self._most}", param, ctx)
            numbers += range(first, last + 1)
        return tuple(dict.fromkeys(numbers))


@click.command(short_help="Two generals: every loss of N messages, played.")
@click.option(
    "--messages", type=Range(1, 16), default="1..12", show_default=True,
    help="How many messages go to and fro: N, or several.",
)  # fmt: skip
@click.option(
    "--rate", "rates", type=click.FloatRange(0, 1), multiple=True, default=(0.1, 0.5),
    show_default=True, help="The chance that a message is lost; may be repeated.",
)  # fmt: skip
@click.option("--each", is_flag=True, help="Show every single loss, and not only their number.")
@STYLE
def losses(messages: tuple[int, ...], rates: tuple[float, ...], each: bool, style: str) -> None:
    """Play every loss of N messages between two generals, and count what becomes of them.

    For each N: how many of the 2^N losses leave both attacking, neither, or one alone; the loss
    that splits them; the chance of agreement where each message is lost with a given probability.
    """
    from orchestrator.losses import all_losses

    played = [all_losses(count) for count in messages]
    if each:
        rows = [_fate_fields(one.messages, fate) for one in played for fate in one.fates]
        show(rows, style, "every loss, played")
        return
    show([_losses_fields(one, rates) for one in played], style, "all losses of N messages, played")


def _fate_fields(messages: int, fate: Any) -> dict[str, Any]:
    return {
        "N": messages,
        "lost": " ".join(map(str, fate.lost)) or "none",
        "general 0": fate.decisions[0],
        "general 1": fate.decisions[1],
        "split": fate.is_split,
    }


def _losses_fields(played: Any, rates: tuple[float, ...]) -> dict[str, Any]:
    from node.orders import ATTACK, RETREAT

    return {
        "N": played.messages,
        "losses": len(played.fates),
        "both attack": played.count((ATTACK, ATTACK)),
        "both retreat": played.count((RETREAT, RETREAT)),
        "one alone": len(played.splits),
        "splits if lost": " ".join(map(str, played.splits[0].lost)),
        **{f"agree at {rate:g}": played.agreement(rate) for rate in rates},
    }


@click.command(short_help="How likely more than m of n generals fail.")
@click.option("--mttf", "mttf_h", type=Hours(), required=True, help="Mean time to a failure: 1y.")
@click.option("--repair", "repair_h", type=Hours(), help="Mean time to repair.  [default: never]")
@click.option(
    "--mission", "mission_h", type=Hours(), required=True, help="How long it must go well."
)
@click.option(
    "--beta", type=click.FloatRange(0, 1), default=0.0, show_default=True,
    help="The share of failures that strike all at once.",
)  # fmt: skip
@click.option("-n", "n", type=Range(1, 255), default="4..13", show_default=True)
@click.option("-m", "m", type=Range(0, 84), default="0..4", show_default=True)
@click.option(
    "--check", "trials", type=click.IntRange(1, 1_000_000), metavar="TRIALS",
    help="Also by chance, so many times, with a 95 % interval.",
)  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@STYLE
def odds(
    mttf_h: float,
    repair_h: float | None,
    mission_h: float,
    beta: float,
    n: tuple[int, ...],
    m: tuple[int, ...],
    trials: int | None,
    seed: int,
    style: str,
) -> None:
    """Say how likely it is that more than m of n generals are down at one time of a mission.

    \b
    byzantine odds --mttf 1y --repair 1d --mission 5y
    byzantine odds --mttf 100y --repair 1d --mission 5y --beta 0.05 -n 8 -m 1,2 --check 100000

    Times have a unit: 90s, 10min, 8h, 30d, 5y. Failures come at a constant rate and so do repairs.
    """
    from orchestrator.odds import Rates

    try:
        rates = Rates(mttf_h, repair_h, mission_h, beta)
        if trials is None and style == "table":
            show(_grid(n, m, rates), style, "the chance that more than m of n are down at once")
            return
        rows = [_odds_fields(a, b, rates, trials, seed) for a in n for b in m if b < a]
    except ValueError as fault:
        raise click.UsageError(str(fault)) from None
    show(rows, style, "the chance that more than m of n are down at once")


def _grid(n: tuple[int, ...], m: tuple[int, ...], rates: Any) -> list[dict[str, Any]]:
    from orchestrator.odds import chance_of_more

    return [{"n": a} | {f"m = {b}": _cell(a, b, chance_of_more(a, b, rates)) for b in m} for a in n]


def _cell(n: int, m: int, chance: float) -> str | None:
    """A chance, starred where oral messages could bear m: n >= 3m + 1."""
    from node.quorums import oral_generals_min

    if m >= n:
        return None
    return f"{chance:.2e}{' *' if n >= oral_generals_min(m) else '  '}"


def _odds_fields(n: int, m: int, rates: Any, trials: int | None, seed: int) -> dict[str, Any]:
    from node.quorums import oral_generals_min
    from orchestrator.odds import chance_of_more, simulate

    chance = chance_of_more(n, m, rates)
    row: dict[str, Any] = {"n": n, "m": m, "oral": n >= oral_generals_min(m), "chance": chance}
    if trials is None:
        return row
    found = simulate(n, m, rates, trials, seed)
    return row | {
        "failed": found.failed,
        "trials": found.trials,
        "from": found.low,
        "to": found.high,
        "inside": found.low <= chance <= found.high,
    }
