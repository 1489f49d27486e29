"""Signatures checked on all cores: the same answers, in the same order, however many there are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from node.signatures import Claim, Signer, check_each
from orchestrator import cores

SIGNER = Signer(bytes(range(32)))


def claims(count: int) -> Iterator[Claim]:
    """Every third is false, each in a way of its own."""
    for number in range(count):
        statement = str(number).encode()
        context, signature = b"context", SIGNER.sign(b"context", statement)
        match number % 9:
            case 2:
                statement += b"0"
            case 5:
                context = b"another"
            case 8:
                signature = signature[:-1]
        yield SIGNER.public, context, statement, signature


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 200])
@pytest.mark.parametrize("cores_there_are", [1, 2])
def test_answers_come_in_the_order_of_the_claims(
    count: int, cores_there_are: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "LOAD", 64)
    monkeypatch.setattr(cores.os, "cpu_count", lambda: cores_there_are)
    answers = list(cores.check_on_all_cores(claims(count)))
    assert answers == list(check_each(claims(count)))
    assert answers == [number % 3 != 2 for number in range(count)]
