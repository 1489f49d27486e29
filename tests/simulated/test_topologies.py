"""Agreement where not everyone can speak to everyone: disjoint paths, and SM in m + d rounds.

Lamport, Shostak, Pease 1982, section 6; Dolev, "The Byzantine Generals Strike Again", 1982.
"""

from __future__ import annotations

import json
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

from node.effects import Reason
from node.messages import Empty, Oral, Parcel, Parcels
from node.orders import Brief
from node.protocols.oral import OralMessages
from node.relay import Relay
from orchestrator.scenario import Outcome, ScenarioError
from orchestrator.topology import COMPLETE, Forbidden, edges, flooded, layout, relayed
from tests.stage import A, R, a, frames, messages, obeyed, play

CUBE = edges(8, "hypercube", 1)


def test_r20_om1_on_a_ring_of_four_is_refused_with_the_cut() -> None:
    with pytest.raises(
        ScenarioError, match=r"connectivity 2 is below 2m \+ 1 = 3: 0, 2 part \{1\}"
    ):
        play("oral", 4, 1, topology="ring")


def test_r20_on_a_three_connected_graph_of_eight_all_agree(tmp_path: Path) -> None:
    result = play("oral", 8, 1, {5: "flip"}, topology="hypercube", out=tmp_path)
    assert set(obeyed(result).values()) == {A}
    assert result.verdict.outcome is Outcome.PASS
    assert sum(messages(result)) == 7 + 42
    assert result.path is not None
    listed = json.loads((result.path / "run.json").read_text())["paths"]
    assert listed == [list(path) for path in result.scenario.layout.paths]


@pytest.mark.parametrize("name", ["hypercube", "random-regular 3", "wheel"])
def test_the_certificate_is_2m_plus_1_vertex_disjoint_paths_of_the_graph(name: str) -> None:
    links = set(edges(8, name, 3))
    laid = relayed(8, 1, tuple(sorted(links)), False)
    for origin, target in combinations(range(8), 2):
        paths = [p for p in laid.paths if (p[0], p[-1]) == (origin, target)]
        inner = [g for path in paths for g in path[1:-1]]
        assert len(inner) == len(set(inner))
        assert len(paths) == (1 if (origin, target) in links else 3)
        for path in paths:
            assert all((min(s), max(s)) in links for s in pairwise(path))
            assert tuple(reversed(path)) in laid.paths


@pytest.mark.parametrize("strategy", ["flip", "parity", "silent", "random", "crasher"])
@pytest.mark.parametrize("traitor", range(8))
def test_one_traitor_anywhere_on_a_cube_moves_nobody(traitor: int, strategy: str) -> None:
    result = play("oral", 8, 1, {traitor: strategy}, topology="hypercube", order=A)
    assert result.verdict.outcome is Outcome.PASS
    assert len(set(obeyed(result).values())) == 1
    if traitor:
        assert set(obeyed(result).values()) == {A}


def test_with_paths_fewer_than_2m_plus_1_a_traitor_on_one_of_them_is_enough() -> None:
    """Forced, so that the counterexample can be seen: 1 and 3 part 0 from 2."""
    result = play("oral", 4, 1, {1: "flip"}, topology="ring", force=True)
    assert result.decisions[2] == R
    assert result.verdict.outcome is Outcome.OUT_OF_MODEL
    assert "2 disjoint paths, below 2m + 1 = 3" in result.verdict.sentence()


def test_interactive_consistency_is_relayed_too() -> None:
    inputs = [A, R] * 5
    result = play(
        "interactive-consistency", 10, 1, {5: "random"}, topology="petersen", inputs=inputs
    )
    assert result.verdict.outcome is Outcome.PASS
    assert result.decisions[0] == result.decisions[9]


# SM.


def test_sm_on_a_ring_takes_m_plus_d_rounds() -> None:
    """Without one of six on a ring, the other five stand in a line: d = 4."""
    result = play("signed", 6, 1, {5: "silent"}, topology="ring")
    assert result.scenario.rounds == 1 + 4
    assert set(obeyed(result).values()) == {A}
    assert result.verdict.outcome is Outcome.PASS


@pytest.mark.parametrize("traitor", range(6))
def test_sm_on_a_ring_bears_a_traitor_anywhere(traitor: int) -> None:
    result = play("signed", 6, 1, {traitor: "parity"}, topology="ring")
    assert result.verdict.outcome is Outcome.PASS


