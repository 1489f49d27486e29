"""Sweeps find nothing where nothing is wrong, and planted bugs, which are then made small."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from node import general, signatures
from node.effects import Effect, Reason
from node.events import Event, Received
from node.messages import Body, Frame, Signed
from node.protocols import catalogue
from node.protocols.signed import SignedMessages
from node.rounds import Rounds
from node.traitors import Power, Strategy
from orchestrator.__main__ import byzantine
from orchestrator.backends.simulation import Simulation
from orchestrator.bounds import Found, cases, search
from orchestrator.scenario import Outcome, Scenario, load, parse
from orchestrator.shrink import failure_of, shrink
from orchestrator.sweep import DRAWN, Campaign, Cell, Drawn, Finding, Repeated, Summary, sweep
from orchestrator.trial import play
from tests.stage import A, R, scenario

SIGNED = (Cell("signed", 4, 1), Cell("signed", 4, 2), Cell("signed", 5, 2))
ALL = (
    *SIGNED,
    Cell("oral", 4, 1),
    Cell("oral", 7, 2),
    Cell("interactive-consistency", 4, 1, "oral"),
    Cell("interactive-consistency", 4, 1, "signed"),
)


def test_within_the_bounds_nothing_breaks_whatever_is_drawn() -> None:
    summary = sweep(Drawn(Campaign(ALL)), range(300), jobs=1)
    assert summary.runs == 300
    assert [(f.seed, f.told()) for f in summary.failures] == []
    assert {o for counts in summary.cells.values() for o in counts} == {Outcome.PASS}


def test_a_seed_draws_the_same_run_again_and_another_seed_another() -> None:
    draw = Drawn(Campaign(ALL))
    assert [draw(seed) for seed in range(20)] == [draw(seed) for seed in range(20)]
    assert len({draw(seed).resolved_yaml() for seed in range(0, 140, 7)}) == 20


def test_what_is_drawn_touches_no_more_than_m_generals_unless_it_is_to() -> None:
    for seed in range(200):
        drawn = Drawn(Campaign(ALL))(seed)
        result = play(drawn, Simulation())
        assert len(result.verdict.faulty) <= drawn.m, seed


def test_beyond_m_promises_break_and_are_not_owed() -> None:
    summary = sweep(Drawn(Campaign((Cell("oral", 4, 1),), beyond=2)), range(80), jobs=1)
    (counts,) = summary.cells.values()
    assert counts[Outcome.OUT_OF_MODEL] > 0
    assert counts[Outcome.VIOLATION] == 0


def test_two_processes_come_to_what_one_does() -> None:
    draw = Drawn(Campaign(SIGNED))
    alone, together = sweep(draw, range(64), jobs=1), sweep(draw, range(64), jobs=2)
    assert alone.cells == together.cells
    assert alone.exercised == together.exercised


def test_it_says_what_was_never_exercised() -> None:
    campaign = Campaign((Cell("oral", 4, 1),), strategies=("silent",), network_faults=0)
    never = sweep(Drawn(campaign), range(10), jobs=1).never_exercised(campaign)
    assert "strategy silent" not in never
    assert {"link lost", "refused chain_length"} <= set(never)


# Planted bugs.


class NoChainLength(SignedMessages):
    """Takes a chain of any length in any round."""

    def _fault(self, round: int, speaker: int, order: Any) -> Reason | None:
        fault = super()._fault(round, speaker, order)
        return None if fault is Reason.CHAIN_LENGTH else fault


class NoDistinctSigners(SignedMessages):
    """Counts one signer as often as he signs."""

    def _fault(self, round: int, speaker: int, order: Any) -> Reason | None:
        fault = super()._fault(round, speaker, order)
        return None if fault is Reason.REPEATED_SIGNER else fault


class NoLastRound(SignedMessages):
    """Believes that m rounds are enough."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**{**fields, "rounds": fields["rounds"] - 1})


class TakesLateFrames(Rounds):
    """Hands what comes after its round to the protocol all the same."""

    def on_event(self, event: Event) -> list[Effect]:
        match event:
            case Received(sender, frame) if 0 < frame.round < self.round:
                return self._protocol.hear(frame.round, {sender: frame.body})
            case _:
                return super().on_event(event)


@dataclass(frozen=True)
class Plant:
    """A bug, where it is planted, and the size of the attack in ATTACKS.md that shows it."""

    where: Any
    name: str
    bug: Any
    n: int
    m: int
    traitors: set[int]
    strategies: tuple[str, ...] = DRAWN


