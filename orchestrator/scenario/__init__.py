"""What the user wrote, validated: a scenario's file, or fields of the command line, or both.

    text > Node (document) > fields (written) > known fields (completion) > checks > Scenario

Every error is told at once, each with file, line and column.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

from orchestrator.scenario.checks import MESSAGES_MAX, Flaw, flaws
from orchestrator.scenario.completion import completed
from orchestrator.scenario.completion import scenario as _scenario
from orchestrator.scenario.document import (
    TEXT_BYTES_MAX,
    Node,
    core_scalar,
    decoded,
    from_plain,
    from_yaml,
    with_setting,
)
from orchestrator.scenario.model import Expect, Scenario, Traitor
from orchestrator.scenario.problems import (
    Place,
    Problem,
    Problems,
    ScenarioError,
    dotted,
    printable,
    shown,
)
from orchestrator.scenario.terms import Outcome, Over, Protocol, Standing, slug
from orchestrator.scenario.timetable import Trigger
from orchestrator.scenario.written import json_schema, read

__all__ = [
    "MESSAGES_MAX",
    "Expect",
    "Flaw",
    "Outcome",
    "Over",
    "Problem",
    "Protocol",
    "Scenario",
    "ScenarioError",
    "Standing",
    "Traitor",
    "Trigger",
    "core_scalar",
    "from_fields",
    "json_schema",
    "load",
    "override",
    "parse",
]


def load(path: str | FilePath, sets: Iterable[str] = ()) -> Scenario:
    """The scenario of a file, with each FIELD=VALUE of `sets` in the place of what is written.

    Raises ScenarioError, with every problem, also where the file cannot be read.
    """
    file, problems = str(path), Problems()
    try:
        with open(path, "rb") as stream:
            data = stream.read(TEXT_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no such name"
        problems.add(Place(file), f"cannot be read: {reason}")
        problems.raise_any()
    text = decoded(data, file, problems)
    problems.raise_any()
    assert text is not None
    return parse(text, file, sets)


def parse(
    text: str,
    name: str = "scenario",
    sets: Iterable[str] = (),
) -> Scenario:
    """The scenario that a YAML text spells. `name` is the file that errors name.

    Raises ScenarioError with every problem.
    """
    problems = Problems()
    root = from_yaml(text, name, problems)
    if root is None and not problems:
        problems.add(Place(name, 1, 1), "is empty: a scenario has at least protocol, n and m")
    elif root is not None and not isinstance(root.content, dict):
        problems.add(root.place, f"a scenario is a mapping of fields, not {shown(root.plain())}")
        root = None
    if root is None:
        problems.raise_any()
    assert root is not None
    return _read(root, slug(FilePath(name).stem), sets, problems)


def from_fields(
    fields: Mapping[str, Any],
    origin: str = "command line",
    sets: Iterable[str] = (),
) -> Scenario:
    """The scenario of fields that no file holds; errors name `origin` and the field.

    Values are as YAML would give them: use `core_scalar` on what a user typed.
    """
    problems = Problems()
    root = from_plain(fields, Place(origin), problems)
    return _read(root, slug(origin), sets, problems)


def override(scenario: Scenario, *sets: str) -> Scenario:
    """The scenario as it would be with each FIELD=VALUE written in its file.

    Paths are dotted and those of the file: `m=2`, `traitors.0.strategy=parity`. Defaults follow
    anew from what is then written. Raises ScenarioError, and its problems name the setting.
    """
    root = scenario.as_written()
    return _read(root, scenario.name, sets, Problems())


def _read(
    root: Node,
    name: str,
    sets: Iterable[str],
    problems: Problems,
) -> Scenario:
    settings = list(sets)
    for setting in settings:
        root = with_setting(root, setting, problems)
    spread, fields = read(root, problems)
    assert isinstance(spread.content, dict)
    known = completed(fields, written=frozenset(map(str, spread.content)))
    for path, message, follows in flaws(known):
        if problems.are_enough:
            break
        place = spread.place_of(path)
        problems.add(place, f"{dotted(path)}: {message}{_because(settings, follows, place)}")
    problems.raise_any()
    return _scenario(known, name).written_as(root)


def _because(settings: list[str], follows: set[str], place: Place) -> str:
    """Names the settings that a flaw follows from, where it does not stand at one."""
    blamed = [
        f"--set {setting}"
        for setting in settings
        if "=" in setting and setting.split("=")[0].split(".")[0] in follows
    ]
    return f" (with {printable(', '.join(blamed))})" if blamed and place.line else ""
