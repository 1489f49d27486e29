"""Who counts on the control link: nobody unenrolled, and nobody under another's name."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
import zmq

from node import control
from node.control import Collect, Decided, Enrol, JournalPart, Ready, Report, Start
from node.links import Control, Field
from node.settings import Settings
from node.signatures import Signer
from orchestrator.headquarters import Headquarters, Intrusion
from tests.live.conftest import settings, until


class Recruit:
    """A general's end of the control link, and the words that he would enrol with."""

    def __init__(self, headquarters: Headquarters, token: bytes) -> None:
        self.settings: Settings = settings(headquarters.endpoint, headquarters.public, token=token)
        self.field = Field(self.settings)
        self.control = Control(self.field, self.settings)
        self.enrol = Enrol(
            token=token,
            pid=1,
            endpoint=self.field.endpoint,
            curve_public=self.field.public,
            signing_public=Signer().public,
        )

    def close(self) -> None:
        self.control.close(linger_ms=0)
        self.field.close()


class Office:
    """Headquarters and whoever comes to it, in one process."""

    def __init__(self) -> None:
        self.hq = Headquarters()
        self.recruits: list[Recruit] = []

    def recruit(self, token: bytes) -> Recruit:
        recruit = Recruit(self.hq, token)
        self.recruits.append(recruit)
        assert self.until(lambda: recruit.control.look()[0])
        return recruit

    def enrolled(self, general: int) -> Recruit:
        recruit = self.recruit(self.hq.expect(general))
        recruit.control.report(recruit.enrol)
        assert self.until(lambda: self.hq.standing[general].enrolment is not None)
        return recruit

    def until(self, condition: object, within_s: float = 20.0) -> bool:
        return until(condition, lambda: self.hq.attend(lambda: True, 0.0) and None, within_s)  # type: ignore[arg-type]

    def refuses(self, intrusion: Intrusion) -> bool:
        return self.until(lambda: self.hq.intrusions[intrusion] > 0)

    def close(self) -> None:
        for recruit in self.recruits:
            recruit.close()
        self.hq.close()


@pytest.fixture
def office() -> Iterator[Office]:
    office = Office()
    yield office
    office.close()


def test_a_general_with_his_token_is_enrolled_and_heard(office: Office) -> None:
    recruit = office.enrolled(3)
    assert office.hq.roster().generals[0].general == 3
    assert office.hq.roster().generals[0].endpoint == recruit.field.endpoint
    recruit.control.report(Ready())
    assert office.until(lambda: office.hq.standing[3].is_ready)
    office.hq.order(3, Start(1.5))
    heard: list[control.Order] = []
    assert until(lambda: heard == [Start(1.5)], lambda: heard.extend(recruit.control.orders()))


def test_a_wrong_token_enrols_nobody(office: Office) -> None:
    office.hq.expect(0)
    recruit = office.recruit(bytes(32))
    recruit.control.report(recruit.enrol)
    assert office.refuses(Intrusion.WRONG_TOKEN)
    assert office.hq.standing[0].enrolment is None


def test_a_token_is_good_for_one_key(office: Office) -> None:
    first = office.enrolled(0)
    second = office.recruit(first.enrol.token)
    second.control.report(second.enrol)
    assert office.refuses(Intrusion.TOKEN_TWICE)
    assert office.hq.standing[0].enrolment == first.enrol
    office.hq.order(0, Collect())
    heard: list[control.Order] = []
    assert until(lambda: heard == [Collect()], lambda: heard.extend(first.control.orders()))
    assert second.control.orders() == []


def test_who_is_not_enrolled_reports_nothing(office: Office) -> None:
    office.enrolled(0)
    stranger = office.recruit(bytes(32))
    stranger.control.report(Decided("retreat", (), 0.0))
    assert office.refuses(Intrusion.NOT_ENROLLED)
    assert office.hq.standing[0].decided is None


def test_the_key_in_the_roster_is_the_key_of_the_link(office: Office) -> None:
    token = office.hq.expect(0)
    recruit = office.recruit(token)
    another = Field(settings())
    recruit.control.report(msgspec.structs.replace(recruit.enrol, curve_public=another.public))
    assert office.refuses(Intrusion.KEY_NOT_OWN)
    assert office.hq.standing[0].enrolment is None
    another.close()


