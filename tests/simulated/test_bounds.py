"""Inside the bounds nothing breaks, whoever lies and however; below them something does.

Runs are drawn by hypothesis: n, m, the traitors, a strategy with parameters and a trigger for each,
the order. A failure prints the scenario; `play(**scenario)` of tests/stage.py repeats it.
"""

from __future__ import annotations

import random
from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node.traitors import STRATEGIES
from orchestrator.results import Result
from tests.attackers import Framer, named
from tests.stage import A, R, a, accusations, play, refused, script, to

COMMON = settings(deadline=None, print_blob=True)

DOMAINS: dict[str, dict[str, Any]] = {
    "two orders": {"values": [R, A], "default": R},
    "attack by default": {"values": [R, A], "default": A},
    "three orders": {"values": [R, A, "wait"], "default": "wait"},
    "numbers": {"values": "numbers", "default": 0},
}


def values_of(domain: str) -> list[Any]:
    values = DOMAINS[domain]["values"]
    return [-1.5, 0.0, 7.0] if values == "numbers" else values


@st.composite
def parameters(draw: st.DrawFn, name: str, n: int, rounds: int, values: list[Any]) -> Any:
    """Sensible parameters of a strategy, by its name."""
    generals = st.integers(0, n - 1)
    match name:
        case "two-faced":
            faces: dict[Any, list[int]] = {}
            for general in draw(st.sets(generals)):
                faces.setdefault(draw(st.sampled_from(values)), []).append(general)
            return {"faces": faces}
        case "script":
            line = st.fixed_dictionaries(
                {"say": st.sampled_from([*values, None])},
                optional={
                    "to": generals,
                    "round": st.integers(1, rounds),
                    "instance": generals,
                    "chain": st.lists(st.integers(-1, n), max_size=rounds + 1),
                },
            )
            return {"lines": draw(st.lists(line, max_size=4))}
        case "delayer":
            return {"late_ms": draw(st.sampled_from([-499.0, -1.0, -0.1, 0.0, 1.0, 600.0]))}
        case "crasher":
            return {"round": draw(st.integers(1, rounds)), "after": draw(st.integers(0, n))}
        case "many-faced":
            return {"values": draw(st.integers(1, 6))}
        case _:
            return {}


@st.composite
def triggers(draw: st.DrawFn, me: int, n: int, rounds: int) -> dict[str, Any]:
    others = [g for g in range(n) if g != me]
    optional = {
        "rounds": st.lists(st.integers(1, rounds), min_size=1, max_size=rounds, unique=True),
        "to": st.lists(st.sampled_from(others), min_size=1, unique=True),
        "probability": st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    }
    return draw(st.fixed_dictionaries({}, optional=optional))


@st.composite
def casts(draw: st.DrawFn, n: int, m: int, values: list[Any]) -> dict[int, Any]:
    """At most m traitors, each with a strategy, its parameters and when he lies."""
    who = draw(st.lists(st.integers(0, n - 1), max_size=m, unique=True))
    traitors = {}
    for general in who:
        name = draw(st.sampled_from(sorted(STRATEGIES)))
        params = draw(parameters(name, n, m + 1, values))
        when = draw(triggers(general, n, m + 1)) if draw(st.booleans()) else {}
        traitors[general] = {"strategy": name, "with": params, "when": when}
    return traitors


#: (m, the n to draw from): every bound itself, and some above it.
ORAL = [(0, (2, 5)), (1, (4, 7)), (2, (7, 9))]
SIGNED = [(0, (2, 5)), (1, (3, 6)), (2, (4, 7)), (3, (5, 7))]
CONSISTENCY = {
    "oral": [(0, (2, 4)), (1, (4, 6)), (2, (7, 7))],
    "signed": [(0, (2, 4)), (1, (3, 5)), (2, (4, 6))],
}


@st.composite
def runs(draw: st.DrawFn, protocol: str, bounds: list[tuple[int, tuple[int, int]]]) -> Any:
    m, (least, most) = draw(st.sampled_from(bounds))
    n = draw(st.integers(least, most))
    domain = draw(st.sampled_from(sorted(DOMAINS)))
    values = values_of(domain)
    fields = dict(DOMAINS[domain], protocol=protocol, n=n, m=m)
    fields["traitors"] = draw(casts(n, m, values))
    fields["seed"] = draw(st.integers(0, 3))
    fields["coalition"] = draw(st.booleans())
    if protocol == "interactive-consistency":
        fields["inputs"] = draw(st.lists(st.sampled_from(values), min_size=n, max_size=n))
        # Only a majority of loyal generals binds what is combined of all values.
        combiners = ["vector", "majority", "median"] if n > 2 * m else ["vector"]
        fields["combiner"] = draw(st.sampled_from(combiners))
    else:
        fields["order"] = draw(st.sampled_from(values))
        fields["commander"] = draw(st.integers(0, n - 1))
    return fields


def assert_unbroken(fields: dict[str, Any]) -> Result:
    """Every promise was owed and held, every signature is good, and no loyal general accused."""
    result = play(**fields)
    assert result.verdict.not_owed is None
    assert result.verdict.outcome == "pass", result.verdict.sentence()
    assert result.audit.is_clean, result.audit.findings
    faulty = result.scenario.faulty
    assert result.audit.proofs.keys() <= faulty
    assert {proof.culprit for held in accusations(result).values() for proof in held} <= faulty
    assert {sender for receiver, sender, _ in refused(result) if receiver not in faulty} <= faulty
    assert result.seconds <= (fields["m"] + 1) * 0.5
    return result


@settings(COMMON, max_examples=200)
@given(runs("oral", ORAL))
def test_oral_messages_inside_the_bounds(fields: dict[str, Any]) -> None:
    assert_unbroken(fields)


