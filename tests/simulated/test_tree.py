"""`byzantine tree`: what journals say of each path, of runs whose every word is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.journal import Began, Opened, spelt
from node.messages import Frame
from orchestrator.results import Result
from orchestrator.transcript import Record, Transcript
from orchestrator.tree import NoTree, Tree, trees
from tests.paper.test_reference import ONE_EXCHANGE_TOO_FEW
from tests.simulated.test_cli import say
from tests.stage import A, Bent, R, play, tally


def all_of(result: Result, commander: int | None = None) -> dict[int, Tree]:
    return {tree.general: tree for tree in trees(result.transcript, commander)}


def lies(tree: Tree) -> set[tuple[int, ...]]:
    return {path for path, branch in tree.branches.items() if branch.is_false and branch.is_traitor}


@pytest.mark.parametrize(
    ("n", "m", "traitors"),
    [(4, 0, (3,)), (4, 1, (3,)), (4, 1, (0,)), (7, 2, (0, 6)), (10, 3, (3, 4, 7)), (3, 2, (1,))],
)
def test_every_tree_comes_to_what_its_general_decided(
    n: int, m: int, traitors: tuple[int, ...]
) -> None:
    result = play("oral", n, m, dict.fromkeys(traitors, "parity"))
    found = all_of(result)
    assert list(found) == list(range(1, n))
    for general, tree in found.items():
        assert tree.root.resolved == result.decisions[general]
        if m:
            votes = [tree.column(about) for about in tree.lieutenants]
            assert {v: votes.count(v) for v in votes} == tally(result, general)


def test_a_lie_is_marked_with_what_the_liar_held_and_nothing_else_is() -> None:
    result = play("oral", 4, 1, {3: "flip"}, order=A)
    found = all_of(result)
    assert lies(found[1]) == lies(found[2]) == {(0, 3)}
    assert lies(found[3]) == set()
    branch = found[1].branches[0, 3]
    assert (branch.told, branch.held) == (R, A)


def test_in_bad_commander_plus_each_lie_is_the_commanders_or_of_6() -> None:
    found = all_of(play("oral", 7, 2, ONE_EXCHANGE_TOO_FEW))
    assert lies(found[1]) == {(0, 2, 6), (0, 4, 6)}
    assert lies(found[2]) == {(0,), (0, 6), (0, 1, 6), (0, 3, 6), (0, 5, 6)}


def test_the_matrix_has_columns_whose_majorities_are_the_votes() -> None:
    tree = all_of(play("oral", 7, 2, ONE_EXCHANGE_TOO_FEW))[2]
    column = [tree.vote(speaker, 4) for speaker in (1, 3, 4, 5, 6)]
    assert column == [R, R, R, R, R]
    assert tree.vote(2, 4) is None
    assert [tree.vote(speaker, 6) for speaker in (1, 3, 4, 5, 6)] == [A, A, R, A, R]
    assert [tree.column(about) for about in range(1, 7)] == [A, R, A, R, A, A]


def test_a_silent_traitor_told_the_default() -> None:
    tree = all_of(play("oral", 4, 1, {3: "silent"}, order=A))[1]
    assert lies(tree) == {(0, 3)}


def test_what_a_loyal_general_said_and_nobody_heard_is_no_lie() -> None:
    def lose(
        _: Bent, at_s: float, sender: int, receiver: int, frame: Frame, data: bytes
    ) -> Iterator[tuple[float, int, bytes]]:
        if (sender, receiver, frame.round) != (2, 1, 2):
            yield at_s, receiver, data

    tree = all_of(play("oral", 4, 1, {}, order=A, on=Bent(lose)))[1]
    branch = tree.branches[0, 2]
    assert (branch.told, branch.held, branch.is_false, branch.is_traitor) == (R, A, True, False)
    assert lies(tree) == set()


def test_who_turns_traitor_in_mid_run_lies_from_then_on() -> None:
    step = {"at": "round 2", "promote": {"general": 3, "strategy": "flip"}}
    tree = all_of(play("oral", 4, 1, order=A, chaos=[step]))[1]
    assert lies(tree) == {(0, 3)}


def test_on_a_graph_a_tree_is_of_what_the_paths_brought() -> None:
    result = play("oral", 8, 1, {5: "flip"}, order=A, topology="hypercube")
    found = all_of(result)
    assert {g: tree.root.resolved for g, tree in found.items()} == {
        g: result.decisions[g] for g in range(1, 8)
    }
    assert lies(found[1]) == {(0, 5)}


def test_under_interactive_consistency_each_commander_has_his_tree() -> None:
    result = play(
        "interactive-consistency", 4, 1, {3: "flip"}, inputs=[A, R, A, R], combiner="vector"
    )
    for commander in range(4):
        for general, tree in all_of(result, commander).items():
            decision = result.decisions[general]
            assert isinstance(decision, tuple)
            assert decision[commander] == tree.root.resolved
    with pytest.raises(NoTree, match="whose order"):
        trees(result.transcript)


# What has no tree, and journals that say anything at all.


@pytest.mark.parametrize("protocol", ["signed", "flat-vote"])
def test_other_protocols_have_none(protocol: str) -> None:
    with pytest.raises(NoTree, match=f"{protocol} has no tree"):
        trees(play(protocol, 4, 1).transcript)


def changed(result: Result, general: int, **brief: Any) -> Transcript:
    """The transcript with another brief at the head of one journal."""
    import msgspec

    records = dict(result.transcript.records)
    opened = records[general].entries[0]
    assert isinstance(opened, Opened)
    other = msgspec.structs.replace(opened, brief=msgspec.structs.replace(opened.brief, **brief))
    assert spelt(other) != spelt(opened)
    records[general] = Record(general, [other, *records[general].entries[1:]])
    return Transcript(records)


@pytest.mark.parametrize(
    "brief",
    [
        {"m": -1},
        {"reach": 1 << 40},
        {"n": 1 << 40},
        {"m": 9},
        {"commander": 9},
        {"n": 30, "m": 20},
        {"n": 2},
    ],
    ids=str,
)
def test_a_brief_that_nobody_gave_is_refused(brief: dict[str, Any]) -> None:
    with pytest.raises(NoTree):
        trees(changed(play("oral", 4, 1, {3: "flip"}), 3, **brief))


def test_a_journal_that_ends_early_gives_what_there_is() -> None:
    result = play("oral", 4, 1, {3: "flip"}, order=A)
    records = dict(result.transcript.records)
    began = next(i for i, e in enumerate(records[2].entries) if isinstance(e, Began))
    records[2] = Record(2, records[2].entries[: began + 1])
    found = {tree.general: tree for tree in trees(Transcript(records))}
    assert set(found) == {1, 3}
    assert found[1].branches[0, 2].held is None
    with pytest.raises(NoTree, match="ends before round 1"):
        trees(Transcript(records), general=2)
    records[2] = Record(2)
    with pytest.raises(NoTree, match="cannot be read"):
        trees(Transcript(records))


# The command.


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = play("oral", 10, 3, {3: "flip"}, out=tmp_path_factory.mktemp("runs")).path
    assert path is not None
    return path


def test_a_large_tree_is_drawn_as_deep_as_is_asked(run: Path) -> None:
    assert len(say("tree", str(run), "1").lines) == 2 + 8 + 56 + 336
    shallow = say("tree", str(run), "1", "--depth", "2")
    assert shallow.lines[3].endswith("... 7 more, and what is below them: --depth 3")
    assert len(shallow.lines) == 2 + 2 * 8


def test_as_json_every_path_is_there(run: Path) -> None:
    said = say("tree", str(run), "1", "--format", "json").objects[0]
    assert (said["general"], said["commander"], said["decides"]) == (1, 0, A)
    assert len(said["paths"]) == 1 + 8 + 56 + 336
    assert sum(branch["lie"] for branch in said["paths"]) == 1 + 7 + 7 * 6


def test_the_matrix_as_json_has_everyone(run: Path) -> None:
    said = say("tree", str(run), "--matrix", "--format", "json").objects
    assert [one["general"] for one in said] == list(range(1, 10))
    assert said[0]["says"]["2"] == {"2": A, "3": R, **{str(g): A for g in range(4, 10)}}
    assert said[0]["majority"]["3"] == R


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["0"], "general 0 commands"),
        (["10"], "general 10 handed in no journal"),
        (["1", "--commander", "4"], "general 4 commands nothing here"),
        (["1", "--matrix", "--depth", "2"], "--depth is of trees"),
    ],
)
def test_what_cannot_be_drawn_is_said(run: Path, arguments: list[str], reason: str) -> None:
    said = say("tree", str(run), *arguments)
    assert (said.code, said.out) == (2, "")
    assert reason in said.err


def test_a_folder_without_a_run_is_said(tmp_path: Path) -> None:
    said = say("tree", str(tmp_path))
    assert said.code == 2
    assert "no run directory" in said.err
