"""Every lie there is, in runs small enough to have few of them (OM3, and the like for SM).

The searches are functions that return the lies under which a promise broke: above a bound nothing
may be found, and below it the same search must find something, or it would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import pytest

from node.protocols import catalogue
from orchestrator.results import Result
from tests.stage import A, R, obeyed, play, script, to

#: Traitors and what they say, as scenarios write it.
Lies = dict[int, Any]


def broken(lies: Iterator[Lies], played: Callable[[Lies], Result]) -> tuple[int, list[Lies]]:
    """How many lies there are, and those under which a promise broke, owed or not."""
    count, found = 0, []
    for traitors in lies:
        result = played(traitors)
        count += 1
        assert result.audit.is_clean, traitors
        assert result.audit.proofs.keys() <= traitors.keys(), f"a loyal general accused: {traitors}"
        if result.verdict.outcome in ("violation", "out-of-model"):
            found.append(traitors)
        else:
            assert result.verdict.outcome == "pass", traitors
    return count, found


# Oral messages: attack, retreat or silence, to each receiver.


def oral_lies(traitor: int, n: int) -> Iterator[Lies]:
    """In OM(1) a traitor speaks to each other lieutenant once."""
    receivers = [g for g in range(1, n) if g != traitor]
    for told in product((A, R, None), repeat=len(receivers)):
        yield {traitor: script(*(to(g, say) for g, say in zip(receivers, told, strict=True)))}


@pytest.mark.parametrize("default", [A, R])
@pytest.mark.parametrize("order", [A, R])
@pytest.mark.parametrize(("traitor", "lies"), [(0, 27), (1, 9), (2, 9), (3, 9)])
def test_om3_no_lie_of_one_traitor_among_four_breaks_a_promise(
    traitor: int, lies: int, order: str, default: str
) -> None:
    count, found = broken(
        oral_lies(traitor, 4),
        lambda traitors: play("oral", 4, 1, traitors, order=order, default=default),
    )
    assert count == lies
    assert found == []


def test_three_generals_with_oral_messages_are_one_too_few() -> None:
    count, found = broken(
        (lies for traitor in (0, 1, 2) for lies in oral_lies(traitor, 3)),
        lambda traitors: play("oral", 3, 1, traitors, order=A),
    )
    assert count == 9 + 3 + 3
    # A lieutenant who says retreat, or nothing, makes the other disobey a loyal commander.
    assert found == [
        {1: script(to(2, R))},
        {1: script(to(2, None))},
        {2: script(to(1, R))},
        {2: script(to(1, None))},
    ]


def test_the_oral_search_sees_a_majority_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search that found nothing finds something once generals obey what they were told."""
    monkeypatch.setattr("node.protocols.oral.majorities", lambda own, votes, domain: own)
    _, found = broken(oral_lies(0, 4), lambda traitors: play("oral", 4, 1, traitors, order=A))
    assert found


# Signed messages: either order, both in one frame, silence, or a forged order, to each receiver.


def signed_by(commander: int, n: int) -> Iterator[Lies]:
    """What a traitorous commander can sign: nothing, one order, or both, in either sequence."""
    ways: Sequence[tuple[str, ...]] = [(), (A,), (R,), (A, R), (R, A)]
    for told in product(ways, repeat=n - 1):
        lines = [
            line
            for receiver, values in enumerate(told, start=1)
            for line in says(receiver, values, (commander,), round=1)
        ]
        yield {commander: script(*lines)}


def relayed_by(traitor: int, n: int, accomplices: Sequence[int] = ()) -> Iterator[Lies]:
    """What a traitorous lieutenant can relay in round 2: either order, both, nothing.

    Without the commander's key he has his signature on one order only, and can put it under the
    other, or leave it out.
    """
    receivers = [g for g in range(1, n) if g != traitor]
    ways: list[tuple[str, ...]] = [(), (A,), (R,), (A, R), (R, A)]
    spliced = [] if accomplices else [A, R]
    for told in product([*ways, *spliced], repeat=len(receivers)):
        lines = [
            line
            for receiver, said in zip(receivers, told, strict=True)
            for line in (
                [to(receiver, said, round=2)]
                if isinstance(said, str)
                else says(receiver, said, (0, traitor), round=2)
            )
        ]
        yield {traitor: script(*lines), **{g: script() for g in accomplices}}


