"""A general's tree of paths in OM(m), rebuilt from journals: what each told, and what it came to.

A general's machine is run again on what his journal says he heard, which gives the value of every
path of his tree. Running the speakers' machines again gives what each of them held when he spoke:
where that is not what he told, he lied, or it was lost on the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from node.authenticators import frame_in
from node.events import Event, Received, Resumed, Started, TimerFired
from node.journal import Began, Heard, Turned, Woke
from node.journal import Resumed as WentOn
from node.orders import Brief, Domain, GeneralId, Value, others
from node.protocols import catalogue, paths
from node.protocols.consistency import InteractiveConsistency
from node.protocols.lockstep import Machine
from node.protocols.oral import OralMessages
from node.relay import relayed
from node.rounds import Rounds
from node.signatures import Chains
from orchestrator.scenario import MESSAGES_MAX
from orchestrator.scenario.terms import GENERALS_MAX
from orchestrator.transcript import Record, Transcript

Path = tuple[GeneralId, ...]


class NoTree(Exception):  # noqa: N818 - a general who has none is no error of his
    """There is no tree to draw; the text says why."""


@dataclass(frozen=True)
class Branch:
    """What the last of `path` told, and what OM-3 made of it and of all that is below.

    `held` is what he should have told, None where his journal is missing.
    """

    path: Path
    told: Value
    resolved: Value
    held: Value | None
    is_traitor: bool

    @property
    def is_false(self) -> bool:
        return self.held is not None and self.told != self.held


@dataclass(frozen=True)
class Tree:
    """All branches of one general, by path; the root is the commander's."""

    general: GeneralId
    commander: GeneralId
    n: int
    branches: dict[Path, Branch]

    @property
    def root(self) -> Branch:
        return self.branches[(self.commander,)]

    def below(self, path: Path) -> Iterator[Branch]:
        """The branches right below a path, by general."""
        for general in others(range(self.n), self.general, *path):
            if (*path, general) in self.branches:
                yield self.branches[*path, general]

    @property
    def lieutenants(self) -> tuple[GeneralId, ...]:
        return others(range(self.n), self.commander)

    def cell(self, speaker: GeneralId, about: GeneralId) -> Branch | None:
        """What `speaker` says that `about` said that the commander said, if it was said at all.

        Of himself, it is what he told of his own order.
        """
        if about == self.general:
            return self.root if speaker == self.general else None
        path = (self.commander, about) if speaker == about else (self.commander, about, speaker)
        return self.branches.get(path)

    def vote(self, speaker: GeneralId, about: GeneralId) -> Value | None:
        """What a cell counts for in its column: what was told, or what OM-3 made of it below."""
        cell = self.cell(speaker, about)
        if cell is None:
            return None
        return cell.told if about in (speaker, self.general) else cell.resolved

    def column(self, about: GeneralId) -> Value:
        """What this general makes of all that he heard of one lieutenant: a vote of OM-3."""
        own = (self.commander, about)
        return self.root.told if about == self.general else self.branches[own].resolved


def trees(
    transcript: Transcript, commander: GeneralId | None = None, general: GeneralId | None = None
) -> list[Tree]:
    """The trees of all lieutenants whose journals are there, or of one. NoTree says what is amiss.

    `commander`: whose order it is about, where interactive consistency has everyone command once.
    """
    parts = {g: _replayed(record, commander) for g, record in transcript.records.items()}
    if not parts:
        raise NoTree("there is no journal to draw a tree from")
    chief = _chief(transcript, commander)
    if general == chief:
        raise NoTree(f"general {chief} commands: his lieutenants have trees")
    if general is not None and general not in parts:
        raise NoTree(f"general {general} handed in no journal")
    values = {g: _values(part, chief) for g, part in parts.items()}
    heard = [g for g in sorted(parts) if g != chief and values[g]]
    if general is not None and general not in heard:
        raise NoTree(f"the journal of general {general} ends before round 1")
    wanted = heard if general is None else [general]
    return [_tree(transcript, parts[g], chief, values) for g in wanted]


@dataclass(frozen=True)
class _Part:
    """A machine that was run again: whose, among how many, and what he had to order."""

    general: GeneralId
    n: int
    domain: Domain
    oral: OralMessages
    order: Value | None


