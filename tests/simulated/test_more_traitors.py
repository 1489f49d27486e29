"""Injectors, splicers, twins, floods and nonsense: what loyal generals make of them."""

from __future__ import annotations

import pytest

from node.messages import KINDS
from orchestrator.scenario import Outcome
from tests.stage import A, a, accusations, obeyed, play, refused


def reasons(
    protocol: str, n: int, m: int, traitors: dict[int, object], **fields: object
) -> set[str]:
    result = play(protocol, n, m, traitors, **fields)
    assert result.verdict.outcome is Outcome.PASS
    return {reason for _, _, reason in refused(result)}


def test_sm3_what_is_brought_up_in_the_last_round_has_too_short_a_chain() -> None:
    assert reasons("signed", 4, 2, {0: "silent", 3: "last-round"}) == {"chain_length"}


def test_sm5_a_padded_chain_has_one_signer_twice() -> None:
    assert reasons("signed", 4, 2, {0: "silent", 3: "padder"}) == {"repeated_signer"}


def test_a_spliced_signature_is_bad() -> None:
    """Of a loyal commander's order only the splicer's own signature can be made anew."""
    result = play("signed", 4, 2, {3: "splicer"})
    assert {reason for _, _, reason in refused(result)} == {"bad_signature"}
    assert set(obeyed(result).values()) == {A}
    assert result.assumptions["A4"].is_kept


@pytest.mark.parametrize("protocol", ["oral", "signed"])
def test_twins_who_command_are_a_two_faced_commander(protocol: str) -> None:
    result = play(protocol, 4, 1, {0: "twins"})
    assert result.verdict.outcome is Outcome.PASS
    assert len(set(obeyed(result).values())) == 1
    if protocol == "signed":
        assert set(accusations(result)) == {1, 2, 3}


def test_twins_who_do_not_command_are_each_loyal_to_his_half() -> None:
    result = play("oral", 7, 2, {0: a("twins", second=[1, 2, 3]), 6: a("twins", second=[1, 2, 3])})
    assert result.verdict.outcome is Outcome.PASS


def test_a_slow_loris_is_in_time_and_makes_every_round_last() -> None:
    result = play("signed", 4, 1, {3: "slow-loris"})
    assert refused(result) == {}
    assert set(obeyed(result).values()) == {A}
    assert 0.85 < result.seconds < 1.0


def test_a_flood_is_refused_frame_by_frame() -> None:
    result = play("oral", 4, 1, {3: a("flooder", frames=300)})
    assert set(obeyed(result).values()) == {A}
    assert sum(refused(result).values()) >= 2 * 300 - 10
    assert {reason for _, _, reason in refused(result)} <= {
        "duplicate", "late", "bad_round", "not_awaited", "quota"
    }  # fmt: skip


@pytest.mark.parametrize("protocol", ["oral", "signed"])
def test_nt9_no_well_formed_nonsense_moves_or_kills_a_loyal_general(protocol: str) -> None:
    seen: set[str] = set()
    for seed in range(60):
        result = play(protocol, 4, 1, {3: "malformer"}, seed=seed)
        assert result.verdict.outcome is Outcome.PASS
        assert set(obeyed(result).values()) == {A}
        seen |= {reason for _, _, reason in refused(result)}
    assert "bad_shape" in seen


def test_a_malformer_knows_every_kind_of_message_there_is() -> None:
    from msgspec import inspect

    from node.messages import kind_of
    from node.traitors.malformer import _CONTENT

    assert isinstance(_CONTENT, inspect.UnionType)
    drawn = {kind_of(kind.cls) for kind in _CONTENT.types if isinstance(kind, inspect.StructType)}
    assert drawn == set(KINDS)
