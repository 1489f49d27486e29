"""What a run comes to: everything that was played, decided and found, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from node.control import Decided
from node.orders import Decision, GeneralId
from orchestrator.accountability import Indication, Repute
from orchestrator.assumptions import Assumption
from orchestrator.audit import Audit
from orchestrator.backends import Mustered
from orchestrator.casting import Cast
from orchestrator.chaos import Incident
from orchestrator.scenario import Scenario
from orchestrator.transcript import Transcript
from orchestrator.verdict import Verdict


@dataclass(frozen=True)
class Failure:
    """A run that did not come about, of the scenario of that name, and why."""

    scenario: str
    reason: str


@dataclass(frozen=True)
class Result:
    """A finished run: what was played, decided and found. `path`: its directory, if it has one.
    `reputes`: what an audit by replay says of each general, where one was asked for."""

    scenario: Scenario
    backend: str
    cast: Cast
    mustered: Mustered
    decided: Mapping[GeneralId, Decided]
    transcript: Transcript
    verdict: Verdict
    audit: Audit
    path: Path | None
    reputes: Mapping[GeneralId, Repute] = field(default_factory=dict)
    assumptions: Mapping[str, Assumption] = field(default_factory=dict)
    incidents: tuple[Incident, ...] = ()

    @property
    def exposed(self) -> list[GeneralId]:
        """Against whom there is evidence."""
        return [g for g, one in self.reputes.items() if one.indication is Indication.EXPOSED]

    @property
    def decisions(self) -> dict[GeneralId, Decision | None]:
        """Who decided what, loyal and traitor alike; None who did not."""
        found = {part.general: self.decided.get(part.general) for part in self.cast.parts}
        return {general: decided.value if decided else None for general, decided in found.items()}

    @property
    def seconds(self) -> float:
        """From the start barrier to the last loyal decision."""
        loyal = (g for g in self.decided if g not in self.verdict.faulty)
        return max((self.decided[g].seconds for g in loyal), default=0.0)
