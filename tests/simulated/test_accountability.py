"""Accountability: liars are exposed, nobody loyal is, and evidence convinces whoever holds it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from node import wire
from node.authenticators import Opener, frame_bytes, frame_in
from node.control import Roster
from node.effects import Reason
from node.journal import Heard, Journal, Lied, Said, Settled, Woke
from node.messages import Frame, Oral, Vouched
from node.orders import GeneralId
from node.protocols import catalogue
from orchestrator import trial
from orchestrator.__main__ import byzantine
from orchestrator.accountability import Indication, Repute, reputes
from orchestrator.accuracy import Tally, drawn_fields, judged, one_run
from orchestrator.audit import Exhibits, audit
from orchestrator.backends.simulation import Simulation
from orchestrator.cli import scenarios
from orchestrator.evidence import Deviates, Evidence, Refuted, TwoLogs, TwoOrders, check
from orchestrator.results import Result
from orchestrator.rundir import machine_version
from orchestrator.scenario import Expect, from_fields
from orchestrator.transcript import Transcript, read
from tests import attackers
from tests.attackers import named
from tests.stage import A, R, a, play, refused
from tests.unit.test_audit_and_rundir import signer_of

MACHINE = machine_version()
TRUSTED, SUSPECTED, EXPOSED = Indication

FIGURE_3: dict[str, Any] = {
    "protocol": "exchange",
    "n": 5,
    "m": 1,
    "inputs": A,
    "traitors": {4: {**a("two-faced", faces={A: [1], R: [3]}), "conceals": True}},
}


def exhibits_of(result: Result, journals: Mapping[GeneralId, bytes] | None = None) -> Exhibits:
    """What was handed in, some journals perhaps replaced; an empty one is not handed in."""
    mustered = result.mustered
    publics = mustered.roster.signing_publics()
    files = {g: r.data for g, r in result.transcript.records.items()} | dict(journals or {})
    records = {g: read(g, d, mustered.run, publics[g]) for g, d in files.items() if d}
    return Exhibits(
        mustered.roster, result.cast.scenario, mustered.run, mustered.nonce, Transcript(records)
    )


def indications(found: Mapping[GeneralId, Repute]) -> list[Indication]:
    return [one.indication for one in found.values()]


def kinds(repute: Repute) -> list[str]:
    return [str(held.offence.__struct_config__.tag) for held, _ in repute.evidence]


def rewritten(result: Result, general: GeneralId, change: Any) -> bytes:
    """The journal that a general hands in after he changed its entries, closed by himself."""
    *entries, last = entries_of_data(result.transcript.records[general].data)
    written = Journal()
    for entry in change(list(entries)):
        written.append(entry)
    unsigned = msgspec.structs.replace(last, signature=b"")
    written.close(signer_of(general), result.mustered.run, unsigned)
    return b"".join(written.lines())


def entries_of_data(data: bytes) -> list[Any]:
    from node.journal import decoder

    return [decoder.decode(line.split(b" ", 1)[1]) for line in data.splitlines()]


# The story.


def test_figure_3_a_exposes_e_and_b_and_d_are_convinced_by_as_evidence(tmp_path: Path) -> None:
    result = play(**FIGURE_3, accountable=True, out=tmp_path)
    assert result.audit.is_clean
    assert indications(result.reputes) == [TRUSTED, TRUSTED, TRUSTED, TRUSTED, EXPOSED]
    held, shown = result.reputes[4].evidence[0]
    assert isinstance(held.offence, TwoLogs)
    told = [frame_in(data) for data in held.offence.frames]
    assert told[0] != told[1], "what B and D heard is in it"
    evidence = msgspec.json.decode(msgspec.json.encode(held), type=Evidence)
    assert check(evidence, result.mustered.roster, MACHINE) == shown


def test_without_authenticators_he_is_suspected_with_those_he_denies() -> None:
    found = play(**FIGURE_3, expect={"exposed": []}).reputes
    assert indications(found) == [TRUSTED, TRUSTED, TRUSTED, SUSPECTED, SUSPECTED]
    assert (
        found[3].reasons
        == found[4].reasons
        == ["4 says he told 3 in round 1, and the other denies it"]
    )


def test_the_same_in_commands(tmp_path: Path) -> None:
    result = play(**FIGURE_3, accountable=True, out=tmp_path)
    assert result.path
    assert said("audit", result.path)[0] == 0
    code, found, _ = said("audit", result.path, "--format", "json")
    assert (code, json.loads(found)["4"]["evidence"][0]) == (0, "two-logs")
    code, held, shown = said("evidence", result.path, "--against", 4)
    assert (code, shown) == (
        0,
        "two of his authenticators have sequence number 3 and different heads\n",
    )
    (tmp_path / "evidence.json").write_text(held)
    roster = result.path / "roster.json"
    code, out, _ = said("evidence", "check", tmp_path / "evidence.json", "--roster", roster)
    assert (code, out) == (0, f"general 4 is exposed: {shown}")
    (tmp_path / "evidence.json").write_text(held.replace('"culprit": 4', '"culprit": 2'))
    code, out, err = said("evidence", "check", tmp_path / "evidence.json", "--roster", roster)
    assert (code, out) == (5, "")
    assert err == "refused: an authenticator in it is not signed by general 2\n"
    assert said("evidence", result.path, "--against", 0)[0] == 3
    assert said("evidence", result.path, "--against", 9)[0] == 2
    for garbage in ("", "{", "[" * 100_000, "null", '{"format": 1}'):
        (tmp_path / "evidence.json").write_text(garbage)
        assert said("evidence", "check", tmp_path / "evidence.json", "--roster", roster)[0] == 2


def said(*words: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(byzantine, list(map(str, words)), standalone_mode=False)
    if isinstance(result.exception, SystemExit):
        return int(result.exception.code or 0), result.stdout, result.stderr
    assert result.exception is None, result.exception
    return int(result.return_value or 0), result.stdout, result.stderr


# Accuracy and completeness.


@pytest.mark.parametrize("part", range(6))
def test_every_liar_is_exposed_and_nobody_loyal_is(part: int) -> None:
    tally = Tally()
    for number in range(25 * part, 25 * part + 25):
        tally.add(one_run(7, number))
    assert tally.wrong == []
    assert tally.runs == 25
    assert tally.liars_exposed == tally.liars > 10
    assert tally.loyal_exposed == 0 < tally.loyal


def test_every_strategy_is_drawn() -> None:
    from node.traitors import STRATEGIES

    drawn = {
        traitor["strategy"]
        for seed in range(200)
        for traitor in dict(drawn_fields(random.Random(seed)))["traitors"].values()
    }
    assert drawn == STRATEGIES.keys()


@pytest.mark.parametrize("accountable", [False, True])
@pytest.mark.parametrize(
    "fields",
    [
        {"protocol": "oral", "n": 7, "m": 2},
        {"protocol": "signed", "n": 5, "m": 2},
        {"protocol": "exchange", "n": 4, "m": 1, "inputs": A},
        {"protocol": "interactive-consistency", "over": "signed", "n": 4, "m": 1, "inputs": A},
        {"protocol": "interactive-consistency", "over": "oral", "n": 4, "m": 1, "inputs": A},
    ],
    ids=lambda fields: f"{fields['protocol']}-{fields.get('over', '')}",
)
def test_a_loyal_run_is_trusted_whole(fields: dict[str, Any], accountable: bool) -> None:
    result = play(**fields, accountable=accountable, expect={"exposed": []})
    assert result.audit.is_clean
    assert set(indications(result.reputes)) == {TRUSTED}


def test_accountability_changes_no_decision_and_no_message() -> None:
    for fields in ({"protocol": "oral", "n": 7, "m": 2}, {"protocol": "signed", "n": 5, "m": 2}):
        plain, accountable = (
            play(**fields, traitors={3: "parity"}, accountable=is_asked)
            for is_asked in (False, True)
        )
        assert plain.decisions == accountable.decisions
        for mine, yours in zip(
            plain.transcript.ledger().values(),
            accountable.transcript.ledger().values(),
            strict=True,
        ):
            assert mine[:2] == yours[:2]
            assert mine[2] < yours[2], "the bytes that an authenticator takes are counted"


# What a traitor may write into his own journal.


RUN = {"protocol": "oral", "n": 4, "m": 1, "traitors": {3: "flip"}, "accountable": True}


@pytest.fixture(scope="module")
def loyal_looking() -> Result:
    """A run in which 3 tells the truth in the end: what he writes is up to the test."""
    traitor = {"strategy": "flip", "when": {"to": [0]}}
    result = play("oral", 4, 1, {3: traitor}, accountable=True)
    assert set(indications(result.reputes)) == {TRUSTED}
    return result


def found_with(result: Result, journal: bytes) -> dict[GeneralId, Repute]:
    return reputes(exhibits_of(result, {3: journal}), MACHINE)


def without(kind: type[Any]) -> Any:
    return lambda entries: [entry for entry in entries if not isinstance(entry, kind)]


def other_decision(entries: list[Any]) -> list[Any]:
    return [Settled(R, ((R, 3),), "OM-3") if isinstance(e, Settled) else e for e in entries]


def other_words(entries: list[Any]) -> list[Any]:
    return [
        msgspec.structs.replace(e, data=flipped(e.data)) if isinstance(e, Said) else e
        for e in entries
    ]


def flipped(data: bytes) -> bytes:
    frame = wire.decode(data)
    assert isinstance(frame, Frame)
    assert isinstance(frame.body, Oral)
    values = bytes([frame.body.values[0] ^ 0x80])
    return wire.encode(msgspec.structs.replace(frame, body=Oral(values)))


def too_early(entries: list[Any]) -> list[Any]:
    """The deadline passed before it was due, and he heard nobody."""
    kept = [entry for entry in entries if not isinstance(entry, Heard)]
    return [*kept[:2], Woke(0.1, "deadline"), *kept[2:]]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (without(Said), "does not do what is his to do"),
        (without(Heard), "what nothing makes him say"),
        (other_decision, "he decides retreat, and not"),
        (other_words, "and not to tell"),
        (too_early, "before it is due"),
        (lambda entries: [entries[0], *entries], "closed what is no journal"),
    ],
)
def test_who_writes_what_no_loyal_general_does_convicts_himself(
    loyal_looking: Result, change: Any, what: str
) -> None:
    journal = rewritten(loyal_looking, 3, change)
    found = found_with(loyal_looking, journal)
    assert indications(found)[:3] == [TRUSTED, TRUSTED, TRUSTED]
    assert "deviation" in kinds(found[3])
    held, shown = next(one for one in found[3].evidence if isinstance(one[0].offence, Deviates))
    assert what in shown
    assert check(held, loyal_looking.mustered.roster, MACHINE) == shown


def test_who_hands_in_another_history_is_convicted_by_what_others_heard(
    loyal_looking: Result,
) -> None:
    """He leaves out the last frame that he heard, and decides accordingly: it follows, and is not
    what he vouched for."""

    def later(entries: list[Any]) -> list[Any]:
        began = entries[1]
        return [entries[0], msgspec.structs.replace(began, at_s=began.at_s - 1e-6), *entries[2:]]

    found = found_with(loyal_looking, rewritten(loyal_looking, 3, later))
    assert kinds(found[3]) == ["another-journal"]
    held, shown = found[3].evidence[0]
    assert check(held, loyal_looking.mustered.roster, MACHINE) == shown
    assert "has another head at line" in shown


def test_who_cuts_his_journal_short_is_convicted_by_what_others_heard(
    loyal_looking: Result,
) -> None:
    def short(entries: list[Any]) -> list[Any]:
        return entries[: next(i for i, e in enumerate(entries) if isinstance(e, Heard))]

    found = found_with(loyal_looking, rewritten(loyal_looking, 3, short))
    assert kinds(found[3]) == ["another-journal"]
    assert "ends before line" in found[3].reasons[0]


def test_who_hands_in_no_journal_or_an_open_one_is_suspected(loyal_looking: Result) -> None:
    whole = loyal_looking.transcript.records[3].data
    for journal in (b"", b"".join(whole.splitlines(keepends=True)[:-1]), whole[:-1]):
        found = found_with(loyal_looking, journal)
        assert indications(found) == [TRUSTED, TRUSTED, TRUSTED, SUSPECTED]


def test_who_claims_to_have_heard_what_nobody_vouched_for_convicts_himself(
    loyal_looking: Result,
) -> None:
    """A liar cannot say that he was told so: he has no authenticator of the one he names."""

    def framed(entries: list[Any]) -> list[Any]:
        at = next(i for i, e in enumerate(entries) if isinstance(e, Heard))
        vouched = wire.decode(entries[at].data)
        assert isinstance(vouched, Vouched)
        forged = msgspec.structs.replace(vouched, frame=flipped(vouched.frame))
        entries[at] = msgspec.structs.replace(entries[at], data=wire.encode(forged))
        return entries

    journal = rewritten(loyal_looking, 3, framed)
    found = found_with(loyal_looking, journal)
    assert indications(found)[:3] == [TRUSTED, TRUSTED, TRUSTED]
    assert "what he had to refuse: bad_authenticator" in " ".join(found[3].reasons)
    verified = audit(exhibits_of(loyal_looking, {3: journal}))
    assert verified.findings == []
    assert "the authenticator of what he says he heard does not verify" in {
        finding.kind for finding in verified.false
    }


# Frames.


def test_a_frame_without_its_authenticator_or_with_anothers_is_refused() -> None:
    from node.general import General
    from tests.camp import Camp, secret_of

    camp = Camp()
    for general in camp.generals:
        who = General(secret_of(general))
        brief = msgspec.structs.replace(camp[general].journal.entries[0].brief, accountable=True)
        who.enlist(camp.muster_of(general, brief))
        camp.generals[general] = who
    camp.meet()
    (deliver, *_), _ = camp[0].start(0.0), [camp[g].start(0.0) for g in (1, 2, 3)]
    data = deliver.data
    vouched = wire.decode(data)
    assert isinstance(vouched, Vouched)
    assert vouched.to == (1, 2, 3)
    changes: list[dict[str, Any]] = [
        {"frame": flipped(vouched.frame)},
        {"before": bytes(32)},
        {"before": b""},
        {"sequence": vouched.sequence + 1},
        {"sequence": 0},
        {"sequence": 1 << 63},
        {"to": (1,)},
        {"to": (2, 3)},
        {"messages": 2},
        {"rule": "OM-2"},
        {"signature": bytes(64)},
        {"signature": b""},
        {"frame": b"nonsense"},
        {"frame": data},
    ]
    for change in changes:
        camp[1].receive(0, wire.encode(msgspec.structs.replace(vouched, **change)), 0.1)
    camp[1].receive(0, vouched.frame, 0.1)
    camp[1].receive(2, data, 0.1)
    assert camp.refusals(1) == {
        (0, Reason.BAD_AUTHENTICATOR): len(changes) + 1,
        (2, Reason.BAD_AUTHENTICATOR): 1,
    }
    camp[1].receive(0, data, 0.1)
    assert len(camp.refusals(1)) == 2
    plain = Camp().meet()
    plain[1].start(0.0)
    stray = wire.encode(msgspec.structs.replace(vouched, run=plain.run))
    plain[1].receive(0, stray, 0.1)
    assert plain.refusals(1) == {(0, Reason.BAD_AUTHENTICATOR): 1}


def test_an_opener_knows_no_stranger(loyal_looking: Result) -> None:
    record = loyal_looking.transcript.records[1]
    heard = next(entry for entry in record.entries if isinstance(entry, Heard))
    run, publics = loyal_looking.mustered.run, loyal_looking.mustered.roster.signing_publics()
    opener = Opener(1, run, publics, is_accountable=True)
    message = wire.decode(heard.data)
    assert not isinstance(message, wire.Malformed)
    assert opener.open(heard.sender, message) == frame_in(heard.data)
    assert opener.open(99, message) is Reason.BAD_AUTHENTICATOR
    assert frame_bytes(heard.data) != heard.data
    strange = Opener(1, bytes(32), publics, is_accountable=True)
    assert strange.open(heard.sender, message) is Reason.WRONG_RUN


# Evidence that was tampered with.


@pytest.fixture(scope="module")
def pieces() -> list[tuple[Evidence, Roster]]:
    """One of each kind."""
    faces = a("two-faced", faces={A: [1], R: [2, 3]})
    runs = [
        play(**FIGURE_3, accountable=True),
        play("signed", 4, 1, {0: faces}, accountable=True),
        play("oral", 4, 1, {3: "flip"}, accountable=True),
        play("oral", 4, 1, {2: {"strategy": "crasher", "conceals": True}}, accountable=True),
    ]
    found = [
        (held, result.mustered.roster)
        for result in runs
        for repute in result.reputes.values()
        for held, _ in repute.evidence
    ]
    assert {str(held.offence.__struct_config__.tag) for held, _ in found} >= {
        "two-orders",
        "two-logs",
        "deviation",
    }
    return found


def refuted(evidence: Evidence, roster: Roster) -> str:
    with pytest.raises(Refuted) as fault:
        check(evidence, roster, MACHINE)
    return str(fault.value)


def test_evidence_is_refused_under_another_roster_run_or_scenario(
    pieces: list[tuple[Evidence, Roster]],
) -> None:
    for held, roster in pieces:
        assert check(held, roster, MACHINE)
        other = Roster(roster.generals[:-1])
        binding = "the run id does not commit to this roster, scenario and nonce"
        assert refuted(held, other) == binding
        for change in ({"nonce": "00"}, {"run": "11" * 32}, {"scenario": held.scenario + " "}):
            assert refuted(msgspec.structs.replace(held, **change), roster) == binding
        assert "not hex" in refuted(msgspec.structs.replace(held, run="x"), roster)
        assert "its format is 2" in refuted(msgspec.structs.replace(held, format=2), roster)
        for culprit in (g.general for g in roster.generals if g.general != held.culprit):
            assert refuted(msgspec.structs.replace(held, culprit=culprit), roster)
        assert refuted(msgspec.structs.replace(held, culprit=99), roster)


def test_evidence_of_agreement_shows_nothing(pieces: list[tuple[Evidence, Roster]]) -> None:
    for held, roster in pieces:
        match held.offence:
            case TwoLogs(frames=(first, _)) as logs:
                same = msgspec.structs.replace(logs, frames=(first, first))
                why = "both authenticators are of one log"
            case TwoOrders(orders=(one, _)) as orders:
                same = msgspec.structs.replace(orders, orders=(one, one))
                why = "the two orders have one value"
            case Deviates() as deviates:
                same = msgspec.structs.replace(deviates, machine="another")
                why = f"it is of rules another, and these are {MACHINE}"
            case _:
                continue
        assert refuted(msgspec.structs.replace(held, offence=same), roster) == why


def test_a_loyal_journal_is_no_deviation(loyal_looking: Result) -> None:
    record = loyal_looking.transcript.records[1]
    held = Evidence(
        culprit=1,
        run=loyal_looking.mustered.run.hex(),
        nonce=loyal_looking.mustered.nonce.hex(),
        scenario=loyal_looking.cast.scenario.decode(),
        offence=Deviates(MACHINE, record.data, 3, "he lies"),
    )
    why = refuted(held, loyal_looking.mustered.roster)
    assert why == "the journal is a loyal general's to its end"


@given(data=st.data())
def test_evidence_with_one_byte_changed_convicts_nobody_else_and_of_nothing_else(
    pieces: list[tuple[Evidence, Roster]], data: st.DataObject
) -> None:
    """Whatever a forger turns in the text, it is refused, or says the same of the same one."""
    held, roster = data.draw(st.sampled_from(pieces))
    text = bytearray(msgspec.json.encode(held))
    text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    try:
        changed = msgspec.json.decode(bytes(text), type=Evidence)
        shown = check(changed, roster, MACHINE)
    except (msgspec.MsgspecError, ValueError, Refuted):
        return
    assert (changed.culprit, shown) == (held.culprit, check(held, roster, MACHINE))


def test_signatures_of_two_runs_cannot_be_spliced() -> None:
    """The same keys, the same words, another nonce: an authenticator is of its run alone."""
    one, other = (play(**FIGURE_3, accountable=True, seed=seed) for seed in (1, 2))
    mine, yours = (result.reputes[4].evidence[0][0] for result in (one, other))
    assert isinstance(mine.offence, TwoLogs)
    assert isinstance(yours.offence, TwoLogs)
    spliced = TwoLogs((mine.offence.frames[0], yours.offence.frames[1]))
    why = refuted(msgspec.structs.replace(mine, offence=spliced), one.mustered.roster)
    assert why == "a frame in it is none of this run"


def test_a_refused_frame_is_no_hearing() -> None:
    """What a receiver refuses is in nobody's journal, and still suspects no loyal pair."""
    result = play("signed", 4, 2, {3: "replayer"}, accountable=True)
    assert refused(result)
    assert indications(result.reputes)[:3] == [TRUSTED, TRUSTED, TRUSTED]


