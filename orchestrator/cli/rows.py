"""Rows of numbers for people and for programs: a table, JSON objects a line each, or CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import click

STYLE = click.option(
    "--format", "style", type=click.Choice(("table", "json", "csv")), default="table",
    show_default=True, help="json: an object a row, a line each.",
)  # fmt: skip


def show(rows: Sequence[Mapping[str, Any]], style: str, title: str = "") -> None:
    """Prints rows that all have the same fields; the title is for the table alone."""
    if style == "json":
        from node.words import json_line

        for row in rows:
            click.echo(json_line(row))
    elif style == "csv":
        click.echo(as_csv(rows), nl=False)
    else:
        _print_table(rows, title)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(rows[0] if rows else ())
    writer.writerows(row.values() for row in rows)
    return out.getvalue()


def _print_table(rows: Sequence[Mapping[str, Any]], title: str) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from orchestrator.cli.run import console
    from orchestrator.tables import safe_line

    page = console()
    if title:
        page.print(Text(title, style="bold"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name, value in (rows[0] if rows else {}).items():
        table.add_column(name, justify="left" if isinstance(value, str) else "right")
    for row in rows:
        table.add_row(*(Text(safe_line(_spelt(value))) for value in row.values()))
    page.print(table)


def _spelt(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.4g}"
        case _:
            return str(value)
