"""Authenticators: what makes a frame proof that it stands in its sender's journal.

PeerReview (Haeberlen, Kouznetsov, Druschel, SOSP 2007), section 4: a node signs, with each message,
the sequence number and the head of its tamper-evident log, which commits it to the whole log before
and to the message itself. Here the log is the journal. A frame travels with the head before its
entry and with all of the entry that is not in the frame, so that the receiver computes the head
after it, and knows what the signature covers:

    Sign(key of the sender, context | run | sequence | head after the entry)

Receivers keep what they heard, signature and all. Whoever shows one of them another history than
the journal that he hands in is convicted by his own hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from node import wire
from node.effects import Reason
from node.journal import Journal, Lied, Said, extend, spelt
from node.messages import Frame, Message, Vouched
from node.orders import GeneralId
from node.signatures import SIGNATURE_BYTES, Claim, Signer, verify

CONTEXT_AUTHENTICATOR: Final = b"byzantine/1/authenticator"
HEAD_BYTES: Final = 32


class Vouching:
    """One general's: he vouches for what he says."""

    def __init__(self, run: bytes, signer: Signer, journal: Journal) -> None:
        self._run = run
        self._signer = signer
        self._journal = journal

    def enter(self, said: Said) -> bytes:
        """Enters what is said in the journal, and gives the bytes that leave."""
        return self._entered(self._journal, said)

    def _entered(self, journal: Journal, said: Said) -> bytes:
        before = journal.head
        journal.append(said)
        sequence = len(journal.entries)
        statement = _statement(self._run, sequence, journal.head)
        signature = self._signer.sign(CONTEXT_AUTHENTICATOR, statement)
        return wire.encode(
            Vouched(
                run=self._run,
                before=before,
                sequence=sequence,
                to=said.to,
                messages=said.messages,
                rule=said.rule,
                frame=said.data,
                signature=signature,
            )
        )


class Equivocation(Vouching):
    """A traitor's: a log apart for each audience, of which none knows what the others were told.

    Every log has all that he heard and none of his lies; they have the same sequence numbers and
    different heads.
    """

    def __init__(self, run: bytes, signer: Signer, journal: Journal) -> None:
        super().__init__(run, signer, journal)
        self._logs: dict[tuple[GeneralId, ...], Journal] = {}
        self._copied: dict[tuple[GeneralId, ...], int] = {}

    def enter(self, said: Said) -> bytes:
        log = self._logs.setdefault(said.to, Journal())
        for entry in self._journal.entries[self._copied.get(said.to, 0) :]:
            if not isinstance(entry, Said | Lied):
                log.append(entry)
        self._journal.append(said)
        self._copied[said.to] = len(self._journal.entries)
        return self._entered(log, said)


class Opener:
    """What one general hears in a message, before any rule does: the frame, or why it is refused.

    `is_true` checks a signature; an auditor's remembers the answers.
    """

    def __init__(
        self,
        me: GeneralId,
        run: bytes,
        publics: Mapping[GeneralId, bytes],
        *,
        is_accountable: bool,
        is_true: Callable[[Claim], bool] = lambda claim: verify(*claim),
    ) -> None:
        self._me = me
        self._run = run
        self._publics = publics
        self._is_accountable = is_accountable
        self._is_true = is_true

    def open(self, sender: GeneralId, message: Message) -> Frame | Reason:
        """Cheap checks come first."""
        if message.run != self._run:
            return Reason.WRONG_RUN
        match message:
            case Frame() if not self._is_accountable:
                return message
            case Vouched() if self._is_accountable:
                return self._opened(sender, message)
            case _:
                return Reason.BAD_AUTHENTICATOR

    def _opened(self, sender: GeneralId, vouched: Vouched) -> Frame | Reason:
        frame = framed(vouched)
        if frame is None or frame.run != self._run or self._me not in vouched.to:
            return Reason.BAD_AUTHENTICATOR
        public = self._publics.get(sender)
        is_his = public is not None and self._is_true(claim_of(vouched, frame, public))
        return frame if is_his else Reason.BAD_AUTHENTICATOR


def frame_bytes(data: bytes) -> bytes:
    """A message's frame without its authenticator, byte for byte; other messages as they are."""
    message = wire.decode(data)
    return message.frame if isinstance(message, Vouched) else data


def frame_in(data: bytes) -> Frame | None:
    """The frame that a message is, or that it vouches for, whoever signed it."""
    message = wire.decode(data)
    if isinstance(message, Vouched):
        return framed(message)
    return message if isinstance(message, Frame) else None


def framed(vouched: Vouched) -> Frame | None:
    """The frame within, or None where there is none."""
    frame = wire.decode(vouched.frame)
    is_whole = len(vouched.before) == HEAD_BYTES and 0 < vouched.sequence < 1 << 63
    return frame if isinstance(frame, Frame) and is_whole else None


def head_after(vouched: Vouched, frame: Frame) -> bytes:
    """The head of the sender's log after the entry that he vouches for."""
    said = Said(vouched.to, frame.round, vouched.messages, vouched.rule, vouched.frame)
    return extend(vouched.before, spelt(said))


def claim_of(vouched: Vouched, frame: Frame, public: bytes) -> Claim:
    """What its signature says, to be checked."""
    statement = _statement(vouched.run, vouched.sequence, head_after(vouched, frame))
    return public, CONTEXT_AUTHENTICATOR, statement, vouched.signature


def vouched_bytes(said: Said, sequence: int, run: bytes) -> int:
    """How many bytes leave for what is said, authenticator and all."""
    blank = Vouched(
        run=run,
        before=bytes(HEAD_BYTES),
        sequence=sequence,
        to=said.to,
        messages=said.messages,
        rule=said.rule,
        frame=said.data,
        signature=bytes(SIGNATURE_BYTES),
    )
    return len(wire.encode(blank))


def authenticator_bytes(n: int) -> int:
    """What a frame grows by under its authenticator, roughly: who hears it is named in it."""
    return 256 + 3 * n


def _statement(run: bytes, sequence: int, head: bytes) -> bytes:
    return run + sequence.to_bytes(8, "big") + head
