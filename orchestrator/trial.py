"""One run from start to end: the only file that knows the order of things.

scenario > cast > muster > command > collect > transcript > verdict, audit > run directory
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from node.control import Decided
from node.orders import GeneralId
from orchestrator import report
from orchestrator.accountability import reputes
from orchestrator.assumptions import assumptions, harms
from orchestrator.audit import Exhibits, audit, journal_name
from orchestrator.backends import Backend, Mustered
from orchestrator.casting import Cast, cast
from orchestrator.chaos import Chaos
from orchestrator.results import Result
from orchestrator.rundir import RunDir, RunFile, machine_version, versions
from orchestrator.scenario import Scenario
from orchestrator.transcript import Transcript, read
from orchestrator.verdict import Case, judge

#: Told of each step as it begins, in a few words.
Progress = Callable[[str], None]


def play(
    scenario: Scenario,
    backend: Backend,
    out: Path | None = None,
    progress: Progress = lambda step: None,
) -> Result:
    """Plays a scenario on a backend; with `out`, leaves a run directory under it.

    Unplayable: its frames would be too large. BackendError: the generals could not be brought up.
    """
    parts = cast(scenario)
    roles = {part.general: part.role for part in parts.parts}
    chaos = Chaos(scenario.chaos, parts.n, backend, roles)
    chaos.refuse_impossible()
    place = RunDir.create(out, scenario.name, scenario.seed) if out is not None else None
    if place is not None:
        place.write("scenario.yaml", parts.scenario)
    started = datetime.now(UTC)
    with backend:
        progress(f"mustering {parts.n} generals")
        mustered = backend.muster(parts, place.path if place else None)
        if place is not None:
            _write_muster(place, scenario, backend.name, mustered, started)
        progress("waiting for decisions")
        decided = backend.command(lambda general: progress(f"general {general} decided"), chaos)
        progress("collecting journals")
        journals = backend.collect()
    if place is not None:
        for general, data in journals.items():
            place.write(journal_name(general), data)
    progress("verifying every signature")
    result = _judged(scenario, backend.name, parts, chaos, mustered, decided, journals, place)
    if place is not None:
        _write_judgement(place, result)
    return result


def _judged(
    scenario: Scenario,
    backend: str,
    parts: Cast,
    chaos: Chaos,
    mustered: Mustered,
    decided: Mapping[GeneralId, Decided],
    journals: Mapping[GeneralId, bytes],
    place: RunDir | None,
) -> Result:
    publics = mustered.roster.signing_publics()
    records = {g: read(g, data, mustered.run, publics[g]) for g, data in journals.items()}
    transcript = Transcript(records)
    exhibits = Exhibits(mustered.roster, parts.scenario, mustered.run, mustered.nonce, transcript)
    found = audit(exhibits)
    brief, toll = parts.parts[0].brief, chaos.toll()
    faulty = scenario.faulty | toll.ended.keys()
    harmed = harms(transcript, faulty, toll.links, toll.struck)
    assumed = assumptions(brief, found, faulty, harmed)
    case = Case(
        brief=brief,
        faulty=faulty,
        inputs={p.general: p.brief.value for p in parts.parts if p.brief.value is not None},
        decisions={general: one.value for general, one in decided.items()},
        unrecorded=frozenset(g for g in publics if g not in records or not records[g].closed),
        charges={g: why for g, why in toll.ended.items() if g not in scenario.faulty},
        struck=toll.struck,
        harmed=frozenset(harm.link for harm in harmed),
        unborne=chaos.unborne(),
        forged=assumed["A4"].why if assumed["A4"].is_kept is False else None,
    )
    is_asked = scenario.accountable or scenario.expect.exposed is not None
    return Result(
        scenario=scenario,
        backend=backend,
        cast=parts,
        mustered=mustered,
        decided=decided,
        transcript=transcript,
        verdict=judge(case),
        audit=found,
        reputes=reputes(exhibits, machine_version()) if is_asked else {},
        path=place.path if place else None,
        assumptions=assumed,
        incidents=tuple(chaos.incidents),
    )


def _write_muster(
    place: RunDir, scenario: Scenario, backend: str, mustered: Mustered, started: datetime
) -> None:
    place.write_json("roster.json", mustered.roster)
    run_file = RunFile(
        scenario=scenario.name,
        run=mustered.run.hex(),
        nonce=mustered.nonce.hex(),
        seed=scenario.seed,
        backend=backend,
        protocol=scenario.protocol.value,
        n=scenario.n,
        m=scenario.m,
        started=started.isoformat(),
        versions=dict(versions()),
        hosts=dict(mustered.hosts),
        neighbours=[list(near) for near in scenario.layout.neighbours] if scenario.layout else [],
        paths=[list(path) for path in scenario.layout.paths] if scenario.layout else [],
    )
    place.write_json("run.json", run_file)


def _write_judgement(place: RunDir, result: Result) -> None:
    place.write_json("verdict.json", report.verdict_fields(result))
    place.write_json("audit.json", report.audit_fields(result.audit))
    place.write_json("metrics.json", report.metrics_fields(result))
    place.write("junit.xml", report.junit([result]).encode())
