"""What links do to messages: chance by key and never by arrival, cuts that hold back, order."""

from __future__ import annotations

from collections import Counter

import pytest

from node.link_faults import (
    Constant,
    Exponential,
    LinkFaults,
    LinkRule,
    Mishap,
    Passage,
    Uniform,
)

SOME = 400


def links(*rules: LinkRule, me: int = 1, seed: int = 7) -> LinkFaults:
    made = LinkFaults(me, seed)
    made.impose(rules)
    return made


def sent(faults: LinkFaults, to: int = 2, round: int = 1, data: bytes = b"word") -> list[Passage]:
    return faults.send(to, round, "oral", data)[0]


def fates(faults: LinkFaults, **rule: float) -> Counter[Mishap]:
    found: Counter[Mishap] = Counter()
    for round in range(SOME):
        found.update(faults.send(2, round, "oral", b"word")[1])
    return found


def test_without_rules_links_are_idle() -> None:
    assert links().are_idle
    assert sent(links()) == [Passage(0.0, 2, b"word")]


@pytest.mark.parametrize("field", ["lose", "duplicate", "corrupt"])
def test_a_probability_is_kept_to_over_many_messages(field: str) -> None:
    (_, times), *others = fates(links(LinkRule(**{field: 0.25}))).items()
    assert not others
    assert 60 <= times <= 140  # 100 are expected, with a deviation of 9


def test_the_same_key_has_the_same_fate_whatever_went_before() -> None:
    rule = LinkRule(lose=0.5, duplicate=0.5)
    forth, back = links(rule), links(rule)
    ahead = {round: sent(forth, round=round) for round in range(50)}
    assert {round: sent(back, round=round) for round in reversed(range(50))} == ahead


@pytest.mark.parametrize("other", [{"me": 3}, {"seed": 8}])
def test_another_sender_or_seed_has_another_fate(other: dict[str, int]) -> None:
    rule = LinkRule(lose=0.5)
    here, there = links(rule), links(rule, **other)
    assert [sent(here, round=r) for r in range(50)] != [sent(there, round=r) for r in range(50)]


def test_a_message_sent_again_has_a_chance_of_its_own() -> None:
    faults = links(LinkRule(lose=0.5))
    assert len({len(sent(faults)) for _ in range(50)}) == 2


def test_two_rules_of_one_probability_do_not_share_their_chance() -> None:
    faults = links(LinkRule(key=1, lose=0.5), LinkRule(key=2, lose=0.5))
    lost = fates(faults)[Mishap.LOST]
    assert 260 <= lost <= 340  # three quarters, not a half


@pytest.mark.parametrize(
    ("rule", "hit"),
    [
        (LinkRule(lose=1, receivers=(3,)), False),
        (LinkRule(lose=1, rounds=(2,)), False),
        (LinkRule(lose=1, kinds=("signed",)), False),
        (LinkRule(lose=1, receivers=(2,), rounds=(1,), kinds=("oral",)), True),
    ],
)
def test_a_rule_touches_only_what_it_names(rule: LinkRule, hit: bool) -> None:
    assert (sent(links(rule)) == []) is hit


def test_a_cut_link_holds_back_and_a_healed_one_lets_go_in_order() -> None:
    faults = links(LinkRule(receivers=(2,), cut=True))
    assert faults.send(2, 1, "oral", b"one") == ([], [Mishap.CUT])
    assert sent(faults, data=b"two", round=2) == []
    assert sent(faults, to=3) == [Passage(0.0, 3, b"word")]
    assert faults.impose(()) == [Passage(0.0, 2, b"one"), Passage(0.0, 2, b"two")]
    assert faults.impose(()) == []


def test_what_another_cut_still_holds_is_not_let_go() -> None:
    faults = links(LinkRule(receivers=(2, 3), cut=True))
    sent(faults)
    sent(faults, to=3)
    still = LinkRule(receivers=(3,), cut=True)
    assert faults.impose((still,)) == [Passage(0.0, 2, b"word")]


def test_an_overtaken_message_follows_the_next_one_on_its_link() -> None:
    faults = links(LinkRule(rounds=(1,), reorder=1))
    assert sent(faults, data=b"first") == []
    assert sent(faults, to=3, data=b"aside", round=2) == [Passage(0.0, 3, b"aside")]
    assert [p.data for p in sent(faults, data=b"second", round=2)] == [b"second", b"first"]


def test_corruption_turns_exactly_one_bit() -> None:
    for round in range(50):
        (passage,) = sent(links(LinkRule(corrupt=1)), round=round)
        turned = int.from_bytes(passage.data, "big") ^ int.from_bytes(b"word", "big")
        assert turned.bit_count() == 1


def test_a_duplicate_is_the_same_again() -> None:
    assert sent(links(LinkRule(duplicate=1))) == [Passage(0.0, 2, b"word")] * 2


def test_delays_are_drawn_as_they_are_named() -> None:
    assert sent(links(LinkRule(delay=Constant(0.25))))[0].delay_s == 0.25
    uniform = links(LinkRule(delay=Uniform(0.1, 0.3)))
    drawn = [sent(uniform, round=round)[0].delay_s for round in range(SOME)]
    assert 0.1 <= min(drawn) < 0.12
    assert 0.28 < max(drawn) <= 0.3
    exponential = links(LinkRule(delay=Exponential(0.2)))
    drawn = [sent(exponential, round=round)[0].delay_s for round in range(SOME)]
    assert 0.15 < sum(drawn) / SOME < 0.25
    assert sum(one > 0.2 for one in drawn) < SOME / 2
