"""What a general plays by himself before his run: all that he needs, and nothing besides."""

from __future__ import annotations

import pytest

from node import rehearsal
from node.control import Role
from node.orders import Brief, Codes, GeneralId
from node.rehearsal import rehearse
from node.traitors.parity import Parity

BRIEF = Brief(protocol="oral", n=10, m=3)


@pytest.fixture
def lies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rounds that a parity liar was asked for a lie in."""
    asked: list[int] = []
    lie = Parity.lie

    def overheard(self: Parity, codes: Codes, to: GeneralId, round: int) -> Codes:
        asked.append(round)
        return lie(self, codes, to, round)

    monkeypatch.setattr(Parity, "lie", overheard)
    return asked


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> list[Role | None]:
    """The roles that a whole rehearsal was played with."""
    roles: list[Role | None] = []
    once = rehearsal._rehearse

    def counted(brief: Brief, role: Role | None) -> None:
        once(brief, role)
        roles.append(role)

    monkeypatch.setattr(rehearsal, "_rehearse", counted)
    return roles


def test_a_traitor_rehearses_his_lies_of_every_round_that_a_lieutenant_speaks_in(
    lies: list[int],
) -> None:
    role = Role(strategy="parity", coalition=(3, 4, 7), conceals=True)
    rehearse(BRIEF, role)
    assert set(lies) == {2, 3}


def test_who_is_loyal_rehearses_no_lie(lies: list[int]) -> None:
    rehearse(BRIEF)
    assert lies == []


def test_a_users_own_strategy_is_played_in_the_run_alone(lies: list[int]) -> None:
    rehearse(BRIEF, Role(strategy="node.traitors.parity:Parity"))
    assert lies == []


def test_a_flood_is_not_rehearsed(played: list[Role | None]) -> None:
    rehearse(BRIEF, Role(strategy="flooder"))
    assert played == [None]


def test_a_role_that_makes_no_sense_is_the_runs_to_refuse(played: list[Role | None]) -> None:
    rehearse(BRIEF, Role(strategy="crasher", params={"rounds": 2}))
    assert played == [None]
