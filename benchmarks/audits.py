"""Audits: `verify` on 100,000 signatures, a replay audit, and what accountable frames cost."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import nacl.bindings

from benchmarks.measure import Row, Within, interleaved, seconds
from benchmarks.peers.signatures_alone import STATEMENT_BYTES
from node.messages import Body, Signed
from node.orders import GeneralId
from node.traitors import Power, Strategy
from orchestrator.accountability import Indication, reputes
from orchestrator.audit import Exhibits, audit
from orchestrator.backends import Mustered
from orchestrator.backends.simulation import Simulation
from orchestrator.casting import Cast, cast
from orchestrator.cores import check_on_all_cores
from orchestrator.rundir import RunDir, machine_version
from orchestrator.scenario import from_fields
from orchestrator.transcript import Transcript, read
from orchestrator.trial import play

LIEUTENANTS = 10
SIGNATURES = 100_000
OM: dict[str, object] = {"name": "om", "protocol": "oral", "n": 10, "m": 3}
LIARS = {3, 4, 7}
LIES = [{"generals": sorted(LIARS), "strategy": "parity"}]


class Spendthrift(Strategy):
    """As commander, signs as many orders for each lieutenant as there is room, all of them new."""

    summary = "signs thousands of orders, other ones for everybody"
    powers = frozenset({Power.SIGN})

    def alter(self, body: Body, to: GeneralId, round: int, instance: int) -> Body:
        if round > 1 or not isinstance(body, Signed):
            return body
        each = range(SIGNATURES // LIEUTENANTS)
        me = self.seat.me
        return Signed(tuple(self.order(f"{to}-{number}", (me,), instance) for number in each))


def rows(times: int) -> Iterator[Row]:
    yield _verify(times)
    yield from _replay(times)
    yield _accountable(times)


@dataclass(frozen=True)
class _Played:
    parts: Cast
    mustered: Mustered
    journals: Mapping[GeneralId, bytes]


def _verify(times: int) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        story = {"name": "spent", "protocol": "signed", "n": LIEUTENANTS + 1, "m": 1}
        lies = [{"general": 0, "strategy": "benchmarks.audits:Spendthrift"}]
        result = play(from_fields({**story, "traitors": lies}), Simulation(), Path(folder))
        assert result.path is not None
        path = result.path

        def ours_s() -> float:
            return seconds(lambda: _verified_run(path))

        ours, limit = interleaved(times, ours_s, _libsodium_s)
    what = f"verify a run with {SIGNATURES:,} signatures, all cores"
    return Within(what, ours, limit, at_most=1.25)


def _verified_run(path: Path) -> None:
    found = audit(RunDir.find(path).exhibits(), check=check_on_all_cores)
    if not found.is_clean or found.signatures != SIGNATURES:
        raise AssertionError(f"{found.signatures} good signatures, {found.findings}")


def _libsodium_s() -> float:
    """As many verifications by the bindings alone, an equal share on every core."""
    _signed()  # Before the processes are there: they inherit it.
    cores = os.cpu_count() or 1
    with ProcessPoolExecutor(cores, mp_context=get_context("fork")) as pool:
        list(pool.map(_verified, [range(1)] * cores))  # Now they are.
        shares = [range(core, SIGNATURES, cores) for core in range(cores)]
        return seconds(lambda: list(pool.map(_verified, shares)))


def _verified(share: range) -> None:
    signed = _signed()
    for which in share:
        nacl.bindings.crypto_sign_open(signed[which], _PUBLIC)


@cache
def _signed() -> list[bytes]:
    """As many statements as a run has, all different: time and again the same one would be verified
    a twentieth faster than any run's can be."""
    statements = (number.to_bytes(STATEMENT_BYTES, "big") for number in range(SIGNATURES))
    return [nacl.bindings.crypto_sign(statement, _SECRET) for statement in statements]


_PUBLIC, _SECRET = nacl.bindings.crypto_sign_seed_keypair(bytes(range(32)))


def _replay(times: int) -> Iterator[Row]:
    for accountable in (False, True):
        exhibits = _exhibits(_run(accountable))

        def run_s(accountable: bool = accountable) -> float:
            return seconds(lambda: _run(accountable))

        def audit_s(exhibits: Exhibits = exhibits) -> float:
            return seconds(lambda: _audit(exhibits))

        ours, run = interleaved(times, audit_s, run_s)
        kind = "accountable " if accountable else ""
        what = f"replay audit of {kind}OM(3) n=10, beside the simulated run"
        yield Within(what, ours, run, at_most=3.0)


def _accountable(times: int) -> Row:
    ours, plain = interleaved(
        times, lambda: seconds(lambda: _run(True)), lambda: seconds(lambda: _run(False))
    )
    return Within("accountable OM(3) n=10 simulated, beside the plain one", ours, plain, at_most=5)


def _run(accountable: bool) -> _Played:
    """The generals' own part of a simulated run: no report, and no audit."""
    scenario = from_fields({**OM, "traitors": LIES, "accountable": accountable})
    parts = cast(scenario)
    stage = Simulation()
    with stage:
        mustered = stage.muster(parts, None)
        decided = stage.command(lambda general: None)
        journals = stage.collect()
    if any(decided[general].value != "attack" for general in set(range(10)) - LIARS):
        raise AssertionError(f"loyal generals decided {decided}")
    return _Played(parts, mustered, journals)


def _exhibits(played: _Played) -> Exhibits:
    mustered = played.mustered
    publics = mustered.roster.signing_publics()
    records = {g: read(g, data, mustered.run, publics[g]) for g, data in played.journals.items()}
    transcript = Transcript(records)
    return Exhibits(
        mustered.roster, played.parts.scenario, mustered.run, mustered.nonce, transcript
    )


def _audit(exhibits: Exhibits) -> None:
    found = reputes(exhibits, machine_version())
    exposed = {g for g, one in found.items() if one.indication is Indication.EXPOSED}
    if exposed != LIARS:
        raise AssertionError(f"exposed are {exposed}, and not {LIARS}")
