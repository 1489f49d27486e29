"""`byzantine tree`: what a general of OM(m) was told along each path, and what he made of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from rich.text import Text
    from rich.tree import Tree as Drawing

    from orchestrator.tree import Branch, Tree

#: Branches that are drawn of one tree if nobody says how deep: beyond that, nobody reads on.
BRANCHES_MAX = 500


@click.command(short_help="Draw who told a general what, by which path.")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("general", type=click.IntRange(min=0), required=False)
@click.option("--matrix", is_flag=True, help="Who said that who said what, with column majorities.")
@click.option("--commander", type=click.IntRange(min=0), help="Whose order, where all command.")
@click.option("--depth", type=click.IntRange(min=1), help="Generals in the longest path drawn.")
@click.option("--format", "style", type=click.Choice(("text", "json")), default="text")
def tree(
    run: Path,
    general: int | None,
    matrix: bool,
    commander: int | None,
    depth: int | None,
    style: str,
) -> None:
    """Draw the tree of paths that GENERAL had in RUN, a run of OM(m); without GENERAL, everyone's.

    0:2:1 is what 1 told of what 2 told of 0's order. A branch that others hang on shows what they
    and it came to by majority. A lie is marked, with what the liar held himself.
    """
    from node.words import json_line
    from orchestrator.rundir import RunDir, RunDirError
    from orchestrator.tree import NoTree, trees

    if matrix and depth is not None:
        raise click.UsageError("--depth is of trees: a matrix has two levels")
    try:
        transcript = RunDir.find(run).exhibits().transcript
        found = trees(transcript, commander, general)
    except (RunDirError, NoTree) as fault:
        _refuse(str(fault))
    for number, one in enumerate(found):
        if style == "json":
            click.echo(json_line(_matrix_fields(one) if matrix else _fields(one)))
            continue
        if number:
            click.echo()
        _print(_table(one) if matrix else _drawn(one, depth))
        if matrix:
            _print(_settled(one))


def _drawn(tree: Tree, depth: int | None) -> Drawing:
    from rich.tree import Tree as Drawing

    from orchestrator.verdict import text

    deepest = _deepest(tree) if depth is None else depth
    decides = _safe(text(tree.root.resolved))
    drawing = Drawing(f"general {tree.general} decides {decides}")
    _hang(drawing, tree, tree.root, deepest)
    return drawing


def _hang(above: Drawing, tree: Tree, branch: Branch, deepest: int) -> None:
    below = list(tree.below(branch.path))
    here = above.add(_said(branch, below))
    if len(branch.path) < deepest:
        for one in below:
            _hang(here, tree, one, deepest)
    elif below:
        here.add(f"... {len(below)} more, and what is below them: --depth {deepest + 1}")


def _deepest(tree: Tree) -> int:
    """As many generals a path as leave no more than BRANCHES_MAX to draw."""
    lengths = [len(path) for path in tree.branches]
    drawn, deepest = 0, 1
    for length in range(1, max(lengths) + 1):
        drawn += lengths.count(length)
        if drawn <= BRANCHES_MAX:
            deepest = length
    return deepest


def _said(branch: Branch, below: list[Branch]) -> Text:
    """One line: the path, what was told, what it came to, and whether it was a lie."""
    from rich.text import Text

    from orchestrator.verdict import text

    line = Text(f"{':'.join(map(str, branch.path))}  {_safe(text(branch.told))}")
    if below:
        line.append(f"  => {_safe(text(branch.resolved))}", style="bold")
        line.append(f"  of {_votes(branch, below)}", style="dim")
    if branch.is_false:
        line.append(f"  {_mark(branch)}", style="red")
    return line


def _votes(branch: Branch, below: list[Branch]) -> str:
    from node.quorums import tally
    from orchestrator.verdict import text

    counted = tally([branch.told, *(one.resolved for one in below)])
    return ", ".join(f"{times} {_safe(text(value))}" for value, times in counted[:4])


def _mark(branch: Branch) -> str:
    """A traitor lied; what a loyal general said, and was heard otherwise, was lost on the way."""
    from orchestrator.verdict import text

    what = "a lie" if branch.is_traitor else "lost on the way"
    return f"! {what}: {branch.path[-1]} held {_safe(text(branch.held))}"


def _table(tree: Tree) -> Any:
    from rich import box
    from rich.table import Table

    from orchestrator.verdict import text

    title = f"general {tree.general}: who said that who said what"
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, title=title, title_justify="left")
    table.title_style = "bold"
    table.add_column("says", justify="right", footer="majority")
    for about in tree.lieutenants:
        table.add_column(f"of {about}", footer=_safe(text(tree.column(about))))
    table.show_footer = True
    for speaker in tree.lieutenants:
        table.add_row(str(speaker), *(_cell(tree, speaker, about) for about in tree.lieutenants))
    return table


def _cell(tree: Tree, speaker: int, about: int) -> Text:
    from rich.text import Text

    from orchestrator.verdict import text

    cell = tree.cell(speaker, about)
    if cell is None:
        return Text("")
    vote = Text(_safe(text(tree.vote(speaker, about))))
    return vote.append(" !", style="red") if cell.is_false else vote


def _settled(tree: Tree) -> Text:
    from rich.text import Text

    from node.quorums import tally
    from orchestrator.verdict import text

    counted = tally(tree.column(about) for about in tree.lieutenants)
    votes = ", ".join(f"{times} {_safe(text(value))}" for value, times in counted[:4])
    settled = Text(f"general {tree.general} settles on {_safe(text(tree.root.resolved))}")
    return settled.append(f", of {votes}; ! marks a lie", style="dim")


def _fields(tree: Tree) -> dict[str, Any]:
    return {
        "general": tree.general,
        "commander": tree.commander,
        "decides": tree.root.resolved,
        "paths": [_branch_fields(branch) for branch in tree.branches.values()],
    }


def _branch_fields(branch: Branch) -> dict[str, Any]:
    return {
        "path": list(branch.path),
        "told": branch.told,
        "resolved": branch.resolved,
        "held": branch.held,
        "lie": branch.is_false and branch.is_traitor,
    }


def _matrix_fields(tree: Tree) -> dict[str, Any]:
    return {
        "general": tree.general,
        "commander": tree.commander,
        "decides": tree.root.resolved,
        "says": {
            str(speaker): {
                str(about): tree.vote(speaker, about)
                for about in tree.lieutenants
                if tree.cell(speaker, about) is not None
            }
            for speaker in tree.lieutenants
        },
        "majority": {str(about): tree.column(about) for about in tree.lieutenants},
    }


def _safe(line: str) -> str:
    from orchestrator.tables import safe_line

    return safe_line(line)


def _print(drawing: Any) -> None:
    from orchestrator.cli.run import console

    console().print(drawing, soft_wrap=True)


def _refuse(text: str) -> NoReturn:
    click.echo(text, err=True)
    raise click.exceptions.Exit(2)
