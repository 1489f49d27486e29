"""`byzantine compose`: a scenario as a file that docker compose plays by itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import click

_SHOWN: Final = "FILE"


@click.command(short_help="Write a scenario as a file for docker compose.")
@click.argument("scenario")
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file; else it is printed."
)
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field.")
@click.option(
    "--build/--no-build", default=True, show_default=True,
    help="Have compose build images that are missing, from this checkout.",
)  # fmt: skip
def compose(scenario: str, out: Path | None, settings: tuple[str, ...], build: bool) -> None:
    """Write SCENARIO, a file or a shipped one, as a file that needs no Python on its host.

    \b
    byzantine compose oral-ten-generals --out ten.yaml
    docker compose -f ten.yaml up --exit-code-from orchestrator
    """
    from orchestrator.cli import scenarios
    from orchestrator.compose import Uncomposable, compose_file
    from orchestrator.images import CHECKOUT
    from orchestrator.scenario import ScenarioError

    try:
        loaded = scenarios.load(scenario, settings)
        scenarios.check_playable(loaded)
        has_checkout = build and (CHECKOUT / "Dockerfile").is_file()
        context = _context(out, CHECKOUT) if has_checkout else None
        text = compose_file(loaded, str(out or _SHOWN), context)
    except (ScenarioError, Uncomposable) as fault:
        click.echo(str(fault), err=True)
        raise click.exceptions.Exit(2) from None
    scenarios.warn(loaded)
    if out is None:
        click.echo(text, nl=False)
    else:
        out.write_text(text, "utf-8")


def _context(out: Path | None, checkout: Path) -> str:
    """The checkout as compose will look for it: from the file's folder, if the file is inside."""
    folder = out.absolute().parent if out else Path.cwd()
    return os.path.relpath(checkout, folder) if folder.is_relative_to(checkout) else str(checkout)
