"""The protocols that there are: what each needs, costs and promises, and how it is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec

from node.orders import Brief, Combiner, GeneralId, Value
from node.protocols import flat_vote, oral, phase_king, reliable_broadcast, signed, tmr
from node.protocols.consistency import InteractiveConsistency
from node.protocols.exchange import Exchange
from node.protocols.flat_vote import FlatVote
from node.protocols.lockstep import Lockstep, Part
from node.protocols.oral import OralMessages
from node.protocols.phase_king import PhaseKing, PhaseQueen
from node.protocols.reliable_broadcast import ReliableBroadcast
from node.protocols.signed import SignedMessages
from node.protocols.tmr import TripleModular
from node.protocols.two_generals import TwoGenerals
from node.quorums import (
    combined_generals_min,
    lockstep_rounds,
    oral_generals_min,
    phase_kings,
    phase_queen_generals_min,
    signed_generals_min,
)
from node.signatures import Chains


@dataclass(frozen=True)
class Entry:
    """One protocol. `generals_min(m)`: with fewer generals its promises are not owed.

    `messages(n, m)` are the paper's of a loyal run, `values(n, round)` those in one oral frame.
    `nothing_owed` says why, where no number of generals is enough. `has_paths`: each value of a
    frame came by one path of generals, which a script can name. `may_abstain`: under a traitorous
    commander it is no fault if none decides.
    """

    name: str
    title: str
    source: str
    build: Callable[[GeneralId, Brief, Chains], Part]
    rounds: Callable[[int], int]
    generals_min: Callable[[int], int]
    has_commander: bool
    messages: Callable[[int, int], int]
    values: Callable[[int, int], int] = lambda n, round: 1
    nothing_owed: str = ""
    has_paths: bool = False
    may_abstain: bool = False


def build(me: GeneralId, brief: Brief, chains: Chains) -> Part:
    """One general's part in what the brief names. KeyError where there is no such protocol."""
    return PROTOCOLS[brief.protocol].build(me, brief, chains)


def played(brief: Brief) -> Entry:
    """The rule book whose bodies travel: that under interactive consistency, where it is played."""
    entry = PROTOCOLS[brief.protocol]
    return entry if entry.has_commander or brief.over is None else PROTOCOLS[brief.over]


def rounds(brief: Brief) -> int:
    """How many rounds it takes; of what has none, how many kinds of messages."""
    return rounds_of(brief.protocol, brief.over, brief.m, brief.messages, brief.reach)


def rounds_of(protocol: str, over: str | None, m: int, messages: int | None, reach: int) -> int:
    """The same, of a brief's fields. On a graph SM takes the rounds of its diameter more (m + d),
    and what is relayed as many for each of its own as the longest path has hops."""
    alone = messages or PROTOCOLS[protocol].rounds(m)
    return alone + reach - 1 if "signed" in (protocol, over) else alone * reach


def generals_min(brief: Brief) -> int:
    """Fewer generals than this owe nothing: the bound of the protocol, or of the one under it."""
    needed = played(brief).generals_min(brief.m)
    if brief.over is None or brief.commander is not None or brief.combiner is Combiner.VECTOR:
        return needed
    return max(needed, combined_generals_min(brief.m))


def values_in_frame(brief: Brief, round: int) -> int:
    """How many values an oral body of `round` holds."""
    return played(brief).values(brief.n, round)


def frame_bytes(brief: Brief) -> int:
    """The largest frame that a loyal general sends, roughly: oral arrays are what grows."""
    last = rounds_of(brief.protocol, brief.over, brief.m, brief.messages, 1)
    per_instance = brief.domain.packed_bytes(values_in_frame(brief, last))
    steps = Counter(step for path in brief.paths for step in enumerate(pairwise(path)))
    parcels = max(steps.values(), default=1)
    return 64 + ((per_instance + 8) * instances(brief) + 4 * brief.reach) * parcels


def messages(brief: Brief) -> int:
    """The paper's messages of a loyal run."""
    return brief.messages or played(brief).messages(brief.n, brief.m) * instances(brief)


def instances(brief: Brief) -> int:
    """How many instances travel in one frame: where everyone commands, one for each."""
    return brief.n if brief.over is not None and brief.commander is None else 1


def owed_order(brief: Brief, order: Value) -> Value:
    """What IC2 asks loyal lieutenants to obey, of a loyal commander's order."""
    if brief.protocol == TMR:
        return tmr.inverted(order, brief.domain)
    return order


def why_not_owed(brief: Brief, faulty: Collection[GeneralId]) -> str | None:
    """Why the protocol promises nothing with these traitors; None if it does."""
    if len(faulty) > brief.m:
        return f"faulty generals {_set(faulty)} outnumber m = {brief.m}"
    needed = generals_min(brief)
    if faulty and needed >= NEVER:
        return played(brief).nothing_owed
    if faulty and brief.n < needed:
        return f"n = {brief.n} is below {needed}, which m = {brief.m} needs"
    if faulty and brief.paths and (fewest := _fewest_paths(brief)) < 2 * brief.m + 1:
        return f"two generals have {fewest} disjoint paths, below 2m + 1 = {2 * brief.m + 1}"
    if brief.protocol == TMR and brief.over is None and brief.commander in faulty:
        return "nobody agrees on the sensor's reading before the replicas work on it"
    return None


