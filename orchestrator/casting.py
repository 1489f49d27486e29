"""Who plays whom: a scenario made into a part for each general."""

from __future__ import annotations

from dataclasses import dataclass

from node import wire
from node.authenticators import authenticator_bytes
from node.control import Role
from node.orders import Brief, Combiner, GeneralId
from node.protocols import catalogue
from orchestrator.scenario import Scenario


@dataclass(frozen=True)
class Part:
    """What one general is told: his brief, and his role if he is a traitor."""

    general: GeneralId
    brief: Brief
    role: Role | None


@dataclass(frozen=True)
class Cast:
    """All parts of one run, in ascending order, and what the run id commits to."""

    parts: tuple[Part, ...]
    scenario: bytes
    seed: int

    @property
    def n(self) -> int:
        return len(self.parts)


class Unplayable(Exception):  # noqa: N818 - a scenario that is valid, and still too large to play
    """A run that the wire cannot carry; the text says what to change."""


def cast(scenario: Scenario) -> Cast:
    """Hands out the parts. Unplayable where a frame would be larger than generals accept."""
    parts = tuple(_part(scenario, general) for general in range(scenario.n))
    needed = catalogue.frame_bytes(parts[0].brief)
    if scenario.accountable:
        needed += authenticator_bytes(scenario.n)
    if needed > wire.FRAME_BYTES_MAX:
        raise Unplayable(
            f"a frame would take {needed} bytes, more than the {wire.FRAME_BYTES_MAX} that "
            "generals accept: take a smaller m, or a domain of two values"
        )
    return Cast(parts, scenario.resolved_yaml().encode(), scenario.seed)


def _part(scenario: Scenario, general: GeneralId) -> Part:
    return Part(general, brief_of(scenario, general), _role(scenario, general))


def brief_of(scenario: Scenario, general: GeneralId) -> Brief:
    return Brief(
        protocol=scenario.protocol.value,
        n=scenario.n,
        m=scenario.m,
        commander=scenario.commander,
        over=scenario.over.value if scenario.over else None,
        combiner=scenario.combiner or Combiner.MAJORITY,
        domain=scenario.domain,
        value=scenario.input_of(general),
        delta_s=scenario.delta,
        accountable=scenario.accountable,
        barriers=scenario.barriers,
        neighbours=scenario.layout.neighbours if scenario.layout else (),
        paths=scenario.layout.paths if scenario.layout else (),
        reach=scenario.layout.reach if scenario.layout else 1,
        messages=scenario.messages or 0,
    )


def _role(scenario: Scenario, general: GeneralId) -> Role | None:
    for traitor in scenario.traitors:
        if traitor.general == general:
            return Role(
                strategy=traitor.strategy,
                params=traitor.params,
                trigger=traitor.when.model_dump(exclude_none=True),
                coalition=tuple(sorted(scenario.faulty)) if scenario.coalition else (),
                conceals=traitor.conceals,
            )
    return None
