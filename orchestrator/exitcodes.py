"""What the command's exit code says; scripts and CI rely on it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

from orchestrator.expectation import has_expectation, unmet
from orchestrator.results import Result
from orchestrator.scenario import Outcome


class ExitCode(IntEnum):
    AS_EXPECTED = 0
    PROMISE_BROKEN = 1
    USAGE = 2
    UNDECIDED = 3
    INFRASTRUCTURE = 4
    AUDIT_FAILED = 5
    INTERRUPTED = 130


#: The gravest first: what a command over several scenarios returns. USAGE is not among them: all
#: scenarios are read before the first is played.
GRAVITY = (
    ExitCode.INFRASTRUCTURE,
    ExitCode.AUDIT_FAILED,
    ExitCode.PROMISE_BROKEN,
    ExitCode.UNDECIDED,
    ExitCode.AS_EXPECTED,
)


def of(result: Result) -> ExitCode:
    """The code of one run: unknown and out-of-model are 3 only where nothing was expected."""
    if result.audit.findings:
        return ExitCode.AUDIT_FAILED
    if not unmet(result):
        return ExitCode.AS_EXPECTED
    if has_expectation(result.scenario) or result.verdict.outcome is Outcome.VIOLATION:
        return ExitCode.PROMISE_BROKEN
    return ExitCode.UNDECIDED


def gravest(codes: Iterable[ExitCode]) -> ExitCode:
    found = set(codes)
    return next((code for code in GRAVITY if code in found), ExitCode.AS_EXPECTED)