def _fewest_paths(brief: Brief) -> int:
    """How many paths lead from one general to another who is no neighbour, at the least."""
    counts = Counter((path[0], path[-1]) for path in brief.paths if len(path) > 2)
    return min(counts.values(), default=2 * brief.m + 1)


def title_of(brief: Brief, general: GeneralId) -> str:
    """What a general is called in this protocol."""
    if brief.protocol == TMR:
        voter_or_replica = "replica" if general in tmr.REPLICAS else "voter"
        return "sensor" if general == tmr.SENSOR else voter_or_replica
    if brief.commander is None or brief.protocol == TWO_GENERALS:
        return "general"
    return "commander" if general == brief.commander else "lieutenant"


def _set(generals: Collection[GeneralId]) -> str:
    return "{" + ", ".join(map(str, sorted(generals))) + "}"


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
        order=_order(me, brief),
    )


def _phases(me: GeneralId, brief: Brief, chains: Chains) -> PhaseKing | PhaseQueen:
    kind = PhaseKing if brief.protocol == PHASE_KING else PhaseQueen
    return kind(
        me=me,
        n=brief.n,
        m=brief.m,
        commander=_commander(brief),
        domain=brief.domain,
        order=_order(me, brief),
    )


def _reliable_broadcast(me: GeneralId, brief: Brief, chains: Chains) -> ReliableBroadcast:
    return ReliableBroadcast(
        me=me,
        n=brief.n,
        m=brief.m,
        commander=_commander(brief),
        domain=brief.domain,
        watch_s=rounds(brief) * brief.delta_s,
        order=_order(me, brief),
    )


def _tmr(me: GeneralId, brief: Brief, chains: Chains) -> TripleModular:
    inputs = msgspec.structs.replace(brief, n=tmr.INPUT_SIDE)
    agreement: Lockstep
    match brief.over:
        case "signed":
            agreement = _signed_instance(me, inputs, chains, tmr.SENSOR)
        case "oral":
            agreement = _oral_instance(me, inputs, tmr.SENSOR)
        case _:
            agreement = tmr.only_sent(me, brief.domain, _order(me, brief))
    return TripleModular(me=me, n=brief.n, domain=brief.domain, agreement=agreement)


def _two_generals(me: GeneralId, brief: Brief, chains: Chains) -> TwoGenerals:
    return TwoGenerals(me=me, messages=brief.messages, domain=brief.domain, order=_order(me, brief))


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
        neighbours=brief.neighbours[me] if brief.neighbours else None,
        rounds=rounds(brief),
    )


def _order(me: GeneralId, brief: Brief) -> Value | None:
    """The commander's own order; nobody else has one."""
    return brief.value if me == brief.commander else None


def _commander(brief: Brief) -> GeneralId:
    assert brief.commander is not None
    return brief.commander


PHASE_KING: Final = "phase-king"
PHASE_QUEEN: Final = "phase-queen"
TMR: Final = "tmr"
TWO_GENERALS: Final = "two-generals"

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
        Entry(
            name=PHASE_KING,
            title="phase king: a king a phase, 1 + 3(m + 1) rounds, few messages, n >= 3m + 1",
            source="Berman, Garay, Perry 1989",
            build=_phases,
            rounds=lambda m: 1 + PhaseKing.steps * phase_kings(m),
            generals_min=oral_generals_min,
            has_commander=True,
            messages=phase_king.king_messages,
        ),
        Entry(
            name=PHASE_QUEEN,
            title="phase king in two rounds a phase, 1 + 2(m + 1) rounds, n >= 4m + 1",
            source="Berman, Garay, Perry 1989",
            build=_phases,
            rounds=lambda m: 1 + PhaseQueen.steps * phase_kings(m),
            generals_min=phase_queen_generals_min,
            has_commander=True,
            messages=phase_king.queen_messages,
        ),
        Entry(
            name="reliable-broadcast",
            title="initial, echo, ready: no rounds and no deadlines, all or none, n >= 3m + 1",
            source="Bracha 1987",
            build=_reliable_broadcast,
            rounds=lambda m: reliable_broadcast.READY,
            generals_min=oral_generals_min,
            has_commander=True,
            messages=reliable_broadcast.messages,
            may_abstain=True,
        ),
        Entry(
            name=TMR,
            title="a sensor, three replicas of an inverter, voters; over oral, signed or nothing",
            source="Lyons, Vanderkulk 1962",
            build=_tmr,
            rounds=lambda m: TripleModular.rounds,
            generals_min=lambda m: tmr.INPUT_SIDE + 1,
            has_commander=True,
            messages=tmr.messages,
        ),
        Entry(
            name=TWO_GENERALS,
            title="messages to and fro over links that lose: no number of them is enough",
            source="Akkoyunlu, Ekanadham, Huber 1975",
            build=_two_generals,
            rounds=lambda m: 1,
            generals_min=lambda m: 2,
            has_commander=True,
            messages=lambda n, m: 1,
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
