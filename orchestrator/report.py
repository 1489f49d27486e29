"""A finished run for programs: JSON and JUnit.

Text that came from a scenario or a peer is data: control characters are shown escaped, markup of
XML is never interpreted.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import Any

from node.orders import GeneralId
from orchestrator.accountability import Repute
from orchestrator.audit import Audit, Finding, Hand
from orchestrator.expectation import unmet
from orchestrator.results import Failure, Result
from orchestrator.verdict import text


def verdict_fields(result: Result) -> dict[str, Any]:
    """The verdict as one JSON object; `verdict.json` holds it, `--format json` prints it."""
    ledger = result.transcript.ledger()
    return {
        "scenario": result.scenario.name,
        "backend": result.backend,
        "seed": result.scenario.seed,
        "protocol": result.scenario.protocol.value,
        "n": result.scenario.n,
        "m": result.scenario.m,
        "outcome": result.verdict.outcome.value,
        "expected": not unmet(result),
        "unmet": unmet(result),
        "properties": {name: p.status.value for name, p in result.verdict.properties.items()},
        "reasons": {name: p.reason for name, p in result.verdict.properties.items()},
        "why": result.verdict.sentence(),
        "faulty": list(result.verdict.faulty),
        "charges": {str(g): why for g, why in sorted(result.verdict.charges.items())},
        "assumptions": {
            name: {"kept": one.is_kept, "why": one.why} for name, one in result.assumptions.items()
        },
        "chaos": [
            {"step": one.text, "at_s": one.at_s, "inflicted": one.was_inflicted, "why": one.failed}
            for one in result.incidents
        ],
        "decisions": {str(g): _whole(value) for g, value in result.decisions.items()},
        "tallies": {
            str(g): {text(value): count for value, count in decided.tally}
            for g, decided in result.decided.items()
        },
        "messages_by_round": [messages for messages, _, _ in ledger.values()],
        "frames_by_round": [frames for _, frames, _ in ledger.values()],
        "bytes": sum(size for _, _, size in ledger.values()),
        "refused": result.transcript.refusals(),
        "proofs": {str(g): count for g, count in sorted(result.audit.proofs.items())},
        "audit": _standing(result.audit),
        "reputes": {str(g): one.indication.value for g, one in result.reputes.items()},
        "seconds": round(result.seconds, 6),
        "run": str(result.path) if result.path else None,
    }


def audit_fields(audit: Audit) -> dict[str, Any]:
    return {
        "clean": audit.is_clean,
        "roster": audit.roster.hex(),
        "journals": audit.journals,
        "orders_verified": audit.verified,
        "orders_refused": audit.refused,
        "orders_unverifiable": audit.uncheckable,
        "distinct_signatures": audit.signatures,
        "proofs": {str(g): count for g, count in sorted(audit.proofs.items())},
        "signed": {str(general): _hand_fields(hand) for general, hand in audit.hands.items()},
        "findings": list(map(_finding_fields, audit.findings)),
        "unverifiable": list(map(_finding_fields, audit.unverifiable)),
        "false": list(map(_finding_fields, audit.false)),
    }


def _finding_fields(finding: Finding) -> dict[str, Any]:
    return {"file": finding.file, "line": finding.line, "kind": finding.kind}


def _hand_fields(hand: Hand) -> dict[str, Any]:
    return {
        "key": hand.key.hex(),
        "journal": hand.journal.value,
        "entries": hand.entries,
        "signatures": hand.signed,
        "orders": hand.orders,
    }


def _standing(audit: Audit) -> str:
    return "failed" if audit.findings else "clean" if audit.is_clean else "incomplete"


def metrics_fields(result: Result) -> dict[str, Any]:
    """What the run cost: the ledger by round, seconds and verifications by general."""
    records = result.transcript.records
    return {
        "rounds": {
            str(r): {"messages": messages, "frames": frames, "bytes": size}
            for r, (messages, frames, size) in result.transcript.ledger().items()
        },
        "seconds": {str(g): round(d.seconds, 6) for g, d in result.decided.items()},
        "verifications": {str(g): r.closed.verifications for g, r in records.items() if r.closed},
        "refused": {
            str(g): {f"{sender}:{reason}": n for (sender, reason), n in r.refusals().items()}
            for g, r in records.items()
        },
    }


def repute_fields(found: Mapping[GeneralId, Repute]) -> dict[str, Any]:
    return {
        str(general): {
            "indication": repute.indication.value,
            "reasons": repute.reasons,
            "evidence": [held.offence.__struct_config__.tag for held, _ in repute.evidence],
        }
        for general, repute in found.items()
    }


def junit(played: Sequence[Result | Failure]) -> str:
    """A JUnit document: a test case a run, failed where it is not as expected, in error where it
    did not come about or its audit failed."""
    suite = ElementTree.Element("testsuite", name="byzantine")
    for one in played:
        suite.append(_not_played(one) if isinstance(one, Failure) else _test_case(one))
    suite.set("tests", str(len(played)))
    suite.set("failures", str(len(suite.findall("testcase/failure"))))
    suite.set("errors", str(len(suite.findall("testcase/error"))))
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"


def _test_case(result: Result) -> ElementTree.Element:
    name = f"{result.backend} seed {result.scenario.seed}"
    time = f"{result.seconds:.6f}"
    case = _case(result.scenario.name, name, time)
    if misses := unmet(result):
        failure = ElementTree.SubElement(case, "failure", message=_xml(misses[0]))
        failure.text = _xml("\n".join([*misses, result.verdict.sentence()]))
    if result.audit.findings:
        fault = ElementTree.SubElement(case, "error", message="the audit failed")
        fault.text = _xml("\n".join(map(str, result.audit.findings)))
    return case


def _not_played(failure: Failure) -> ElementTree.Element:
    case = _case(failure.scenario, "not played", "0")
    ElementTree.SubElement(case, "error", message=_xml(failure.reason))
    return case


def _case(scenario: str, name: str, time: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=scenario, name=name, time=time)


def _whole(value: Any) -> Any:
    """Whole doubles as integers: 10.0 was written as 10."""
    if isinstance(value, tuple | list):
        return [_whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _xml(line: str) -> str:
    """Text without the control characters that XML cannot hold."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in line)