def test_the_tree_of_an_accountable_run_is_drawn_of_what_its_frames_say(tmp_path: Path) -> None:
    plain, accountable = (
        play("oral", 4, 1, {3: "flip"}, accountable=is_asked, out=tmp_path / str(is_asked))
        for is_asked in (False, True)
    )
    drawn = [said("tree", result.path, 1)[1] for result in (plain, accountable)]
    assert "attack" in drawn[0]
    assert drawn[0] == drawn[1]


# Every attack and every story there is.

ORAL_ATTACKS = (
    named(attackers.Twice),
    named(attackers.OralBytes, values="ff"),
    named(attackers.OralBytes, values=""),
    named(attackers.OtherRounds, rounds=[3, 0, 1]),
)
SIGNED_ATTACKS = (
    named(attackers.RawOrder, token='"retreat"', signers=[0, 3], signatures=2),
    {**named(attackers.Malleable), "when": {"rounds": [2]}},
    named(attackers.Misplaced, what="protocol", value=R),
    named(attackers.Forwarder, late_ms=1),
    named(attackers.BogusFlood, round=2, signers=[0, 3], chains=50),
    named(attackers.Framer),
)


@pytest.mark.parametrize("conceals", [False, True])
@pytest.mark.parametrize(
    ("protocol", "attack"),
    [("oral", one) for one in ORAL_ATTACKS] + [("signed", one) for one in SIGNED_ATTACKS],
    ids=lambda one: one if isinstance(one, str) else one["strategy"].rpartition(":")[2],
)
def test_an_attacker_is_exposed_whatever_he_sends(
    protocol: str, attack: dict[str, Any], conceals: bool
) -> None:
    result = play(protocol, 4, 2, {3: {**attack, "conceals": conceals}}, accountable=True)
    assert indications(result.reputes) == [TRUSTED, TRUSTED, TRUSTED, EXPOSED]
    assert result.audit.findings == []
    for held, shown in result.reputes[3].evidence:
        again = msgspec.json.decode(msgspec.json.encode(held), type=Evidence)
        assert check(again, result.mustered.roster, MACHINE) == shown


