"""What can befall a run: a closed union of faults, the same for every backend.

The timetable's words come down to these: a partition, a one-way cut and an isolated general are
all sets of directed links that carry nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from msgspec.structs import replace

from node.control import Role, Suffer
from node.link_faults import LinkRule
from node.orders import GeneralId, others

#: A directed link: sender, receiver.
Link: TypeAlias = tuple[GeneralId, GeneralId]


@dataclass(frozen=True)
class Cut:
    """These links carry nothing. What was sent meanwhile arrives once they are healed."""

    links: frozenset[Link]


@dataclass(frozen=True)
class Disturb:
    """Messages of these senders suffer what the rule says."""

    senders: tuple[GeneralId, ...]
    rule: LinkRule


@dataclass(frozen=True)
class Disconnect:
    """The general's host leaves the network; healed, it comes back."""

    general: GeneralId


@dataclass(frozen=True)
class Pause:
    """The general stands still, with all that reaches him; healed, he goes on."""

    general: GeneralId


@dataclass(frozen=True)
class Kill:
    """The general ends at once and forgets everything; healed, he is started again."""

    general: GeneralId


@dataclass(frozen=True)
class Skew:
    """The general's clock is so many seconds ahead (behind where negative)."""

    general: GeneralId
    seconds: float


@dataclass(frozen=True)
class Recast:
    """The general plays `role`, None being a loyal one's; healed, what he was `before`."""

    general: GeneralId
    role: Role | None
    before: Role | None = None


Fault: TypeAlias = Cut | Disturb | Disconnect | Pause | Kill | Skew | Recast


def links_of(general: GeneralId, n: int) -> frozenset[Link]:
    """Every link that leads to a general or from him."""
    return frozenset(
        link for peer in others(range(n), general) for link in ((general, peer), (peer, general))
    )


def cut_links(faults: Iterable[Fault]) -> frozenset[Link]:
    """All links that cuts among the faults hold."""
    return frozenset().union(*(fault.links for fault in faults if isinstance(fault, Cut)))


def suffering(general: GeneralId, faults: Iterable[Fault], cut: Iterable[Link]) -> Suffer:
    """What one general has to be told of the faults that last, and of the links that are cut."""
    rules: list[LinkRule] = []
    skew_s = 0.0
    for fault in faults:
        if isinstance(fault, Disturb) and general in fault.senders:
            rules.append(fault.rule)
        elif isinstance(fault, Skew) and fault.general == general:
            skew_s += fault.seconds
    receivers = tuple(sorted(receiver for sender, receiver in cut if sender == general))
    if receivers:
        rules.insert(0, LinkRule(receivers=receivers, cut=True))
    return Suffer(number=0, rules=tuple(rules), skew_s=skew_s)


def numbered(order: Suffer, number: int) -> Suffer:
    return replace(order, number=number)
