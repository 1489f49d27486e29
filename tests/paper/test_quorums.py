"""majority, choice, median and what combines them, against the same words in plain Python."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node import quorums
from node.orders import ATTACK, RETREAT, Combiner, Domain, Enumerated, Numbers, Value

DOMAINS: list[Domain] = [
    Enumerated(),
    Enumerated(default=ATTACK),
    Enumerated(values=("red", "green", "blue"), default="green"),
    Enumerated(values=(3, 1, "1"), default=1),
    Enumerated(values=tuple(range(256)), default=200),
    Numbers(),
    Numbers(default=-2.5),
]
domains = st.sampled_from(DOMAINS)


def values_of(domain: Domain) -> st.SearchStrategy[Value]:
    """Mostly a few values, so that majorities and ties are common."""
    if isinstance(domain, Enumerated):
        return st.sampled_from(domain.values[:4]) | st.sampled_from(domain.values)
    few = st.sampled_from([0.0, 1.5, -2.5, 1e300])
    return few | st.floats(allow_nan=False, allow_infinity=False)


def more_than_half(values: list[Value], default: Value) -> Value:
    """Section 3: the value that a majority names, else the default."""
    return next((v for v in values if 2 * values.count(v) > len(values)), default)


@given(data=st.data(), domain=domains)
def test_majority_is_what_more_than_half_name_else_the_default(
    data: st.DataObject, domain: Domain
) -> None:
    values = data.draw(st.lists(values_of(domain), max_size=12))
    assert quorums.majority(values, domain) == more_than_half(values, domain.default)


@given(data=st.data(), domain=domains, voters=st.integers(1, 9), elections=st.integers(1, 6))
def test_majorities_hold_every_election_by_itself(
    data: st.DataObject, domain: Domain, voters: int, elections: int
) -> None:
    ballot = st.lists(values_of(domain), min_size=voters, max_size=voters)
    ballots = data.draw(st.lists(ballot, min_size=elections, max_size=elections))
    votes = np.array([[domain.code(v) for v in row] for row in ballots], dtype=domain.dtype).T
    elected = quorums.majorities(votes[0], votes[1:], domain)
    assert elected.dtype == domain.dtype
    assert [domain.value(code) for code in elected] == [
        more_than_half(row, domain.default) for row in ballots
    ]


@pytest.mark.parametrize("default", [ATTACK, RETREAT])
@pytest.mark.parametrize("voters", [1, 2, 3, 4, 7, 8, 254, 255, 256, 257, 511, 600])
def test_majority_of_two_orders_breaks_ties_to_the_default_for_any_number_of_voters(
    voters: int, default: Value
) -> None:
    domain = Enumerated(default=default)
    for attackers in {0, 1, voters // 2, voters // 2 + 1, (voters + 1) // 2, voters - 1, voters}:
        values: list[Value] = [ATTACK] * attackers + [RETREAT] * (voters - attackers)
        assert quorums.majority(values, domain) == more_than_half(values, default)


@pytest.mark.parametrize("domain", DOMAINS)
def test_majority_of_nobody_is_the_default(domain: Domain) -> None:
    assert quorums.majority([], domain) == domain.default


@given(data=st.data(), domain=domains)
def test_choice_is_the_only_member_else_the_default(data: st.DataObject, domain: Domain) -> None:
    """Section 4: and with two members never a function of which two they are."""
    values = data.draw(st.lists(values_of(domain), max_size=3, unique=True))
    expected = values[0] if len(values) == 1 else domain.default
    assert quorums.choice(values, domain) == expected


@given(data=st.data(), domain=domains)
def test_median_is_the_middle_value_and_of_an_even_number_the_lower_one(
    data: st.DataObject, domain: Domain
) -> None:
    values = data.draw(st.lists(values_of(domain), min_size=1, max_size=11))
    order = list(domain.values) if isinstance(domain, Enumerated) else sorted(values)
    ranked = sorted(values, key=order.index)
    assert quorums.median(values, domain) == ranked[(len(values) - 1) // 2]


@pytest.mark.parametrize("domain", DOMAINS)
def test_median_of_nothing_is_the_default(domain: Domain) -> None:
    assert quorums.median([], domain) == domain.default


@given(
    loyal=st.lists(st.floats(-100, 100), min_size=3, max_size=7),
    lies=st.lists(st.floats(-1e9, 1e9), max_size=2),
)
def test_median_no_minority_moves_it_outside_what_the_loyal_measured(
    loyal: list[float], lies: list[float]
) -> None:
    """Section 1."""
    assert min(loyal) <= quorums.median([*lies, *loyal], Numbers()) <= max(loyal)


@given(data=st.data(), domain=domains)
def test_combine_reads_by_majority_by_median_or_as_they_are(
    data: st.DataObject, domain: Domain
) -> None:
    values = data.draw(st.lists(values_of(domain), min_size=1, max_size=9))
    combined: dict[Combiner, Any] = {
        Combiner.MAJORITY: quorums.majority(values, domain),
        Combiner.MEDIAN: quorums.median(values, domain),
        Combiner.VECTOR: tuple(values),
    }
    assert {c: quorums.combine(values, c, domain) for c in Combiner} == combined


@given(data=st.data(), domain=domains)
def test_tally_counts_each_value_and_names_the_most_named_first(
    data: st.DataObject, domain: Domain
) -> None:
    values = data.draw(st.lists(values_of(domain), max_size=12))
    counted = quorums.tally(values)
    assert dict(counted) == Counter(values)
    assert [-times for _, times in counted] == sorted(-times for _, times in counted)


@pytest.mark.parametrize("m", range(6))
def test_theorems_on_how_many_generals_and_rounds_m_traitors_need(m: int) -> None:
    """Theorem 1; section 4, the vacuous case; Fischer and Lynch 1982."""
    assert quorums.oral_generals_min(m) == 3 * m + 1
    assert quorums.signed_generals_min(m) == m + 2
    assert quorums.lockstep_rounds(m) == m + 1