def _replayed(record: Record, commander: GeneralId | None) -> _Part:
    """A general's part in OM(m) after all that he heard."""
    opened = record.opened
    if opened is None:
        raise NoTree(f"the journal of general {record.general} cannot be read")
    brief = opened.brief
    _check(brief, opened.general)
    part = catalogue.build(opened.general, brief, Chains(opened.run, brief.protocol, {}))
    assert not isinstance(part, Machine)
    machine = Rounds(relayed(opened.general, brief, part), brief.delta_s, brief.barriers)
    for event in _events(record):
        machine.on_event(event)
    if isinstance(part, InteractiveConsistency):
        if commander is None or commander >= brief.n:
            raise NoTree(f"everyone commands once: say whose order it is, 0 to {brief.n - 1}")
        part = part.instances[commander]
    assert isinstance(part, OralMessages)
    return _Part(opened.general, brief.n, brief.domain, part, brief.value)


def _check(brief: Brief, general: GeneralId) -> None:
    """NoTree where a brief has none, or is none that anyone gave: a journal may say anything."""
    if catalogue.played(brief) is not catalogue.PROTOCOLS["oral"]:
        raise NoTree(f"{brief.over or brief.protocol} has no tree of paths: OM(m), `oral`, has")
    generals = (general, brief.commander or 0, brief.reach - 1)
    if not 0 <= brief.m < brief.n <= GENERALS_MAX or not all(0 <= g < brief.n for g in generals):
        raise NoTree(f"the journal of general {general} opens with a brief that nobody could play")
    if catalogue.messages(brief) > MESSAGES_MAX:
        raise NoTree(f"a tree of n = {brief.n}, m = {brief.m} is too large to draw")


def _events(record: Record) -> Iterator[Event]:
    """What happened to a general, in its order."""
    for entry in record.entries:
        match entry:
            case Began(at_s):
                yield Started(at_s)
            case WentOn(round, at_s):
                yield Resumed(round, at_s)
            case Woke(timer=timer):
                yield TimerFired(timer)
            case Heard(sender=sender, data=data):
                frame = frame_in(data)
                if frame is not None:
                    yield Received(sender, frame)
            case _:
                pass


def _chief(transcript: Transcript, commander: GeneralId | None) -> GeneralId:
    opened = next(filter(None, (record.opened for record in transcript.records.values())))
    chief = opened.brief.commander if opened.brief.commander is not None else commander
    if chief is None or chief >= opened.brief.n or commander not in (None, chief):
        raise NoTree(f"general {commander} commands nothing here")
    return chief


def _values(part: _Part, chief: GeneralId) -> dict[Path, tuple[Value, Value]]:
    """What was told along each path and what it came to; the commander's own order on none."""
    if part.general == chief:
        assert part.order is not None
        return {(): (part.order, part.order)}
    if not part.oral.levels:
        return {}
    peers = others(range(part.n), chief, part.general)
    found: dict[Path, tuple[Value, Value]] = {}
    for length, (level, resolved) in enumerate(
        zip(part.oral.levels, part.oral.resolved(), strict=True)
    ):
        for place, ranks in enumerate(paths.labels(len(peers), length)):
            path = (chief, *(peers[rank] for rank in ranks))
            found[path] = part.domain.value(level[place]), part.domain.value(resolved[place])
    return found


def _tree(
    transcript: Transcript,
    part: _Part,
    chief: GeneralId,
    values: dict[GeneralId, dict[Path, tuple[Value, Value]]],
) -> Tree:
    branches = {}
    for path, (told, resolved) in values[part.general].items():
        speaker = path[-1]
        held = values.get(speaker, {}).get(path[:-1])
        is_traitor = _is_traitor(transcript.records.get(speaker))
        branches[path] = Branch(path, told, resolved, held[0] if held else None, is_traitor)
    return Tree(part.general, chief, part.n, branches)


def _is_traitor(record: Record | None) -> bool:
    """Whether he was a traitor from the start, or turned into one."""
    if record is None or record.opened is None:
        return False
    turns = (entry.strategy for entry in record.entries if isinstance(entry, Turned))
    return any(strategy is not None for strategy in (record.opened.strategy, *turns))