def test_one_key_is_one_general(office: Office) -> None:
    first = office.enrolled(0)
    first.control.report(msgspec.structs.replace(first.enrol, token=office.hq.expect(1)))
    assert office.refuses(Intrusion.KEY_TAKEN)
    second = office.recruit(office.hq.expect(2))
    second.control.report(
        msgspec.structs.replace(second.enrol, signing_public=first.enrol.signing_public)
    )
    assert office.until(lambda: office.hq.intrusions[Intrusion.KEY_TAKEN] == 2)
    assert [entry.general for entry in office.hq.roster().generals] == [0]


@pytest.mark.parametrize("public", [bytes(32), bytes(31), b"\x01" + bytes(31)])
def test_a_signing_key_about_which_verifiers_disagree_enters_no_roster(
    office: Office, public: bytes
) -> None:
    recruit = office.recruit(office.hq.expect(0))
    recruit.control.report(msgspec.structs.replace(recruit.enrol, signing_public=public))
    assert office.refuses(Intrusion.BAD_SIGNING_KEY)


def stranger(office: Office, recruit: Recruit, routing_id: bytes | None) -> zmq.Socket[bytes]:
    """A client under the recruit's own key and in his context, with the id that it claims."""
    client = recruit.field.client(zmq.DEALER, office.hq.public.encode())
    if routing_id is not None:
        client.setsockopt(zmq.ROUTING_ID, routing_id)
    client.connect(office.hq.endpoint)
    return client


def say(client: zmq.Socket[bytes], *reports: Report) -> None:
    for report in reports:
        client.send(control.encode(report))


def test_a_claimed_routing_id_counts_for_nothing(office: Office) -> None:
    """NT1 on the control link: a chosen id could be chosen by another first."""
    recruit = Recruit(office.hq, office.hq.expect(0))
    office.recruits.append(recruit)
    client = stranger(office, recruit, b"general-0")
    say(client, recruit.enrol)
    assert office.refuses(Intrusion.CLAIMED_ROUTING_ID)
    assert office.hq.standing[0].enrolment is None
    client.close(linger=0)


def test_an_enrolled_key_on_another_connection_must_enrol_there_again(office: Office) -> None:
    recruit = office.enrolled(0)
    client = stranger(office, recruit, None)
    say(client, Ready())
    assert office.refuses(Intrusion.WRONG_ROUTE)
    assert not office.hq.standing[0].is_ready
    say(client, recruit.enrol, Ready())
    assert office.until(lambda: office.hq.standing[0].is_ready)
    office.hq.order(0, Start())
    assert until(lambda: bool(client.poll(0)))
    assert control.decode_order(client.recv()) == Start()
    client.close(linger=0)


def test_words_in_parts_or_without_sense_count_for_nothing(office: Office) -> None:
    recruit = office.enrolled(0)
    client = stranger(office, recruit, None)
    client.send_multipart([b"a", b"b", b"c"])
    client.send(b"\xc1")
    assert office.until(lambda: office.hq.intrusions[Intrusion.MALFORMED] == 2)
    client.close(linger=0)


def test_a_journal_arrives_in_its_order_and_whole(office: Office) -> None:
    recruit = office.enrolled(0)
    pieces = [bytes([k]) * (1 << 20) for k in range(50)]
    for piece in pieces:
        recruit.control.report(JournalPart(piece, last=False))
    recruit.control.report(JournalPart(b"", last=True))
    assert office.until(lambda: office.hq.standing[0].has_journal)
    assert b"".join(office.hq.standing[0].journal) == b"".join(pieces)


def test_a_word_that_is_too_long_ends_the_link_and_nothing_else(office: Office) -> None:
    loud, other = office.enrolled(0), office.enrolled(1)
    loud.control.report(JournalPart(bytes(control.CONTROL_BYTES_MAX + 1), last=True))
    other.control.report(Ready())
    assert office.until(lambda: office.hq.standing[1].is_ready)
    assert not office.hq.standing[0].has_journal


def test_an_order_to_nobody_is_no_error(office: Office) -> None:
    recruit = office.enrolled(0)
    assert not office.hq.order(7, Start())
    recruit.control.close(linger_ms=0)
    recruit.control = Control(recruit.field, replace_headquarters(recruit.settings))
    assert office.until(lambda: not office.hq.order(0, Start()))


def replace_headquarters(given: Settings) -> Settings:
    """Settings that lead nowhere."""
    return msgspec.structs.replace(given, headquarters="tcp://127.0.0.1:1")
