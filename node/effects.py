"""What a machine can ask for: a closed union. Each effect names the rule that asked."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from node.messages import Bundle, Empty, Oral, Parcels, Signed, SignedOrder
from node.orders import Decision, GeneralId, Value


class Reason(StrEnum):
    """Why something that was heard is ignored."""

    # of the frame
    MALFORMED = "malformed"
    NONCANONICAL = "noncanonical"
    OVERSIZE = "oversize"
    WRONG_RUN = "wrong_run"
    QUOTA = "quota"
    BAD_AUTHENTICATOR = "bad_authenticator"
    # of its place in the run
    BAD_ROUND = "bad_round"
    NOT_AWAITED = "not_awaited"
    DUPLICATE = "duplicate"
    LATE = "late"
    # of oral values
    BAD_SHAPE = "bad_shape"
    BAD_VALUE = "bad_value"
    # of signed orders
    CHAIN_LENGTH = "chain_length"
    NOT_COMMANDER = "not_commander"
    UNKNOWN_SIGNER = "unknown_signer"
    REPEATED_SIGNER = "repeated_signer"
    SELF_IN_CHAIN = "self_in_chain"
    NOT_SENDER = "not_sender"
    BAD_SIGNATURE = "bad_signature"
    BAD_PROOF = "bad_proof"
    # of PBFT
    NOT_AUTHENTIC = "not_authentic"
    NOT_PRIMARY = "not_primary"
    BAD_VIEW = "bad_view"
    OUTSIDE_WATERMARKS = "outside_watermarks"
    CONFLICTING = "conflicting"
    BAD_NEW_VIEW = "bad_new_view"
    BAD_STATE = "bad_state"
    # of relayed parcels
    NOT_ON_PATH = "not_on_path"


class Send(msgspec.Struct, frozen=True, tag="send"):
    """One body to each of `to`, in that order. `messages`: how many of the paper's each carries."""

    to: tuple[GeneralId, ...]
    round: int
    body: Empty | Oral | Signed | Bundle | Parcels
    messages: int
    rule: str


class SetTimer(msgspec.Struct, frozen=True, tag="set_timer"):
    """Wake the machine at `at_s`, on the clock of `Started`. The same name again replaces it."""

    name: str
    at_s: float
    rule: str


class CancelTimer(msgspec.Struct, frozen=True, tag="cancel_timer"):
    name: str
    rule: str


class Decide(msgspec.Struct, frozen=True, tag="decide"):
    """The decision, with the tally of what the last rule counted: (value, how many)."""

    value: Decision
    tally: tuple[tuple[Value, int], ...]
    rule: str


class Refuse(msgspec.Struct, frozen=True, tag="refuse"):
    """Something heard from `sender` is ignored and counted; it proves nothing to a third party."""

    sender: GeneralId
    reason: Reason
    rule: str


class Accuse(msgspec.Struct, frozen=True, tag="accuse"):
    """Proof that `culprit` lied: two orders that he signed in one instance, of different value."""

    culprit: GeneralId
    instance: int
    proof: tuple[SignedOrder, SignedOrder]
    rule: str


class Milestone(StrEnum):
    """What a machine may have reached that a timetable of misfortunes can name."""

    #: The barrier before that round: the machine halts until it is told to go on.
    ROUND = "round"
    #: That view, or the stable checkpoint of that number: the machine goes on by itself.
    VIEW = "view"
    STABLE = "stable"


class Reach(msgspec.Struct, frozen=True, tag="reach"):
    """The machine has come so far; whoever watches the run may want to know."""

    milestone: Milestone
    number: int
    rule: str


class Miss(msgspec.Struct, frozen=True, tag="miss"):
    """What `general` owed did not come by the round's deadline: he is unheard from now on."""

    general: GeneralId
    round: int
    rule: str


class Note(msgspec.Struct, frozen=True, tag="note"):
    """A rule acted and asks for nothing but to be remembered."""

    text: str
    rule: str


class Lie(msgspec.Struct, frozen=True, tag="lie"):
    """A traitor told `to` something else than his loyal self would have: for his own journal."""

    to: GeneralId
    round: int
    truth: str
    told: str
    rule: str


class Halt(msgspec.Struct, frozen=True, tag="halt"):
    """The general crashed, or gives up: nothing will ever come from him again."""

    rule: str
    text: str = "crashed"


Effect: TypeAlias = (
    Send | SetTimer | CancelTimer | Decide | Refuse | Accuse | Reach | Miss | Note | Lie | Halt
)
