"""Where scenarios come from: files, the shipped ones by name, or the command line's own options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click

from orchestrator import scenario as scenarios
from orchestrator.casting import Unplayable, cast
from orchestrator.scenario import Problem, Scenario, ScenarioError
from orchestrator.scenario.problems import suggestion

#: The shipped scenarios: beside the packages in a checkout, inside this one when installed.
_SHIPPED = (
    Path(__file__).parents[2] / "scenarios",
    Path(__file__).parents[1] / "shipped",
)
#: Stories of a service: `byzantine kv play` plays those.
_SERVICE = "service"


def shipped() -> Iterator[tuple[str, Path]]:
    """Name and file of every shipped scenario, by name."""
    for folder in _SHIPPED:
        if folder.is_dir():
            found = sorted(p for p in folder.rglob("*.yaml") if p.parent.name != _SERVICE)
            yield from ((str(path.relative_to(folder).with_suffix("")), path) for path in found)
            return


def path_of(name: str) -> Path:
    """The file of that path, or the shipped scenario of that name."""
    path = Path(name)
    if path.suffix in (".yaml", ".yml") or _is_there(path, Path.is_file):
        return path
    return dict(shipped()).get(name, path)


def load(name: str, settings: Iterable[str] = ()) -> Scenario:
    """The scenario of that file or shipped name, with each FIELD=VALUE. ScenarioError if wrong."""
    path = path_of(name)
    if not _is_there(path, Path.exists):
        near = suggestion(name, (one for one, _ in shipped()))
        message = f"there is no such file, and no shipped scenario of that name{near}"
        raise ScenarioError([Problem(name, None, None, message)])
    return scenarios.load(path, settings)


def _is_there(path: Path, test: Callable[[Path], bool]) -> bool:
    try:
        return test(path)
    except (OSError, ValueError):
        return False  # no file can have such a name


def check_playable(scenario: Scenario) -> None:
    """ScenarioError where a scenario is right in itself, and too large to play."""
    try:
        cast(scenario)
    except Unplayable as fault:
        raise ScenarioError([Problem(scenario.name, None, None, str(fault))]) from None


def warn(scenario: Scenario) -> None:
    for warning in scenario.warnings():
        click.echo(f"{scenario.name}: warning: {warning}", err=True)
