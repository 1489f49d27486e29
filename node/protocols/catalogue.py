"""The protocols that there are: what each needs, costs and promises, and how it is built."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node.orders import Brief, Combiner, GeneralId
from node.protocols import flat_vote, oral, signed
from node.protocols.consistency import InteractiveConsistency
from node.protocols.exchange import Exchange
from node.protocols.flat_vote import FlatVote
from node.protocols.lockstep import Lockstep
from node.protocols.oral import OralMessages
from node.protocols.signed import SignedMessages
from node.quorums import (
    combined_generals_min,
    lockstep_rounds,
    oral_generals_min,
    signed_generals_min,
)
from node.signatures import Chains


@dataclass(frozen=True)
class Entry:
    """One protocol. `generals_min(m)`: with fewer generals its promises are not owed.

    `messages(n, m)` are the paper's of a loyal run, `values(n, round)` those in one oral frame.
    `nothing_owed` says why, where no number of generals is enough. `has_paths`: each value of a
    frame came by one path of generals, which a script can name.
    """

    name: str
    title: str
    source: str
    build: Callable[[GeneralId, Brief, Chains], Lockstep]
    rounds: Callable[[int], int]
    generals_min: Callable[[int], int]
    has_commander: bool
    messages: Callable[[int, int], int]
    values: Callable[[int, int], int] = lambda n, round: 1
    nothing_owed: str = ""
    has_paths: bool = False


def build(me: GeneralId, brief: Brief, chains: Chains) -> Lockstep:
    """One general's part in what the brief names. KeyError where there is no such protocol."""
    return PROTOCOLS[brief.protocol].build(me, brief, chains)


def played(brief: Brief) -> Entry:
    """The rule book whose bodies travel: that under interactive consistency, where it is played."""
    return PROTOCOLS[brief.over if brief.over is not None else brief.protocol]


def rounds(brief: Brief) -> int:
    return PROTOCOLS[brief.protocol].rounds(brief.m)


def generals_min(brief: Brief) -> int:
    """Fewer generals than this owe nothing: the bound of the protocol, or of the one under it."""
    needed = played(brief).generals_min(brief.m)
    if brief.over is None or brief.combiner is Combiner.VECTOR:
        return needed
    return max(needed, combined_generals_min(brief.m))


def values_in_frame(brief: Brief, round: int) -> int:
    """How many values an oral body of `round` holds."""
    return played(brief).values(brief.n, round)


def frame_bytes(brief: Brief) -> int:
    """The largest frame that a loyal general sends, roughly: oral arrays are what grows."""
    per_instance = brief.domain.packed_bytes(values_in_frame(brief, rounds(brief)))
    return 64 + (per_instance + 8) * (brief.n if brief.over else 1)


def messages(brief: Brief) -> int:
    """The paper's messages of a loyal run."""
    return played(brief).messages(brief.n, brief.m) * (brief.n if brief.over else 1)


def _oral(me: GeneralId, brief: Brief, chains: Chains) -> OralMessages:
    return _oral_instance(me, brief, _commander(brief))


def _signed(me: GeneralId, brief: Brief, chains: Chains) -> SignedMessages:
    return _signed_instance(me, brief, chains, _commander(brief))


def _flat_vote(me: GeneralId, brief: Brief, chains: Chains) -> FlatVote:
    return FlatVote(
        me=me,
        n=brief.n,
        m=brief.m,
        commander=_commander(brief),
        domain=brief.domain,
        order=brief.value if me == brief.commander else None,
    )


def _exchange(me: GeneralId, brief: Brief, chains: Chains) -> Exchange:
    assert brief.value is not None
    return Exchange(
        me=me, n=brief.n, domain=brief.domain, combiner=brief.combiner, value=brief.value
    )


def _consistency(me: GeneralId, brief: Brief, chains: Chains) -> InteractiveConsistency:
    instances: list[Lockstep] = []
    for commander in range(brief.n):
        if brief.over == "signed":
            instances.append(_signed_instance(me, brief, chains, commander))
        else:
            instances.append(_oral_instance(me, brief, commander))
    return InteractiveConsistency(instances, brief.combiner, brief.domain)


def _oral_instance(me: GeneralId, brief: Brief, commander: GeneralId) -> OralMessages:
    return OralMessages(
        me=me,
        n=brief.n,
        m=brief.m,
        commander=commander,
        domain=brief.domain,
        order=brief.value if me == commander else None,
    )


def _signed_instance(
    me: GeneralId, brief: Brief, chains: Chains, commander: GeneralId
) -> SignedMessages:
    return SignedMessages(
        me=me,
        n=brief.n,
        m=brief.m,
        commander=commander,
        domain=brief.domain,
        verify=chains.verify,
        order=brief.value if me == commander else None,
    )


def _commander(brief: Brief) -> GeneralId:
    assert brief.commander is not None
    return brief.commander


_LAMPORT = "Lamport, Shostak, Pease 1982"

PROTOCOLS: dict[str, Entry] = {
    entry.name: entry
    for entry in (
        Entry(
            name="oral",
            title="OM(m): oral messages, m + 1 rounds, n >= 3m + 1",
            source=f"{_LAMPORT}, section 3",
            build=_oral,
            rounds=lockstep_rounds,
            generals_min=oral_generals_min,
            has_commander=True,
            messages=oral.messages,
            values=oral.values_in_frame,
            has_paths=True,
        ),
        Entry(
            name="signed",
            title="SM(m): signed messages, m + 1 rounds, any n >= m + 2",
            source=f"{_LAMPORT}, section 4",
            build=_signed,
            rounds=lockstep_rounds,
            generals_min=signed_generals_min,
            has_commander=True,
            messages=signed.messages,
            has_paths=True,
        ),
        Entry(
            name="exchange",
            title="one exchange of everyone's value, combined by majority or median",
            source=f"{_LAMPORT}, section 1",
            build=_exchange,
            rounds=lambda m: 1,
            generals_min=lambda m: 1 if m == 0 else NEVER,
            has_commander=False,
            messages=lambda n, m: n * (n - 1),
            nothing_owed="a single exchange promises nothing once there is a traitor",
            has_paths=True,
        ),
        Entry(
            name="flat-vote",
            title="every relayed word is one vote, m + 1 rounds: it is not OM(m), and breaks",
            source="a report's program, re-created",
            build=_flat_vote,
            rounds=lockstep_rounds,
            generals_min=lambda m: oral_generals_min(m) if m <= 1 else NEVER,
            has_commander=True,
            messages=flat_vote.messages,
            values=flat_vote.values_in_frame,
            nothing_owed="beyond m = 1 a flat vote promises nothing once there is a traitor",
        ),
        Entry(
            name="interactive-consistency",
            title="everyone commands once, over oral or signed messages; vector, majority, median",
            source="Pease, Shostak, Lamport 1980",
            build=_consistency,
            rounds=lockstep_rounds,
            generals_min=oral_generals_min,
            has_commander=False,
            messages=oral.messages,
        ),
    )
}

#: No number of generals is enough.
NEVER = 1 << 30

#: Combiners that each protocol takes; the first is its default.
COMBINERS: dict[str, tuple[Combiner, ...]] = {
    "exchange": (Combiner.MAJORITY, Combiner.MEDIAN),
    "interactive-consistency": (Combiner.VECTOR, Combiner.MAJORITY, Combiner.MEDIAN),
}
