"""A failing scenario made small: whatever can be left out while it still fails is left out.

Greedy delta debugging (Zeller and Hildebrandt 2002) over the scenario's own fields: steps of chaos,
traitors, their conditions, rounds, and generals. What is left is a scenario that anyone can run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from orchestrator.backends.simulation import Simulation
from orchestrator.casting import Unplayable
from orchestrator.scenario import Scenario, ScenarioError, Standing, from_fields
from orchestrator.trial import play

#: What a failure is known by: its outcome, and which promises broke; A4 with them.
Failure = tuple[str, frozenset[str]]

#: Names a renumbering has to look through.
_GENERAL_FIELDS = frozenset(
    {"general", "generals", "from", "to", "isolate", "kill", "restart", "pause", "disconnect"}
    | {"demote", "partition", "chain", "path", "faces", "edges", "coalition", "instance", "signers"}
)


def failure_of(scenario: Scenario) -> Failure:
    """What became of a scenario, as far as a smaller one must share it."""
    result = play(scenario, Simulation())
    promises = result.verdict.properties.items()
    broken = {name for name, p in promises if p.status is Standing.BROKEN}
    forged = {name for name in ("A4",) if result.assumptions[name].is_kept is False}
    return result.verdict.outcome.value, frozenset(broken | forged)


def shrink(
    scenario: Scenario, on_smaller: Callable[[Scenario], None] = lambda smaller: None
) -> Scenario:
    """The smallest scenario to be had by leaving out one thing after another, with that failure."""
    wanted = failure_of(scenario)
    fields = _written(scenario)
    smallest = scenario
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in _smaller(fields):
            smaller = _failing(candidate, scenario.name, wanted)
            if smaller is not None:
                fields, smallest, is_smaller = candidate, smaller, True
                on_smaller(smaller)
                break
    return smallest


def _failing(fields: dict[str, Any], name: str, wanted: Failure) -> Scenario | None:
    try:
        candidate = from_fields(fields, name)
        return candidate if failure_of(candidate) == wanted else None
    except (ScenarioError, Unplayable):
        return None


def _written(scenario: Scenario) -> dict[str, Any]:
    """The fields as a file has them, each traitor by himself and without what only explains."""
    plain: dict[str, Any] = scenario.as_written().plain()
    fields = {k: v for k, v in plain.items() if k not in ("expect", "teaches", "summary", "force")}
    fields["traitors"] = [
        traitor.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
        for traitor in scenario.traitors
    ]
    return {**fields, "name": f"{scenario.name[:55]}-small"}


def _smaller(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything that is one thing less, the greatest savings first."""
    for general in reversed(range(fields["n"])):
        yield from _without_general(fields, general)
    if fields["m"] > 0:
        yield {**fields, "m": fields["m"] - 1}
    for name in ("chaos", "traitors"):
        listed = fields.get(name) or []
        for index in range(len(listed)):
            yield {**fields, name: listed[:index] + listed[index + 1 :]}
        for index, one in enumerate(listed):
            for simpler in _simpler(one):
                yield {**fields, name: [*listed[:index], simpler, *listed[index + 1 :]]}
    for name in ("reference", "topology", "coalition", "delta"):
        if name in fields:
            yield {k: v for k, v in fields.items() if k != name}
    if fields.get("seed", 1) != 1:
        yield {**fields, "seed": 1}


def _simpler(value: Any) -> Iterator[Any]:
    """A field's value with one thing less in it."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key not in ("general", "strategy", "at"):
                yield {k: v for k, v in value.items() if k != key}
            for simpler in _simpler(one):
                yield {**value, key: simpler}
    elif isinstance(value, list | tuple) and len(value) > 1:
        for index in range(len(value)):
            yield [*value[:index], *value[index + 1 :]]
        for index, one in enumerate(value):
            for simpler in _simpler(one):
                yield [*value[:index], simpler, *value[index + 1 :]]
    elif isinstance(value, float) and 0 < value < 1:
        yield 1


def _without_general(fields: dict[str, Any], gone: int) -> Iterator[dict[str, Any]]:
    """One general less: all above him are numbered anew. None who is needed by name."""
    if fields["n"] <= 2 or gone == fields.get("commander", 0):
        return

    def moved(value: Any) -> Any:
        if isinstance(value, list | tuple):
            kept = [moved(one) for one in value if one != gone]
            return [one for one in kept if one != []]
        return value - 1 if type(value) is int and value > gone else value

    def walked(value: Any, is_general: bool = False) -> Any:
        if isinstance(value, dict):
            return {
                (moved(key) if is_general and type(key) is int else key): walked(
                    one, key in _GENERAL_FIELDS or (is_general and not isinstance(key, str))
                )
                if not isinstance(one, int) or key in _GENERAL_FIELDS
                else one
                for key, one in value.items()
                if not (is_general and key == gone)
            }
        if isinstance(value, list | tuple):
            return moved(value) if is_general else [walked(one) for one in value]
        return moved(value) if is_general else value

    smaller = {**fields, "n": fields["n"] - 1}
    traitors = [t for t in fields.get("traitors") or [] if t.get("general") != gone]
    smaller["traitors"] = [walked(one) for one in traitors]
    if fields.get("chaos"):
        smaller["chaos"] = [walked(one) for one in fields["chaos"]]
    if "commander" in fields:
        smaller["commander"] = moved(fields["commander"])
    if isinstance(fields.get("inputs"), list | tuple):
        smaller["inputs"] = [v for g, v in enumerate(fields["inputs"]) if g != gone]
    yield smaller
