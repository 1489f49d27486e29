"""One whole general, still without I/O: keys, machine, journal and ledger, on every backend.

Bytes and time come in, actions go out. A backend carries them: `receive` for each message with the
sender that its transport proved, `start` when the barrier opens, `wake` when a timer is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias, assert_never

import msgspec

from node import wire
from node.authenticators import Equivocation, Opener, Vouching
from node.control import Muster, Role, Roster, Suffer
from node.effects import (
    Accuse,
    CancelTimer,
    Decide,
    Effect,
    Halt,
    Lie,
    Miss,
    Note,
    Reach,
    Reason,
    Refuse,
    Send,
    SetTimer,
)
from node.events import Event, Received, Resumed, Started, TimerFired
from node.journal import (
    FORMAT,
    Accused,
    Began,
    Closed,
    Heard,
    Hindered,
    Journal,
    LedgerLine,
    Lied,
    Missed,
    Noted,
    Opened,
    Refused,
    Said,
    Settled,
    Suffered,
    Turned,
    Woke,
)
from node.journal import Resumed as WentOn
from node.link_faults import LinkFaults, Passage
from node.messages import (
    Body,
    Bundle,
    Conspire,
    Echo,
    Frame,
    Message,
    Parcels,
    Probe,
    Signed,
    Vouched,
    kind_of,
)
from node.orders import Brief, GeneralId, others
from node.protocols import catalogue
from node.protocols.lockstep import Machine
from node.relay import relayed
from node.rounds import Rounds
from node.signatures import Chains, Signer, is_admissible
from node.traitors import Seat, Traitor, strategy_of

#: Refusals of one sender that are entered in the journal one by one; the rest are only counted,
#: and once as many again were refused his frames are no longer even decoded.
REFUSALS_ENTERED = 256
#: Why a frame is refused for its place in the run: no rule ever acts on it.
OUT_OF_PLACE = frozenset({Reason.BAD_ROUND, Reason.NOT_AWAITED, Reason.DUPLICATE, Reason.LATE})
#: Bytes of one sender's frames out of place that are kept in the journal; more are only counted,
#: or a peer could fill this general's memory with them.
OUT_OF_PLACE_BYTES_KEPT = 1 << 16
#: Probes of one sender that are answered.
ECHOES_MAX = 8


class Deliver(msgspec.Struct, frozen=True):
    """The same bytes to each of `to`, in that order."""

    to: tuple[GeneralId, ...]
    data: bytes


Action: TypeAlias = Deliver | SetTimer | CancelTimer | Reach | Decide


def loyal_machine(me: GeneralId, brief: Brief, chains: Chains) -> Machine:
    """What a loyal general runs; an auditor runs it again."""
    part = catalogue.build(me, brief, chains)
    if isinstance(part, Machine):
        return part
    return Rounds(relayed(me, brief, part), brief.delta_s, brief.barriers)


class General:
    """A general of one run. `secret` seeds his signing key; without it he makes one himself."""

    def __init__(self, secret: bytes | None = None) -> None:
        self.signer = Signer(secret)
        self.journal = Journal()
        self.ledger: dict[int, LedgerLine] = {}
        self.refusals: Counter[tuple[GeneralId, Reason]] = Counter()
        self.decision: Decide | None = None
        self._refused_of: Counter[GeneralId] = Counter()
        #: The bytes that were decoded last, and what they say.
        self._last: tuple[bytes, Message | wire.Malformed] = b"", wire.decode(b"")
        self._bytes_out_of_place: Counter[GeneralId] = Counter()
        #: Timers that are set, on this general's own clock.
        self._timers: dict[str, SetTimer] = {}
        self._halted = False
        #: What the host's clock says, and how far this general's own is ahead of it, in seconds.
        self._now_s = self._skew_s = 0.0
        #: What a link delays, by the timer that lets it go.
        self._on_the_road: dict[str, Passage] = {}
        self._departures = 0
        self._opening: Event | None = None

    def enlist(self, muster: Muster) -> None:
        """Learns who is who and what is played. ValueError where the muster makes no sense."""
        self.me = muster.me
        self._run = muster.run
        self._muster = muster
        self._publics = self._checked(muster.roster)
        self._unheard = set(others(self._publics, self.me))
        self._role = muster.role
        self._keys: dict[GeneralId, Signer] = {self.me: self.signer}
        self._echoes: Counter[GeneralId] = Counter()
        self._instance = muster.brief.commander or 0
        protocol = muster.brief.over or muster.brief.protocol
        self.chains = Chains(muster.run, protocol, self._publics)
        self._opener, self._vouching = self._accountable(muster)
        self._links = LinkFaults(self.me, muster.seed)
        self._loyal = self._loyal_with(muster.brief)
        self._seat = Seat(
            self.me, muster.brief, muster.seed, self._keys, self.chains, self._loyal_with
        )
        self._machine = self._playing(muster.role)
        self.journal.append(
            Opened(
                format=FORMAT,
                general=self.me,
                run=muster.run,
                brief=muster.brief,
                strategy=muster.role.strategy if muster.role else None,
            )
        )

    def muster(self) -> list[Action]:
        """The barrier's first words: a probe to each peer, and a traitor's key to his coalition."""
        if not self._unheard:
            return []
        actions: list[Action] = [self._deliver(tuple(sorted(self._unheard)), Probe(self._run))]
        if conspirators := self._conspirators():
            secret = self.signer.secret_for_coalition()
            actions.append(self._deliver(conspirators, Conspire(self._run, secret)))
        return actions

    @property
    def missing(self) -> tuple[GeneralId, ...]:
        """Peers that have not answered, or traitors whose key is owed to this one."""
        return tuple(sorted(self._unheard | (set(self._conspirators()) - self._keys.keys())))

    @property
    def is_ready(self) -> bool:
        return not self.missing

    @property
    def is_done(self) -> bool:
        """Decided and no timer left, or crashed: nothing more will come from here."""
        decided = self.decision is not None and not self._timers and not self._on_the_road
        return self._halted or decided

    def start(self, at_s: float) -> list[Action]:
        """The start barrier opens at `at_s`: a moment that everyone looks for on his own clock."""
        self._read_clock(at_s)
        self.journal.append(Began(at_s))
        self._opening = Started(at_s)
        return self._act(self._opening)

    def resume(self, round: int, at_s: float) -> list[Action]:
        """The barrier before a round opened, which this general may be halting at."""
        self._read_clock(at_s)
        self.journal.append(WentOn(round, at_s))
        self._opening = Resumed(round, at_s)
        return self._act(self._opening)

    def wake(self, name: str, at_s: float) -> list[Action]:
        """A timer that this general had set is due."""
        own_s = self._read_clock(at_s)
        if name in self._on_the_road:
            passage = self._on_the_road.pop(name)
            return [Deliver((passage.to,), passage.data)]
        if name not in self._timers:
            return []
        del self._timers[name]
        self.journal.append(Woke(own_s, name))
        return self._act(TimerFired(name))

    def suffer(self, order: Suffer, at_s: float) -> list[Action]:
        """What befalls this general from now on: his links, his clock."""
        self._read_clock(at_s)
        actions = [self._departing(passage) for passage in self._links.impose(order.rules)]
        if order.skew_s != self._skew_s:
            self.journal.append(Suffered(f"the clock is {order.skew_s:g} s ahead"))
            self._skew_s = order.skew_s
            actions += [self._on_the_host(timer) for timer in self._timers.values()]
        return actions

    def turn(self, role: Role | None) -> None:
        """Becomes a traitor, or loyal, in mid-run. ValueError where there is no such strategy.

        Who turns has no conspirators: keys are shared at the start barrier alone.
        """
        self._machine = self._playing(role)
        self._role = role
        self.journal.append(Turned(role.strategy if role else None))
        if self._opening is not None and isinstance(self._machine, Traitor):
            self._machine.learn(self._opening)

    def receive(self, sender: GeneralId, data: bytes, at_s: float) -> list[Action]:
        """One message from the sender that the transport proved. Total: any bytes will do."""
        own_s = self._read_clock(at_s)
        if self._refused_of.get(sender, 0) >= 2 * REFUSALS_ENTERED:
            self.refusals[sender, Reason.QUOTA] += 1
            return []
        # Generals who agree say the same in a round, byte for byte.
        message = self._last[1] if data == self._last[0] else wire.decode(data)
        self._last = data, message
        if isinstance(message, wire.Malformed):
            return self._refuse(sender, message.reason, "A1")
        if message.run != self._run:
            return self._refuse(sender, Reason.WRONG_RUN, "A4")
        match message:
            case Frame() if self._vouching is None:
                return self._hear(sender, message, data, own_s)
            case Frame() | Vouched():
                return self._open(sender, message, data, own_s)
            case Probe():
                return self._answer(sender)
            case Echo():
                self._unheard.discard(sender)
                return []
            case Conspire():
                return self._conspire(sender, message)
            case _:
                assert_never(message)

    def close(self) -> None:
        """Ends the journal under this general's signature. Nothing is entered afterwards, and so
        nothing is said: a frame that his journal does not hold would convict him."""
        if self.journal.is_closed:
            return
        ending = Closed(
            refusals=tuple((g, r, c) for (g, r), c in sorted(self.refusals.items())),
            ledger=tuple(line for _, line in sorted(self.ledger.items())),
            verifications=self.chains.verifications,
            signature=b"",
        )
        self.journal.close(self.signer, self._run, ending)
        self._halted = True
        self._timers.clear()

    def hand_in(self) -> Iterator[bytes]:
        """The journal file, closed. A traitor who conceals hands in what a loyal general would
        have made of what he heard."""
        self.close()
        if self._role is None or not self._role.conceals:
            return self.journal.lines()
        twin = General(self.signer.secret_for_coalition())
        twin.enlist(msgspec.structs.replace(self._muster, role=None))
        for entry in self.journal.entries:
            match entry:
                case Began(at_s):
                    twin.start(at_s)
                case Heard(at_s, sender, data):
                    twin.receive(sender, data, at_s)
                case Woke(at_s, timer):
                    twin.wake(timer, at_s)
                case WentOn(round, at_s):
                    twin.resume(round, at_s)
                case _:
                    pass
        twin.close()
        return twin.journal.lines()

    def _accountable(self, muster: Muster) -> tuple[Opener | None, Vouching | None]:
        """What an accountable run needs; in any other, nothing."""
        if not muster.brief.accountable:
            return None, None
        kind = Equivocation if muster.role and muster.role.conceals else Vouching
        opener = Opener(self.me, self._run, self._publics, is_accountable=True)
        return opener, kind(self._run, self.signer, self.journal)

    def _open(
        self, sender: GeneralId, message: Frame | Vouched, data: bytes, at_s: float
    ) -> list[Action]:
        """A frame as accountable runs have it; none else is heard there, and it nowhere else."""
        frame = self._opener.open(sender, message) if self._opener else Reason.BAD_AUTHENTICATOR
        if isinstance(frame, Reason):
            return self._refuse(sender, frame, "A4")
        return self._hear(sender, frame, data, at_s)

    def _loyal_with(self, brief: Brief) -> Machine:
        """The loyal machine of one who has that brief."""
        return loyal_machine(self.me, brief, self.chains)

    def _playing(self, role: Role | None) -> Machine:
        return self._loyal if role is None else Traitor(self._loyal, strategy_of(role, self._seat))

    def _read_clock(self, at_s: float) -> float:
        """The host's moment on this general's own clock."""
        self._now_s = at_s
        return at_s + self._skew_s

    def _on_the_host(self, timer: SetTimer) -> SetTimer:
        """A timer of this general's own clock on the host's."""
        if not self._skew_s:
            return timer
        return msgspec.structs.replace(timer, at_s=timer.at_s - self._skew_s)

    def _checked(self, roster: Roster) -> dict[GeneralId, bytes]:
        """The roster's signing keys by general, his own among them.

        A key that two generals share would let one of them vote twice, and one that is no point of
        prime order would let verifiers differ.
        """
        publics = roster.signing_publics()
        if len(set(publics.values())) != len(roster.generals):
            raise ValueError("two generals of the roster share a number or a key")
        for general, public in publics.items():
            if not is_admissible(public):
                raise ValueError(f"general {general}'s key in the roster is no Ed25519 key")
        if publics.get(self.me) != self.signer.public:
            raise ValueError(f"the roster does not hold general {self.me}'s own key")
        return publics

    def _conspirators(self) -> tuple[GeneralId, ...]:
        return others(self._role.coalition, self.me) if self._role else ()

    def _conspire(self, sender: GeneralId, message: Conspire) -> list[Action]:
        """Another traitor's signing key, if it is his and he is of this coalition."""
        if sender not in self._conspirators() or len(message.secret) != 32:
            return self._refuse(sender, Reason.NOT_AWAITED, "A4")
        signer = Signer(message.secret)
        if signer.public != self._publics[sender]:
            return self._refuse(sender, Reason.BAD_SIGNATURE, "A4")
        self._keys[sender] = signer
        return []

    def _answer(self, sender: GeneralId) -> list[Action]:
        self._echoes[sender] += 1
        if self._echoes[sender] > ECHOES_MAX:
            return self._refuse(sender, Reason.QUOTA, "A1")
        return [self._deliver((sender,), Echo(self._run))]

    def _hear(self, sender: GeneralId, frame: Frame, data: bytes, at_s: float) -> list[Action]:
        """Hands a frame to the machine, and enters it before what came of it."""
        if self._halted:
            return []
        effects = self._machine.on_event(Received(sender, frame))
        in_place = not effects or not all(_is_out_of_place(effect) for effect in effects)
        if not in_place:
            self._bytes_out_of_place[sender] += len(data)
        if in_place or self._bytes_out_of_place[sender] <= OUT_OF_PLACE_BYTES_KEPT:
            self.journal.append(Heard(at_s, sender, data))
        return self._performed(effects) if effects else []

    def _act(self, event: Event) -> list[Action]:
        """Hands an event to the machine and carries out what it asks."""
        return [] if self._halted else self._performed(self._machine.on_event(event))

    def _performed(self, effects: list[Effect]) -> list[Action]:
        actions: list[Action] = []
        for effect in effects:
            self._perform(effect, actions)
        return actions

    def _perform(self, effect: Effect, actions: list[Action]) -> None:
        match effect:
            case Send():
                actions += self._send(effect)
            case SetTimer(name):
                self._timers[name] = effect
                actions.append(self._on_the_host(effect))
            case CancelTimer(name):
                if self._timers.pop(name, None) is not None:
                    actions.append(effect)
            case Reach():
                actions.append(effect)
            case Miss(general, round, rule):
                self.journal.append(Missed(general, round, rule))
            case Decide(value, tally, rule):
                self.decision = effect
                self.journal.append(Settled(value, tally, rule))
                actions.append(effect)
            case Refuse(sender, reason, rule):
                self._refuse(sender, reason, rule)
            case Accuse(culprit, instance, proof, rule):
                self.journal.append(Accused(culprit, instance, proof, rule))
            case Note(text, rule):
                self.journal.append(Noted(text, rule))
            case Lie(to, round, truth, told, rule):
                self.journal.append(Lied(to, round, truth, told, rule))
            case Halt(rule, text):
                self._halted = True
                self._timers.clear()
                self.journal.append(Noted(text, rule))
            case _:
                assert_never(effect)

    def _send(self, send: Send) -> list[Action]:
        """Signs what is to be signed, enters it in ledger and journal, and lets it go."""
        body = send.body
        if isinstance(body, Bundle):
            signed = tuple(self._signed(part, i) for i, part in enumerate(body.parts))
            frame = Frame(self._run, send.round, Bundle(signed))
        elif isinstance(body, Parcels):
            # Only what is oral is relayed: signed orders pass from neighbour to neighbour.
            frame = Frame(self._run, send.round, body)
        else:
            frame = Frame(self._run, send.round, self._signed(body, self._instance))
        data = wire.encode(frame)
        said = Said(send.to, send.round, send.messages, send.rule, data)
        if self._vouching is None:
            self.journal.append(said)
        else:
            data = self._vouching.enter(said)
        entry = self.ledger.setdefault(send.round, LedgerLine(send.round))
        entry.messages += send.messages * len(send.to)
        entry.frames += len(send.to)
        entry.bytes += len(data) * len(send.to)
        if self._links.are_idle:
            return [Deliver(send.to, data)]
        return self._passed_on(send, data)

    def _passed_on(self, send: Send, data: bytes) -> list[Action]:
        """Over links that are disturbed: one receiver fares otherwise than another."""
        actions: list[Action] = []
        for to in send.to:
            kind = kind_of(type(send.body))
            passages, mishaps = self._links.send(to, send.round, kind, data)
            for mishap in mishaps:
                self.journal.append(Hindered(to, send.round, mishap))
            actions += [self._departing(passage) for passage in passages]
        return actions

    def _departing(self, passage: Passage) -> Action:
        if passage.delay_s <= 0.0:
            return Deliver((passage.to,), passage.data)
        self._departures += 1
        name = f"link/{self._departures}"
        self._on_the_road[name] = passage
        return SetTimer(name, self._now_s + passage.delay_s, rule="A1")

    def _signed(self, body: Body, instance: int) -> Body:
        """A body whose orders bear every signature that this general can give."""
        if not isinstance(body, Signed):
            return body
        orders = (self.chains.complete(order, instance, self._keys) for order in body.orders)
        return msgspec.structs.replace(body, orders=tuple(orders))

    def _refuse(self, sender: GeneralId, reason: Reason, rule: str) -> list[Action]:
        self.refusals[sender, reason] += 1
        self._refused_of[sender] += 1
        if self._refused_of[sender] <= REFUSALS_ENTERED:
            self.journal.append(Refused(sender, reason, rule))
        return []

    def _deliver(self, to: tuple[GeneralId, ...], message: Message) -> Deliver:
        return Deliver(to, wire.encode(message))


def _is_out_of_place(effect: Effect) -> bool:
    return isinstance(effect, Refuse) and effect.reason in OUT_OF_PLACE