def says(
    receiver: int, values: Sequence[str], chain: Sequence[int], round: int
) -> list[dict[str, Any]]:
    if not values:
        return [to(receiver, None, round=round)]
    return [to(receiver, value, round=round, chain=list(chain)) for value in values]


@pytest.mark.parametrize("order", [A, R])
@pytest.mark.parametrize(("n", "lies"), [(3, 25), (4, 125)])
def test_no_lie_of_a_signing_commander_breaks_a_promise(n: int, lies: int, order: str) -> None:
    count, found = broken(
        signed_by(0, n), lambda traitors: play("signed", n, 1, traitors, order=order)
    )
    assert count == lies
    assert found == []


@pytest.mark.parametrize("order", [A, R])
@pytest.mark.parametrize(("n", "lies"), [(3, 7), (4, 49)])
def test_no_lie_of_a_relaying_lieutenant_breaks_a_promise(n: int, lies: int, order: str) -> None:
    for traitor in range(1, n):
        count, found = broken(
            relayed_by(traitor, n), lambda traitors: play("signed", n, 1, traitors, order=order)
        )
        assert count == lies
        assert found == []


def test_the_commanders_two_values_are_found_whoever_hears_them() -> None:
    """Whenever both orders reach a loyal general, directly or by another, he obeys the default."""
    for traitors in signed_by(0, 4):
        heard = {line["say"] for line in traitors[0]["with"]["lines"]} - {None}
        expected = heard.pop() if len(heard) == 1 else R
        assert set(obeyed(play("signed", 4, 1, traitors)).values()) == {expected}, traitors


def test_m_rounds_are_one_too_few_for_the_commander(monkeypatch: pytest.MonkeyPatch) -> None:
    """SM(1) cut to one round: where two hear different orders, nobody tells them."""
    monkeypatch.setattr(catalogue, "rounds", lambda brief: brief.m)
    count, found = broken(signed_by(0, 3), lambda traitors: play("signed", 3, 1, traitors))
    assert count == 25
    assert {0: script(to(1, A, round=1, chain=[0]), to(2, R, round=1, chain=[0]))} in found
    assert play("signed", 3, 1, found[0]).verdict.outcome == "violation"


def two_traitors() -> Iterator[Lies]:
    """0 gives 1 and 2 the order attack; 3, who holds his key, says all there is to say."""
    return relayed_by(3, 4, accomplices=[0])


def test_m_rounds_are_one_too_few_for_two_traitors(monkeypatch: pytest.MonkeyPatch) -> None:
    """SM(2) cut to two rounds: an order shown to one general in the last one is news to him."""
    whole, none = broken(two_traitors(), lambda traitors: play("signed", 4, 2, traitors))
    assert (whole, none) == (25, [])
    monkeypatch.setattr(catalogue, "rounds", lambda brief: brief.m)
    _, found = broken(two_traitors(), lambda traitors: play("signed", 4, 2, traitors))
    last_round = script(to(1, R, round=2, chain=[0, 3]), to(2, None, round=2))
    assert {3: last_round, 0: script()} in found
    assert all(play("signed", 4, 2, lies).verdict.outcome == "violation" for lies in found)


def test_two_traitors_are_one_too_many_for_m_1() -> None:
    """The same lies against SM(1): agreement breaks exactly where one of two hears of retreat."""
    count, found = broken(two_traitors(), lambda traitors: play("signed", 4, 1, traitors))
    assert count == 25
    of_retreat = [
        lies
        for lies in two_traitors()
        if len({line["to"] for line in lies[3]["with"]["lines"] if line["say"] == R}) == 1
    ]
    assert found == of_retreat
    assert play("signed", 4, 1, found[0]).verdict.outcome == "out-of-model"
