"""Where scenarios come from: files, the shipped ones by name, or the command line's own options."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from orchestrator import scenario as scenarios
from orchestrator.scenario import Scenario

#: The shipped scenarios: beside the packages in a checkout, inside this one when installed.
_SHIPPED = (
    Path(__file__).parents[2] / "scenarios",
    Path(__file__).parents[1] / "shipped",
)


def shipped() -> Iterator[tuple[str, Path]]:
    """Name and file of every shipped scenario, by name."""
    for folder in _SHIPPED:
        if folder.is_dir():
            found = sorted(folder.rglob("*.yaml"))
            yield from ((str(path.relative_to(folder).with_suffix("")), path) for path in found)
            return


def path_of(name: str) -> Path:
    """The file of that path, or the shipped scenario of that name."""
    path = Path(name)
    if path.exists() or path.suffix in (".yaml", ".yml"):
        return path
    return dict(shipped()).get(name, path)


def load(name: str, settings: Iterable[str] = ()) -> Scenario:
    """The scenario of that file or shipped name, with each FIELD=VALUE. ScenarioError if wrong."""
    return scenarios.load(path_of(name), settings)


def warn(scenario: Scenario) -> None:
    for warning in scenario.warnings():
        click.echo(f"{scenario.name}: warning: {warning}", err=True)