PLANTS = {
    # SM3: R:0:3 in round 3.
    "chain length": Plant(
        catalogue, "SignedMessages", NoChainLength, 4, 2, {0, 3}, ("last-round", "silent")
    ),
    # SM5: R:0:3:3 in round 3.
    "distinct signers": Plant(
        catalogue, "SignedMessages", NoDistinctSigners, 4, 2, {0, 3}, ("padder", "silent")
    ),
    # SM1 with a round too few: one order to each of two.
    "last round": Plant(catalogue, "SignedMessages", NoLastRound, 3, 1, {0}),
    # SM13: a frame after its deadline, to one of two, while the round waits for a silent one.
    "late frames": Plant(general, "Rounds", TakesLateFrames, 4, 2, {0, 3}, ("delayer", "silent")),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_bug_is_found_and_shrunk_to_the_size_of_the_attack(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant = PLANTS[name]
    campaign = Campaign(SIGNED, chaos=(), strategies=plant.strategies)
    monkeypatch.setattr(plant.where, plant.name, plant.bug)
    seed = next(s for s in range(3000) if _violates(Drawn(campaign)(s)))
    found = Drawn(campaign)(seed)
    small = shrink(found)
    assert failure_of(small)[0] == "violation"
    assert (small.n, small.m, len(small.traitors)) == (plant.n, plant.m, len(plant.traitors))
    assert small.chaos == ()
    assert parse(small.resolved_yaml(), small.name) == small
    monkeypatch.undo()
    assert play(small, Simulation()).verdict.outcome is Outcome.PASS


def _violates(made: Scenario) -> bool:
    return play(made, Simulation()).verdict.outcome is Outcome.VIOLATION


class Forgetful(signatures.Chains):
    """Signs and verifies without the run."""

    def __init__(self, run: bytes, protocol: str, publics: Any) -> None:
        super().__init__(bytes(32), protocol, publics)


class Yesterday(Strategy):
    """Replays to odd-numbered receivers what the commander signed in another run."""

    summary = "presents an order of another run with the same keys"
    powers = frozenset({Power.INJECT})
    recorded: ClassVar[list[Any]] = []

    def alter(self, body: Body, to: int, round: int, instance: int) -> Body:
        if round == 1 or to % 2 == 0 or not self.recorded:
            return body
        (order,) = self.recorded
        signed = self.seat.chains.complete(
            type(order)(order.token, (*order.signers, self.seat.me), order.signatures),
            instance,
            self.seat.keys,
        )
        return Signed((signed,))


def _two_runs(seed: int, n: int) -> Scenario:
    """The run of today, after that of yesterday, in which the order was another one."""
    from node.wire import decode
    from tests.stage import told

    before = play(scenario("signed", n, 1, order=R, seed=seed), Simulation())
    frame = decode(told(before, 1, 1)[0])
    assert isinstance(frame, Frame)
    assert isinstance(frame.body, Signed)
    Yesterday.recorded[:] = frame.body.orders
    traitor = {"strategy": f"{__name__}:Yesterday"}
    return scenario("signed", n, 1, {n - 1: traitor}, order=A, seed=seed)


@pytest.fixture(autouse=True)
def _nothing_recorded() -> Iterator[None]:
    yield
    Yesterday.recorded.clear()


def test_without_the_run_id_in_signatures_a_kept_key_lets_yesterday_into_today(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SM10: keys of one seed are the same in two runs; the shrunk run is as small as its row."""
    for module in (general, __import__("orchestrator.audit").audit):
        monkeypatch.setattr(module, "Chains", Forgetful)
    found = next(made for seed in range(50) if "A4" in failure_of(made := _two_runs(seed, 5))[1])
    small = shrink(found)
    assert (small.n, small.m, len(small.traitors)) == (4, 1, 1)
    monkeypatch.undo()
    assert play(small, Simulation()).verdict.outcome is Outcome.PASS


# Shrinking.


def test_what_is_not_needed_is_left_out_and_the_rest_is_renumbered() -> None:
    whole = scenario(
        "oral",
        6,
        1,
        {3: "flip", 5: {"strategy": "parity", "when": {"probability": 0.99, "rounds": [1, 2]}}},
        chaos=[{"at": "round 2", "kill": 4}, {"at": "round 1", "links": {"duplicate": 0.5}}],
        seed=9,
    )
    assert failure_of(whole)[0] == "out-of-model"
    small = shrink(whole)
    assert failure_of(small) == failure_of(whole)
    assert small.n < whole.n
    assert len(small.traitors) + len(small.chaos) < 4
    assert small.seed == 1


def test_a_story_that_passes_has_nothing_to_shrink(tmp_path: Path) -> None:
    said = CliRunner().invoke(byzantine, ["shrink", "oral-traitorous-lieutenant"])
    assert said.exit_code == 2
    assert "there is no failure" in said.output


# The commands.


def test_the_sweep_of_a_scenario_that_fails_leaves_it_and_says_how_to_play_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "SignedMessages", NoLastRound)
    file = tmp_path / "story.yaml"
    file.write_text(
        "{protocol: signed, n: 3, m: 1, traitors: [{general: 0, strategy: two-faced,"
        " with: {faces: {attack: [1], retreat: [2]}}}]}"
    )
    out = tmp_path / "out"
    args = ["sweep", str(file), "--runs", "2", "--seed", "5", "--jobs", "1", "--out", str(out)]
    said = CliRunner().invoke(byzantine, args, standalone_mode=False)
    assert said.return_value == 1
    left = out / "story-5.yaml"
    assert f"byzantine run --backend simulation {left}" in said.output
    assert f"byzantine shrink {left}" in said.output
    assert load(left).seed == 5
    small = tmp_path / "small.yaml"
    said = CliRunner().invoke(
        byzantine, ["shrink", str(left), "-o", str(small)], standalone_mode=False
    )
    assert said.return_value == 0
    assert load(small).n == 3


@pytest.mark.parametrize("style", ["table", "json", "junit"])
def test_a_clean_sweep_in_every_format(style: str, tmp_path: Path) -> None:
    args = ["sweep", "--runs", "12", "--protocol", "oral", "-m", "1", "--jobs", "1"]
    said = CliRunner().invoke(
        byzantine, [*args, "--format", style, "--out", str(tmp_path)], standalone_mode=False
    )
    assert said.return_value == 0
    match style:
        case "json":
            assert json.loads(said.output)["runs"] == 12
        case "junit":
            assert 'failures="0"' in said.output
        case _:
            assert "12 runs, 0 failures" in said.output
            assert "never exercised:" in said.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["--strategy", "script"], "a sweep draws parameters of"),
        (["--protocol", "orl"], "there is no protocol"),
        (["-n", "3", "-m", "3"], "m must be below n"),
        (["no-such-story"], "no shipped scenario of that name"),
    ],
)
def test_a_campaign_that_cannot_be_is_refused(args: list[str], why: str) -> None:
    said = CliRunner().invoke(byzantine, ["sweep", *args])
    assert said.exit_code == 2
    assert why in said.output


def test_the_gravest_failure_is_the_exit_code() -> None:
    def finding(outcome: Outcome, is_audited: bool = True) -> Finding:
        return Finding(1, "cell", outcome, "why", is_audited)

    summary = Summary()
    assert summary.exit_code() == 0
    for one, code in (
        (finding(Outcome.UNKNOWN), 3),
        (finding(Outcome.VIOLATION), 1),
        (finding(Outcome.PASS, is_audited=False), 5),
    ):
        summary.add(one)
        assert summary.exit_code() == code


def test_a_scenario_repeated_has_another_seed_each_time() -> None:
    made = scenario("oral", 4, 1)
    assert [Repeated(made)(seed).seed for seed in (3, 4)] == [3, 4]


# Bounds.


def looked_at(protocol: str, m_max: int = 1) -> dict[str, Found]:
    return {case.title: search(case) for case in cases(protocol, m_max) if case.ways < 300}


def test_the_bounds_of_oral_messages_show_themselves() -> None:
    found = looked_at("oral")
    below, bound = found["OM(1), n = 3 = 3m"], found["OM(1), n = 4 = 3m + 1"]
    assert below.broken is not None
    assert len(below.broken.traitors) == 1
    assert (bound.broken, bound.is_exhaustive, bound.tried) == (None, True, 16)
    ring = found["OM(1) relayed on a ring of 4, connectivity 2 = 2m"]
    assert ring.broken is not None
    assert all(one.is_as_the_theorem_says for one in found.values())


def test_the_bounds_of_signed_messages_show_themselves() -> None:
    found = looked_at("signed", 2)
    assert [one.broken is not None for one in found.values()] == [True, False, True, False]
    assert all(one.is_exhaustive and one.is_as_the_theorem_says for one in found.values())


def test_a_search_that_is_not_exhaustive_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import orchestrator.bounds as bounds

    monkeypatch.setattr(bounds, "EXHAUSTIVE_MAX", 4)
    monkeypatch.setattr(bounds, "SAMPLED", 5)
    bound = next(case for case in cases("oral") if "3m + 1" in case.title)
    assert (search(bound).is_exhaustive, search(bound).tried) == (False, 5)


def test_the_command_leaves_its_counterexamples(tmp_path: Path) -> None:
    args = ["bounds", "--protocol", "signed", "--out", str(tmp_path)]
    said = CliRunner().invoke(byzantine, args, standalone_mode=False)
    assert said.return_value == 0
    assert "nothing breaks: all of 9 ways to lie were played (9)" in said.output
    (left,) = tmp_path.iterdir()
    assert play(load(left), Simulation()).verdict.outcome is Outcome.OUT_OF_MODEL