STORIES = [
    name
    for name, path in scenarios.shipped()
    if not name.startswith("exit-codes") and "\nchaos:" not in path.read_text()
]


@pytest.mark.parametrize("conceals", [False, True])
@pytest.mark.parametrize("name", STORIES)
def test_the_audit_of_every_shipped_story_is_accurate_and_complete(
    name: str, conceals: bool
) -> None:
    story = scenarios.load(name)
    traitors = [one.model_copy(update={"conceals": conceals}) for one in story.traitors]
    changes = {"accountable": True, "traitors": tuple(traitors), "expect": Expect()}
    played = story.model_copy(update=changes)
    assert judged(played, name).wrong == []


def test_a_frame_that_only_its_authenticator_makes_too_large_is_not_played() -> None:
    from orchestrator.casting import Unplayable, cast

    fields = {"name": "large", "protocol": "exchange", "n": 4, "m": 1, "inputs": A}
    plain = from_fields(fields)
    needed = catalogue.frame_bytes(cast(plain).parts[0].brief)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "FRAME_BYTES_MAX", needed)
        cast(plain)
        with pytest.raises(Unplayable):
            cast(from_fields({**fields, "accountable": True}))


@pytest.mark.parametrize("part", range(4))
def test_in_plain_runs_nobody_loyal_is_exposed_and_open_liars_are(part: int) -> None:
    exposed = 0
    for number in range(15 * part, 15 * part + 15):
        fields = dict(drawn_fields(random.Random(f"plain {number}")))
        fields |= {"accountable": False, "expect": {"exposed": []}}
        stage = Simulation()
        result = trial.play(from_fields(fields), stage)
        assert set(result.exposed) <= result.scenario.faulty, fields
        for one in result.scenario.traitors:
            record = result.transcript.records[one.general]
            if any(isinstance(entry, Lied) for entry in record.entries):
                assert one.general in result.exposed, fields
                exposed += 1
    assert exposed