def test_sm_is_refused_where_m_generals_can_part_the_others() -> None:
    with pytest.raises(
        ScenarioError, match=r"without 0, 2 the generals fall apart: \{1\} from \{3\}"
    ):
        play("signed", 4, 2, topology="ring")


def test_frames_go_between_neighbours_alone() -> None:
    result = play("signed", 6, 1, topology="ring")
    near = result.scenario.layout.neighbours
    for general, record in result.transcript.records.items():
        told = {to for e in record.entries if type(e).__name__ == "Said" for to in e.to}
        assert told <= set(near[general])
    assert len(frames(result)) == 5


# The rule book of the relay.


def brief(**fields: Any) -> Brief:
    laid = relayed(8, 1, CUBE, False)
    return Brief(protocol="oral", n=8, m=1, paths=laid.paths, reach=laid.reach, **fields)


def relay_of(me: int) -> Relay:
    domain = brief().domain
    part = OralMessages(me=me, n=8, m=1, commander=0, domain=domain, order=A if me == 0 else None)
    return Relay(me, brief(), part)


def path_to(target: int) -> tuple[int, ...]:
    return next(p for p in brief().paths if p[0] == 0 and p[-1] == target and len(p) > 2)


WORD = Oral(b"\x80")


@pytest.mark.parametrize(
    "wrong",
    ["another predecessor", "no path of the run", "not at this hop", "not his turn on it"],
)
def test_a_hop_takes_only_what_comes_along_its_path(wrong: str) -> None:
    path = path_to(7)
    relay = relay_of(path[1])
    speaker, hop, parcel = path[0], 1, Parcel(path, WORD)
    match wrong:
        case "another predecessor":
            speaker = next(g for g in range(8) if g not in path)
        case "no path of the run":
            parcel = Parcel((*path[:-1], path[0]), WORD)
        case "not at this hop":
            hop = 2
        case _:
            parcel = Parcel(path[1:], WORD)
    (effect,) = relay.hear(hop, {speaker: Parcels((parcel,))})
    assert (effect.sender, effect.reason) == (speaker, Reason.NOT_ON_PATH)


def test_a_second_parcel_on_a_path_is_refused() -> None:
    path = path_to(7)
    twice = Parcels((Parcel(path, WORD), Parcel(path, Oral(b"\x00"))))
    (effect,) = relay_of(path[1]).hear(1, {path[0]: twice})
    assert effect.reason is Reason.DUPLICATE


def test_what_is_no_parcel_is_refused_and_an_empty_frame_is_nothing() -> None:
    (effect,) = relay_of(1).hear(1, {0: WORD})
    assert effect.reason is Reason.BAD_SHAPE
    assert relay_of(1).hear(1, {0: Empty()}) == []


# Graphs.


@pytest.mark.parametrize(
    ("n", "name", "why"),
    [
        (6, "hypercube", "2, 4, 8, 16"),
        (9, "petersen", "10 generals, not 9"),
        (3, "wheel", "4 generals or more"),
        (5, "random-regular 3", "no graph of 5 generals"),
        (5, "star", "there is no topology"),
    ],
)
def test_a_graph_that_there_is_not_is_refused(n: int, name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        edges(n, name, 1)


def test_a_complete_graph_needs_no_layout() -> None:
    assert layout(4, 1, COMPLETE, 1, is_signed=False) is None
    assert layout(4, 1, tuple(combinations(range(4), 2)), 1, is_signed=False) is None


def test_d_is_the_largest_diameter_that_any_m_can_leave() -> None:
    assert flooded(8, 0, CUBE).reach == 3
    assert flooded(8, 2, CUBE).reach == 4
    with pytest.raises(Forbidden, match="fall apart"):
        flooded(8, 3, CUBE)


def test_a_traitor_lies_in_what_he_relays_and_two_faced_by_the_last_receiver() -> None:
    result = play("oral", 8, 1, {1: a("two-faced", faces={R: [3, 5, 7]})}, topology="hypercube")
    assert result.verdict.outcome is Outcome.PASS
    lied = [e for e in result.transcript.records[1].entries if type(e).__name__ == "Lied"]
    assert any(">" in entry.truth for entry in lied)