@settings(COMMON, max_examples=250)
@given(runs("signed", SIGNED))
def test_signed_messages_inside_the_bounds(fields: dict[str, Any]) -> None:
    assert_unbroken(fields)


@settings(COMMON, max_examples=120)
@given(runs("interactive-consistency", CONSISTENCY["oral"]))
def test_consistency_over_oral_messages_inside_the_bounds(fields: dict[str, Any]) -> None:
    assert_unbroken({**fields, "over": "oral"})


@settings(COMMON, max_examples=150)
@given(runs("interactive-consistency", CONSISTENCY["signed"]))
def test_consistency_over_signed_messages_inside_the_bounds(fields: dict[str, Any]) -> None:
    assert_unbroken({**fields, "over": "signed"})


def test_two_of_four_can_move_a_majority_and_it_is_not_owed() -> None:
    """SM(2) makes four generals agree on the vector, and half of it is the traitors' own."""
    traitors = {0: a("two-faced", faces={R: [1, 2, 3]}) | {"when": {"rounds": [1]}}, 1: "silent"}
    fields = {"over": "signed", "inputs": A, "traitors": traitors}
    vector = play("interactive-consistency", 4, 2, **fields)
    assert vector.verdict.outcome == "pass"
    assert vector.verdict.not_owed is None
    for combiner in ("majority", "median"):
        moved = play("interactive-consistency", 4, 2, **fields, combiner=combiner)
        assert moved.verdict.properties["ic1"].status == "held"
        assert moved.verdict.properties["ic2"].status == "broken"
        assert moved.verdict.outcome == "out-of-model"
        assert moved.verdict.not_owed == "n = 4 is below 5, which m = 2 needs"
        assert any("2m + 1 = 5" in warning for warning in moved.scenario.warnings())


# Below the bounds.


def test_oral_messages_below_the_bound_break() -> None:
    """n = 3m with m = 2: pairs of traitors are found that break a promise; at n = 3m + 1 none."""
    lies = ["flip", "parity", "silent", a("two-faced", faces={A: [1, 3, 5], R: [2, 4]})]

    def broken(n: int) -> list[str]:
        """How the runs end in which a promise broke."""
        runs = product(combinations(range(n), 2), lies, (A, R))
        ended = [
            play("oral", n, 2, dict.fromkeys(who, lie), order=order).verdict.outcome.value
            for who, lie, order in runs
        ]
        return [outcome for outcome in ended if outcome != "pass"]

    below = broken(6)
    assert below
    assert set(below) == {"out-of-model"}, "promises that are not owed are no violations"
    assert broken(7) == []


def test_consistency_over_oral_messages_below_the_bound_breaks() -> None:
    vector = play("interactive-consistency", 3, 1, {2: "flip"}, over="oral", inputs=[A, R, A])
    assert vector.verdict.properties["ic2"].status == "broken"
    assert vector.verdict.outcome == "out-of-model"
    over_signed = play(
        "interactive-consistency", 3, 1, {2: "flip"}, over="signed", inputs=[A, R, A]
    )
    assert over_signed.verdict.outcome == "pass"


# No loyal general is ever accused (AU2, AU3).


def random_run(chance: random.Random) -> dict[str, Any]:
    """A run with f <= m signers who equivocate, forge and replay."""
    n, m = chance.choice([(3, 1), (4, 1), (4, 2), (5, 2)])
    protocol = chance.choice(["signed", "signed", "interactive-consistency"])
    lies: list[Any] = [
        "parity",
        "flip",
        "forger",
        "replayer",
        "random",
        a("two-faced", faces={A: [0, 1], R: [2, 3]}),
        a("many-faced", values=2),
        script(to(chance.randrange(n), R, round=2, chain=[0, chance.randrange(1, n)])),
    ]
    traitors = {g: chance.choice(lies) for g in chance.sample(range(n), chance.randint(0, m))}
    fields: dict[str, Any] = {"protocol": protocol, "n": n, "m": m, "traitors": traitors}
    if protocol == "signed":
        return fields | {"order": chance.choice([A, R]), "seed": chance.randrange(100)}
    inputs = [chance.choice([A, R]) for _ in range(n)]
    return fields | {"over": "signed", "inputs": inputs, "combiner": "vector"}


@pytest.mark.parametrize("seed", range(10))
def test_au2_no_proof_against_a_loyal_general_in_a_thousand_runs(seed: int) -> None:
    chance, proofs = random.Random(seed), 0
    for _ in range(100):
        fields = random_run(chance)
        result = assert_unbroken(fields)
        proofs += sum(result.audit.proofs.values())
    assert proofs > 20, "traitors are caught: the runs are not tame"


@pytest.mark.parametrize("m", [1, 2])
def test_au3_a_spliced_chain_is_no_evidence(m: int) -> None:
    """General 3 puts the loyal commander's signature under a second value: in what he relays, and
    in a proof of his own making. Nobody takes the first, and the audit tells that the second is
    his own false entry."""
    result = play("signed", 4, m, {3: named(Framer)})
    assert {g: v for g, v in result.decisions.items() if g != 3} == {0: A, 1: A, 2: A}
    assert result.verdict.outcome == "pass"
    relayed = {key: count for key, count in refused(result).items() if key[0] != 3}
    assert relayed == {(1, 3, "bad_signature"): 1, (2, 3, "bad_signature"): 1}
    assert accusations(result).keys() == {3}
    assert result.audit.proofs == {}
    assert result.audit.is_clean
    assert [(f.file, f.kind) for f in result.audit.false] == [
        ("general-3.journal", "the proof against general 0 proves nothing")
    ]
