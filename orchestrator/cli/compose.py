"""`byzantine compose`: a scenario, or a service, as a file that docker compose plays by itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import click

from orchestrator.cli.kv import cast_replicas, configured, describing_service

_SHOWN: Final = "FILE"


@click.command(short_help="Write a scenario or a service as a file for docker compose.")
@click.argument("scenario", required=False)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file; else it is printed."
)
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field.")
@click.option(
    "--build/--no-build", default=True, show_default=True,
    help="Have compose build images that are missing, from this checkout.",
)  # fmt: skip
@click.option("-n", "n", default=4, show_default=True, help="With --service, how many replicas.")
@describing_service
def compose(scenario: str | None, out: Path | None, settings: tuple[str, ...], build: bool,
            service: str | None, **described: Any) -> None:  # fmt: skip
    """Write SCENARIO, a file or a shipped one, as a file that needs no Python on its host.

    \b
    byzantine compose oral-ten-generals --out ten.yaml
    docker compose -f ten.yaml up --exit-code-from orchestrator

    With --service kv it is n replicas of the key-value store instead, and a client. The options
    after --service are theirs.

    \b
    byzantine compose --service kv -n 4 --out kv.yaml
    docker compose -f kv.yaml run --rm client put name Lamport
    """
    from orchestrator.images import CHECKOUT

    if (scenario is None) == (service is None):
        raise click.UsageError("a SCENARIO is wanted, or --service kv")
    has_checkout = build and (CHECKOUT / "Dockerfile").is_file()
    context = _context(out, CHECKOUT) if has_checkout else None
    shown = str(out or _SHOWN)
    if scenario is not None:
        text = _of_scenario(scenario, settings, shown, context)
    else:
        text = _of_service(service, settings, shown, context, **described)
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, "utf-8")


def _of_scenario(name: str, settings: tuple[str, ...], shown: str, context: str | None) -> str:
    from orchestrator.cli import scenarios
    from orchestrator.compose import Uncomposable, compose_file
    from orchestrator.scenario import ScenarioError

    try:
        loaded = scenarios.load(name, settings)
        scenarios.check_playable(loaded)
        text = compose_file(loaded, shown, context)
    except (ScenarioError, Uncomposable) as fault:
        click.echo(str(fault), err=True)
        raise click.exceptions.Exit(2) from None
    scenarios.warn(loaded)
    return text


def _of_service(
    service: str | None, settings: tuple[str, ...], shown: str, context: str | None,
    *, n: int, clients: int, traitors: tuple[str, ...], **switches: Any,
) -> str:  # fmt: skip
    from orchestrator.replication.composing import compose_file
    from orchestrator.replication.desks import Plan

    if service != "kv":
        raise click.UsageError(f"--service {service}: the images hold kv alone")
    if settings:
        raise click.UsageError("--set changes a field of a SCENARIO")
    plan = Plan(clients, configured(n, switches))
    return compose_file(plan, cast_replicas(traitors, n), shown, context)


def _context(out: Path | None, checkout: Path) -> str:
    """The checkout as compose will look for it: from the file's folder, if the file is inside."""
    folder = out.absolute().parent if out else Path.cwd()
    return os.path.relpath(checkout, folder) if folder.is_relative_to(checkout) else str(checkout)
