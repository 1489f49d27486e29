"""What a run's promises came to, and whether they were owed: pure judgements, no run needed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest

from node.orders import Brief, Combiner, Decision, Domain, Enumerated, GeneralId, Numbers, Value
from orchestrator.scenario import Outcome, Standing
from orchestrator.verdict import Case, Verdict, ic1, ic2, judge, termination, text, why_not_owed

A, R = "attack", "retreat"
HELD, BROKEN, VACUOUS, UNKNOWN = Standing.HELD, Standing.BROKEN, Standing.VACUOUS, Standing.UNKNOWN


def case(
    decisions: Mapping[GeneralId, Decision | None],
    *,
    n: int = 4,
    m: int = 1,
    protocol: str = "oral",
    faulty: set[GeneralId] | None = None,
    order: Value = A,
    commander: GeneralId = 0,
    unrecorded: set[GeneralId] | None = None,
) -> Case:
    """A run under a commander."""
    return Case(
        brief=Brief(protocol=protocol, n=n, m=m, commander=commander),
        faulty=frozenset(faulty or ()),
        inputs={commander: order},
        decisions=decisions,
        unrecorded=frozenset(unrecorded or ()),
    )


def combined(
    combiner: Combiner,
    inputs: list[Value],
    decisions: Mapping[GeneralId, Decision | None],
    *,
    m: int = 1,
    faulty: set[GeneralId] | None = None,
    protocol: str = "interactive-consistency",
    over: str | None = "oral",
) -> Case:
    """A run in which everyone commands once, or one exchange."""
    numbers = any(isinstance(value, float) for value in inputs)
    domain: Domain = Numbers() if numbers else Enumerated()
    brief = Brief(
        protocol=protocol,
        n=len(inputs),
        m=m,
        commander=None,
        over=over,
        combiner=combiner,
        domain=domain,
    )
    return Case(brief, frozenset(faulty or ()), dict(enumerate(inputs)), decisions)


def statuses(verdict: Verdict) -> list[Standing]:
    return [verdict.properties[name].status for name in ("ic1", "ic2", "termination")]


# IC1.


def test_ic1_holds_where_all_loyal_lieutenants_decide_alike() -> None:
    found = ic1(case({0: R, 1: A, 2: A, 3: R}, faulty={3}))
    assert (found.status, found.reason) == (HELD, "all decide attack")


def test_ic1_is_broken_by_two_loyal_lieutenants_and_names_them() -> None:
    found = ic1(case({0: A, 1: A, 2: A, 3: R}))
    assert (found.status, found.reason) == (BROKEN, "1 decides attack and 3 retreat")


def test_the_commander_does_not_count_for_ic1_although_he_is_loyal() -> None:
    assert ic1(case({0: A, 1: R, 2: R, 3: R})).status is HELD


def test_ic1_says_nothing_of_a_single_loyal_lieutenant() -> None:
    assert ic1(case({0: A, 1: A, 2: R}, n=3, faulty={2})).status is VACUOUS


def test_ic1_is_unknown_where_a_decision_is_missing_and_the_others_agree() -> None:
    found = ic1(case({0: A, 1: A, 2: A}))
    assert (found.status, found.reason) == (UNKNOWN, "the decision of 3 is missing")


def test_ic1_is_broken_whoever_is_missing_once_two_disagree() -> None:
    assert ic1(case({0: A, 1: A, 2: R})).status is BROKEN


def test_a_decision_that_never_came_cannot_agree() -> None:
    assert ic1(case({0: A, 1: A, 2: A, 3: None})).status is UNKNOWN


# IC2.


def test_ic2_holds_where_a_loyal_commander_is_obeyed() -> None:
    found = ic2(case({0: A, 1: A, 2: A, 3: R}, faulty={3}))
    assert (found.status, found.reason) == (HELD, "the loyal commander's order was attack")


def test_ic2_is_broken_by_one_who_disobeys_even_if_all_do() -> None:
    found = ic2(case({0: A, 1: R, 2: R, 3: R}))
    assert found.status is BROKEN
    assert found.reason == "the loyal commander's order was attack, but 1 decides retreat"


def test_ic2_says_nothing_where_the_commander_is_a_traitor() -> None:
    assert ic2(case({1: A, 2: R, 3: A}, faulty={0})).status is VACUOUS


def test_ic2_says_nothing_where_every_lieutenant_is_a_traitor() -> None:
    assert ic2(case({0: A, 1: R, 2: R, 3: R}, faulty={1, 2, 3})).status is VACUOUS


def test_ic2_is_unknown_where_nobody_is_known_to_disobey_and_one_is_missing() -> None:
    assert ic2(case({0: A, 1: A, 2: A})).status is UNKNOWN
    assert ic2(case({0: A, 1: A, 2: R})).status is BROKEN


def test_any_general_can_command() -> None:
    found = case({0: R, 1: R, 2: A, 3: R}, commander=2, order=R)
    assert ic2(found).status is HELD
    assert found.obeying == (0, 1, 3)


# Termination.


def test_termination_holds_where_every_loyal_general_decides() -> None:
    assert termination(case({0: A, 1: A, 2: A}, faulty={3})).status is HELD


def test_termination_is_broken_by_one_who_ended_without_deciding() -> None:
    found = termination(case({0: A, 1: None, 2: A, 3: None}))
    assert (found.status, found.reason) == (BROKEN, "1, 3 never decided")


def test_termination_is_unknown_where_somebody_is_lost() -> None:
    found = termination(case({0: A, 2: A, 3: A}))
    assert (found.status, found.reason) == (UNKNOWN, "the decision of 1 is missing")


def test_who_never_decided_is_named_before_who_is_lost() -> None:
    assert termination(case({0: A, 1: None, 2: A})).status is BROKEN


def test_termination_says_nothing_where_nobody_is_loyal() -> None:
    assert termination(case({}, faulty={0, 1, 2, 3})).status is VACUOUS


# Values that are combined.


def test_a_vector_must_hold_what_each_loyal_general_has() -> None:
    good, bad = (A, R, R, A), (A, R, A, A)
    held = combined(Combiner.VECTOR, [A, R, R, R], dict.fromkeys(range(3), good), faulty={3})
    assert statuses(judge(held)) == [HELD, HELD, HELD]
    broken = combined(Combiner.VECTOR, [A, R, R, R], dict.fromkeys(range(3), bad), faulty={3})
    assert statuses(judge(broken)) == [HELD, BROKEN, HELD]
    assert "entry is his own value, but 0 decides (attack, retreat, attack, attack)" in (
        judge(broken).sentence()
    )


def test_what_a_vector_says_of_a_traitor_is_nobodys_business() -> None:
    for entry in (A, R):
        found = combined(
            Combiner.VECTOR, [A, R, R, R], dict.fromkeys(range(3), (A, R, R, entry)), faulty={3}
        )
        assert judge(found).outcome is Outcome.PASS


@pytest.mark.parametrize("vector", [(A,), (), (A, A, A, A, A), A])
def test_what_is_no_vector_of_n_breaks_ic2(vector: Any) -> None:
    found = combined(Combiner.VECTOR, [A] * 4, dict.fromkeys(range(4), vector))
    assert ic2(found).status is BROKEN


@pytest.mark.parametrize(
    ("median", "expected"),
    [(9.0, HELD), (10.0, HELD), (11.0, HELD), (8.9, BROKEN), (11.1, BROKEN)],
)
def test_a_median_lies_within_what_loyal_generals_measured(
    median: float, expected: Standing
) -> None:
    found = combined(
        Combiner.MEDIAN, [9.0, 10.0, 11.0, 1e9], dict.fromkeys(range(3), median), faulty={3}
    )
    assert ic2(found).status is expected


def test_a_median_of_words_lies_within_them_in_the_order_of_the_domain() -> None:
    assert ic2(combined(Combiner.MEDIAN, [A] * 4, dict.fromkeys(range(4), R))).status is BROKEN
    assert ic2(combined(Combiner.MEDIAN, [A, R, A, A], dict.fromkeys(range(4), R))).status is HELD


@pytest.mark.parametrize("median", ["banana", (9.0, 9.0), "nan"])
def test_a_median_outside_the_domain_breaks_ic2_and_nothing_else(median: Any) -> None:
    for inputs in ([9.0, 9.0, 9.0, 9.0], [A, A, A, A]):
        found = combined(Combiner.MEDIAN, list(inputs), dict.fromkeys(range(4), median))
        assert ic2(found).status is BROKEN


def test_a_majority_is_the_loyal_generals_own_value_where_they_have_one() -> None:
    assert ic2(combined(Combiner.MAJORITY, [A] * 4, dict.fromkeys(range(4), A))).status is HELD
    assert ic2(combined(Combiner.MAJORITY, [A] * 4, dict.fromkeys(range(4), R))).status is BROKEN
    found = ic2(combined(Combiner.MAJORITY, [A, A, R, A], dict.fromkeys(range(4), R)))
    assert (found.status, found.reason) == (VACUOUS, "the loyal generals differ themselves")


def test_a_traitors_own_value_does_not_make_the_loyal_differ() -> None:
    found = combined(Combiner.MAJORITY, [A, A, A, R], dict.fromkeys(range(3), A), faulty={3})
    assert ic2(found).status is HELD


@pytest.mark.parametrize("combiner", list(Combiner))
def test_what_is_combined_needs_a_loyal_general_and_every_decision(combiner: Combiner) -> None:
    nobody = combined(combiner, [A] * 4, {}, faulty={0, 1, 2, 3})
    assert statuses(judge(nobody)) == [VACUOUS, VACUOUS, VACUOUS]
    decision = (A,) * 4 if combiner is Combiner.VECTOR else A
    lost = combined(combiner, [A] * 4, dict.fromkeys((0, 1, 3), decision))
    assert statuses(judge(lost)) == [UNKNOWN, UNKNOWN, UNKNOWN]
    assert judge(lost).outcome is Outcome.UNKNOWN


# Owed or not.


@pytest.mark.parametrize(
    ("protocol", "n", "m", "faulty", "reason"),
    [
        ("oral", 4, 1, {1}, None),
        ("oral", 3, 1, {1}, "n = 3 is below 4, which m = 1 needs"),
        ("oral", 3, 1, set(), None),
        ("oral", 7, 2, {1, 2}, None),
        ("oral", 6, 2, {1}, "n = 6 is below 7, which m = 2 needs"),
        ("oral", 7, 1, {0, 6}, "faulty generals {0, 6} outnumber m = 1"),
        ("oral", 4, 0, {2}, "faulty generals {2} outnumber m = 0"),
        ("signed", 3, 1, {0}, None),
        ("signed", 4, 2, {0, 3}, None),
        ("signed", 4, 1, {0, 3}, "faulty generals {0, 3} outnumber m = 1"),
        ("signed", 3, 2, {0}, "n = 3 is below 4, which m = 2 needs"),
    ],
)
def test_a_promise_is_owed_within_m_and_the_bound(
    protocol: str, n: int, m: int, faulty: set[int], reason: str | None
) -> None:
    assert why_not_owed(case({}, protocol=protocol, n=n, m=m, faulty=faulty)) == reason


@pytest.mark.parametrize(
    ("over", "combiner", "n", "is_owed"),
    [
        ("oral", Combiner.VECTOR, 4, True),
        ("oral", Combiner.VECTOR, 3, False),
        ("oral", Combiner.MEDIAN, 4, True),
        ("signed", Combiner.VECTOR, 3, True),
        ("signed", Combiner.MAJORITY, 3, True),
        ("signed", Combiner.VECTOR, 2, False),
    ],
)
def test_interactive_consistency_owes_what_is_under_it(
    over: str, combiner: Combiner, n: int, is_owed: bool
) -> None:
    found = combined(combiner, [A] * n, {}, over=over, faulty={0})
    assert (why_not_owed(found) is None) is is_owed


def test_a_majority_over_signed_messages_needs_more_loyal_generals_than_traitors() -> None:
    faulty = {0, 1}
    for n, is_owed in ((4, False), (5, True)):
        found = combined(Combiner.MAJORITY, [A] * n, {}, over="signed", m=2, faulty=faulty)
        assert (why_not_owed(found) is None) is is_owed
        found = combined(Combiner.VECTOR, [A] * n, {}, over="signed", m=2, faulty=faulty)
        assert why_not_owed(found) is None


def test_a_single_exchange_owes_agreement_to_the_loyal_alone() -> None:
    loyal = combined(Combiner.MAJORITY, [A] * 9, {}, protocol="exchange", over=None)
    assert why_not_owed(loyal) is None
    one = combined(Combiner.MAJORITY, [A] * 9, {}, protocol="exchange", over=None, faulty={8})
    assert why_not_owed(one) == "a single exchange promises nothing once there is a traitor"


# The outcome.


def test_a_broken_promise_is_a_violation_where_it_was_owed() -> None:
    verdict = judge(case({0: A, 1: A, 2: R}, faulty={3}))
    assert verdict.outcome is Outcome.VIOLATION
    assert verdict.sentence() == (
        "broken (IC1: 1 decides attack and 2 retreat; "
        "IC2: the loyal commander's order was attack, but 2 decides retreat); owed, and broken"
    )


def test_a_broken_promise_is_out_of_model_where_it_was_not_owed() -> None:
    verdict = judge(case({0: A, 1: R}, n=3, faulty={2}))
    assert verdict.outcome is Outcome.OUT_OF_MODEL
    assert verdict.sentence() == (
        "broken (IC2: the loyal commander's order was attack, but 1 decides retreat); "
        "not owed: n = 3 is below 4, which m = 1 needs"
    )


def test_what_is_not_owed_and_holds_all_the_same_passes_and_says_so() -> None:
    verdict = judge(case({0: A, 1: A}, n=3, faulty={2}))
    assert verdict.outcome is Outcome.PASS
    assert verdict.sentence() == (
        "every promise held, though not owed: n = 3 is below 4, which m = 1 needs"
    )


def test_a_clean_run_says_no_more_than_that() -> None:
    verdict = judge(case(dict.fromkeys(range(4), A)))
    assert (verdict.outcome, verdict.not_owed) == (Outcome.PASS, None)
    assert verdict.sentence() == "every promise held"


def test_a_lost_general_is_unknown_and_never_a_pass() -> None:
    verdict = judge(case({0: A, 1: A, 2: A}))
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.sentence() == (
        "unknown (IC1: the decision of 3 is missing; IC2: the decision of 3 is missing; "
        "TERMINATION: the decision of 3 is missing)"
    )


def test_a_lost_commander_is_unknown_although_all_obey_him() -> None:
    verdict = judge(case({1: A, 2: A, 3: A}))
    assert statuses(verdict) == [HELD, HELD, UNKNOWN]
    assert verdict.outcome is Outcome.UNKNOWN


def test_a_lost_traitor_takes_nothing_away() -> None:
    verdict = judge(case({0: A, 1: A, 2: A}, faulty={3}, unrecorded={3}))
    assert verdict.outcome is Outcome.PASS


def test_who_is_lost_may_be_faulty_so_that_what_broke_may_not_have_been_owed() -> None:
    verdict = judge(case({0: A, 2: R, 3: A}, faulty={3}))
    assert statuses(verdict) == [UNKNOWN, BROKEN, UNKNOWN]
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.sentence() == (
        "broken (IC2: the loyal commander's order was attack, but 2 decides retreat); "
        "owed or not, nobody knows: 1 is lost, and may be faulty"
    )


def test_what_only_the_lost_commander_is_blamed_for_is_unknown() -> None:
    assert judge(case({1: R, 2: R, 3: R})).outcome is Outcome.UNKNOWN
    assert judge(case(dict.fromkeys(range(4), R), unrecorded={0})).outcome is Outcome.UNKNOWN


def test_what_breaks_even_if_the_lost_are_faulty_is_a_violation() -> None:
    assert judge(case({0: A, 1: A, 2: R})).outcome is Outcome.VIOLATION
    assert judge(case({1: A, 2: R, 3: R})).outcome is Outcome.VIOLATION
    assert judge(case({0: A, 1: None, 2: A})).outcome is Outcome.VIOLATION
    assert judge(case({0: A, 1: R}, n=5, faulty={2, 3})).outcome is Outcome.OUT_OF_MODEL


def test_a_loyal_general_without_a_journal_is_unknown_whatever_he_reported() -> None:
    verdict = judge(case(dict.fromkeys(range(4), A), unrecorded={2}))
    assert statuses(verdict) == [HELD, HELD, HELD]
    assert verdict.outcome is Outcome.UNKNOWN
    assert verdict.sentence() == "unknown (the journal of 2 is missing)"


def test_the_faulty_are_named_in_order() -> None:
    assert judge(case({0: A, 1: A}, faulty={3, 2})).faulty == (2, 3)


@pytest.mark.parametrize("decisions", list(product((A, R, None), repeat=3)))
def test_no_run_passes_in_which_two_loyal_generals_differ(
    decisions: tuple[str | None, ...],
) -> None:
    verdict = judge(case({0: A, **dict(enumerate(decisions, start=1))}))
    assert (verdict.outcome is Outcome.PASS) == (set(decisions) == {A})


# Words.


@pytest.mark.parametrize(
    ("decision", "words"),
    [
        (A, "attack"),
        (10.0, "10"),
        (9.5, "9.5"),
        (True, "True"),
        ((A, 1.0, R), "(attack, 1, retreat)"),
        (None, "nothing"),
    ],
)
def test_a_decision_in_words(decision: Any, words: str) -> None:
    assert text(decision) == words
