"""`byzantine validate`, `schema` and `list`: scenarios before they are played; what there is."""

from __future__ import annotations

import json

import click


@click.command(short_help="Check scenarios: every error at once.")
@click.argument("scenario", nargs=-1, required=True)
def validate(scenario: tuple[str, ...]) -> int:
    """Check scenarios: every error at once, as file:line:column. Exit code 2 if there is one."""
    from orchestrator.cli import scenarios
    from orchestrator.scenario import ScenarioError
    from orchestrator.scenario.problems import printable

    code = 0
    for name in scenario:
        try:
            loaded = scenarios.load(name)
            scenarios.check_playable(loaded)
        except ScenarioError as fault:
            click.echo(str(fault), err=True)
            code = 2
        else:
            scenarios.warn(loaded)
            click.echo(printable(f"{scenarios.path_of(name)}: valid"))
    return code


@click.command()
def schema() -> None:
    """Print the JSON Schema of a scenario, for editors."""
    from orchestrator.scenario import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


@click.command("list", short_help="List protocols, strategies, scenarios.")
@click.argument("kind", required=False, type=click.Choice(("protocols", "strategies", "scenarios")))
@click.option("--format", "style", type=click.Choice(("table", "json")), default="table")
def list_(kind: str | None, style: str) -> None:
    """List protocols, strategies of traitors, and shipped scenarios, a line each."""
    listed = {name: found() for name, found in _KINDS.items() if kind in (None, name)}
    if style == "json":
        click.echo(json.dumps(listed, indent=2))
        return
    for number, (name, lines) in enumerate(listed.items()):
        click.secho(f"{chr(10) if number else ''}{name}", bold=True)
        width = max(map(len, lines), default=0)
        for key, text in lines.items():
            click.echo(f"  {key:<{width}}  {text}")


def _protocols() -> dict[str, str]:
    from node.protocols.catalogue import PROTOCOLS

    return {entry.name: f"{entry.title} ({entry.source})" for entry in PROTOCOLS.values()}


def _strategies() -> dict[str, str]:
    from node.traitors import STRATEGIES

    found = {name: strategy.summary for name, strategy in STRATEGIES.items()}
    return found | {"module:Class": "your own: a subclass of node.traitors.Strategy"}


def _scenarios() -> dict[str, str]:
    from orchestrator.cli import scenarios
    from orchestrator.scenario import ScenarioError

    found = {}
    for name, path in scenarios.shipped():
        try:
            found[name] = scenarios.load(str(path)).summary
        except ScenarioError:
            found[name] = "not valid: see `byzantine validate`"
    return found


_KINDS = {"protocols": _protocols, "strategies": _strategies, "scenarios": _scenarios}