MISFORTUNES: dict[str, dict[str, Any]] = {
    "parted": {"at": "round 1", "partition": [[0, 1], [2, 3]]},
    "parted for a while": {"at": "round 1", "partition": [[0, 1], [2, 3]], "for": "100ms"},
    "cut one way": {"at": "round 1", "cut": {"from": 1, "to": 2}},
    "killed": {"at": "round 2", "kill": 2},
    "paused": {"at": "round 2", "pause": 2, "for": "700ms"},
    "skewed": {"at": "round 1", "clock-skew": {"general": 1, "by": "250ms"}},
    "skewed far": {"at": "round 2", "clock-skew": {"general": 1, "by": "1500ms"}},
    "skewed back": {"at": "150ms", "clock-skew": {"general": 1, "by": "-20ms"}},
    "lossy": {"at": "round 1", "links": {"lose": 0.5}},
    "doubled": {"at": "round 1", "links": {"duplicate": 1}},
    "corrupted": {"at": "round 1", "links": {"from": 1, "corrupt": 1}},
    "delayed": {"at": "round 1", "links": {"delay": "uniform 1ms 600ms"}},
    "promoted for a while": {
        "at": "round 2",
        "promote": {"general": 3, "strategy": "flip"},
        "for": "1 round",
    },
}


@pytest.mark.parametrize("accountable", [False, True])
@pytest.mark.parametrize("protocol", ["oral", "signed"])
@pytest.mark.parametrize("name", MISFORTUNES)
def test_whatever_befalls_a_loyal_general_he_is_not_exposed(
    name: str, protocol: str, accountable: bool
) -> None:
    steps = [MISFORTUNES[name]]
    result = play(protocol, 4, 1, chaos=steps, accountable=accountable, expect={"exposed": []})
    assert result.incidents
    assert set(result.exposed) <= result.audit.traitors
    assert result.audit.traitors <= {3}
    assert result.audit.findings == []


def test_who_turns_traitor_in_mid_run_is_exposed() -> None:
    step = {"at": "round 2", "promote": {"general": 2, "strategy": "flip"}}
    result = play("oral", 4, 1, chaos=[step], accountable=True, expect={"exposed": [2]})
    assert result.exposed == [2]
