"""Runs that were damaged afterwards: `byzantine verify` says where, and never stumbles."""

from __future__ import annotations

import base64
import gc
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from node import wire
from node.journal import (
    GENESIS,
    Accused,
    Closed,
    Entry,
    Journal,
    Noted,
    Opened,
    Said,
    Settled,
    extend,
)
from node.journal import decoder as entry_decoder
from node.messages import Frame, Signed, SignedOrder
from node.orders import Brief
from node.signatures import CONTEXT_CLOSING, Claim, Signer
from orchestrator import rundir
from orchestrator.__main__ import byzantine
from orchestrator.audit import audit
from orchestrator.backends.simulation import _drawn
from orchestrator.rundir import RunDir, RunDirError
from orchestrator.transcript import LINE_BYTES_MAX
from tests.stage import A, R, a, play

#: A line about damage: the file, its line where there is one, and the kind.
FINDING = re.compile(r"[a-z0-9-]+\.(journal|json|yaml)(:\d+)?: \S.*")
STORIES = ("oral", "signed", "consistency")


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three small runs, left as they were played: nothing may write to them."""
    out = tmp_path_factory.mktemp("runs")
    faces = a("two-faced", faces={A: [1], R: [2]})
    results = (
        play("oral", 4, 1, {3: "flip"}, name="oral", out=out),
        play("signed", 3, 1, {0: faces}, name="signed", out=out),
        play(
            "interactive-consistency",
            3,
            1,
            {2: "forger"},
            over="signed",
            inputs=A,
            name="consistency",
            out=out,
        ),
    )
    assert all(result.audit.is_clean and result.path for result in results)
    return {result.scenario.name: result.path for result in results if result.path}


def test_the_collector_rests_while_an_audit_lasts_and_no_longer(stories: dict[str, Path]) -> None:
    exhibits = RunDir.find(stories["signed"]).exhibits()
    seen: list[bool] = []

    def check(claims: Iterable[Claim]) -> Iterable[bool]:
        seen.append(gc.isenabled())
        raise RuntimeError

    with pytest.raises(RuntimeError):
        audit(exhibits, check=check)
    assert seen == [False]
    assert gc.isenabled()


@pytest.fixture
def run(stories: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the signed run, to be damaged."""
    return copied(stories["signed"], tmp_path / "copy")


def copied(run: Path, to: Path) -> Path:
    return Path(shutil.copytree(run, to))


def verified(run: Path, *options: str) -> Result:
    """`byzantine verify`; whatever it says, it says it in whole lines and without a traceback."""
    result = CliRunner().invoke(byzantine, ["verify", str(run), *options])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert (result.stdout + result.stderr).replace("\n", "").isprintable()
    return result


def code_of(run: Path) -> int:
    """The exit code. Click hands a command's return value on where it is run standalone."""
    result = CliRunner().invoke(byzantine, ["verify", str(run)], standalone_mode=False)
    if isinstance(result.exception, SystemExit):
        return int(result.exception.code or 0)
    assert result.exception is None, result.exception
    return int(result.return_value)


def findings(run: Path) -> list[str]:
    """What is wrong with a run, which must be something."""
    assert code_of(run) == 5
    lines = verified(run).stderr.splitlines()
    assert lines
    assert all(FINDING.fullmatch(line) for line in lines), lines
    return lines


def journal(run: Path, general: int) -> Path:
    return run / f"general-{general}.journal"


def edited(path: Path, change: Callable[[Any], Any]) -> None:
    """Alters a JSON file: by what `change` makes of its content, or does to it."""
    content = json.loads(path.read_text())
    instead = change(content)
    path.write_text(json.dumps(content if instead is None else instead))


# A clean run.


@pytest.mark.parametrize("story", STORIES)
def test_a_clean_run_verifies(stories: dict[str, Path], story: str) -> None:
    assert code_of(stories[story]) == 0
    result = verified(stories[story])
    assert result.stderr == ""
    assert "journals and their closing signatures" in result.stdout


def test_the_audit_tells_signatures_and_proofs(stories: dict[str, Path]) -> None:
    found = json.loads(verified(stories["signed"], "--format", "json").stdout)
    assert found["clean"] is True
    assert found["findings"] == found["unverifiable"] == []
    assert found["journals"] == 3
    assert found["proofs"] == {"0": 2}
    assert found["distinct_signatures"] == 4


def test_a_forged_order_is_counted_against_the_traitor_and_is_no_damage(
    stories: dict[str, Path],
) -> None:
    found = json.loads(verified(stories["consistency"], "--format", "json").stdout)
    assert found["clean"] is True
    assert found["orders_refused"] > 0


def test_the_directory_is_enough_wherever_it_is_copied(run: Path, tmp_path: Path) -> None:
    """Even a folder that holds nothing else, with no laboratory around it."""
    command = [sys.executable, "-P", "-m", "orchestrator", "verify", "."]
    folder = copied(run, tmp_path / "elsewhere")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_users_own_strategy_is_not_loaded_to_verify_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = play("oral", 4, 1, {3: "tests.attackers:Whatever"}, name="own", out=tmp_path)
    assert result.path
    monkeypatch.setitem(sys.modules, "tests.attackers", None)
    assert code_of(result.path) == 0


# Journals.


@given(data=st.data())
def test_any_bit_of_any_journal_matters(
    data: st.DataObject, stories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    story = stories[data.draw(st.sampled_from(STORIES), label="story")]
    path = journal(story, data.draw(st.integers(0, 2), label="general"))
    original = path.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(original) - 1), label="bit")
    run = copied(story, tmp_path_factory.mktemp("bit") / "run")
    changed = bytearray(original)
    changed[bit // 8] ^= 1 << bit % 8
    (run / path.name).write_bytes(changed)
    line = original.count(b"\n", 0, bit // 8) + 1
    lines = findings(run)
    assert lines[0].startswith(f"{path.name}:")
    assert f"{path.name}:{line}: " in lines[0] + lines[-1]


@given(data=st.data())
def test_a_journal_that_was_cut_anywhere_is_never_clean(
    data: st.DataObject, stories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = journal(stories["signed"], 1)
    original = path.read_bytes()
    end = data.draw(st.integers(0, len(original) - 1), label="end")
    run = copied(stories["signed"], tmp_path_factory.mktemp("cut") / "run")
    (run / path.name).write_bytes(original[:end])
    assert findings(run)[0].startswith(f"{path.name}:")


def forged(lines: list[bytes], data: st.DataObject) -> list[bytes]:
    """The entries after somebody took one out, put one in twice, changed two, or changed one."""
    at = data.draw(st.integers(0, len(lines) - 1), label="line")
    match data.draw(st.sampled_from(("out", "twice", "swapped", "signature", "bit")), label="how"):
        case "out":
            return [*lines[:at], *lines[at + 1 :]]
        case "twice":
            return [*lines[: at + 1], *lines[at:]]
        case "swapped":
            other = data.draw(st.integers(0, len(lines) - 1), label="other")
            changed = list(lines)
            changed[at], changed[other] = lines[other], lines[at]
            return changed
        case "signature":
            last = json.loads(lines[-1])
            drawn = data.draw(st.binary(min_size=64, max_size=64), label="signature")
            last["signature"] = base64.b64encode(drawn).decode()
            return [*lines[:-1], json.dumps(last, separators=(",", ":")).encode()]
        case _:
            bit = data.draw(st.integers(0, 8 * len(lines[at]) - 1), label="bit")
            changed_line = bytearray(lines[at])
            changed_line[bit // 8] ^= 1 << bit % 8
            return [*lines[:at], bytes(changed_line), *lines[at + 1 :]]


@given(data=st.data())
def test_who_forges_a_journal_and_hashes_it_anew_does_not_pass(
    data: st.DataObject, stories: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Everyone can hash: what stops a forger is the closing signature."""
    story = stories[data.draw(st.sampled_from(STORIES), label="story")]
    path = journal(story, data.draw(st.integers(0, 2), label="general"))
    entries = [line.split(b" ", 1)[1] for line in path.read_bytes().splitlines()]
    changed = forged(entries, data)
    if changed == entries:
        return
    head, lines = GENESIS, []
    for entry in changed:
        head = extend(head, entry)
        lines.append(head.hex().encode() + b" " + entry + b"\n")
    run = copied(story, tmp_path_factory.mktemp("forged") / "run")
    (run / path.name).write_bytes(b"".join(lines))
    assert findings(run)[0].startswith(f"{path.name}:")


def test_a_journal_without_its_last_line_says_that_it_was_never_closed(run: Path) -> None:
    path = journal(run, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert findings(run) == [
        f"general-2.journal:{len(lines) - 1}: there is no closing entry: unverifiable"
    ]


@pytest.mark.parametrize("lines", [(2, 3), (0, 1), (-2, -1)])
def test_entries_in_another_order_break_the_chain_where_it_changes(
    run: Path, lines: tuple[int, int]
) -> None:
    path = journal(run, 1)
    entries = path.read_bytes().splitlines(keepends=True)
    first, second = lines
    entries[first], entries[second] = entries[second], entries[first]
    path.write_bytes(b"".join(entries))
    at = first % len(entries) + 1
    assert findings(run) == [f"general-1.journal:{at}: the hash chain breaks here"]


def test_an_entry_that_is_left_out_breaks_the_chain(run: Path) -> None:
    path = journal(run, 1)
    entries = path.read_bytes().splitlines(keepends=True)
    del entries[3]
    path.write_bytes(b"".join(entries))
    assert findings(run) == ["general-1.journal:4: the hash chain breaks here"]


def test_an_entry_behind_the_last_one_is_found(run: Path) -> None:
    path = journal(run, 1)
    lines = path.read_bytes().splitlines()
    head = bytes.fromhex(lines[-1].split(b" ")[0].decode())
    text = lines[1].split(b" ", 1)[1]
    line = extend(head, text).hex().encode() + b" " + text + b"\n"
    path.write_bytes(path.read_bytes() + line)
    at = len(lines) + 1
    assert findings(run) == [f"general-1.journal:{at}: there is an entry behind the closing one"]


def test_a_journal_that_is_not_there_is_named(run: Path) -> None:
    journal(run, 1).unlink()
    assert findings(run) == ["general-1.journal: there is no journal: unverifiable"]
    found = json.loads(verified(run, "--format", "json").stdout)
    assert found["unverifiable"] == [
        {"file": "general-1.journal", "line": None, "kind": "there is no journal: unverifiable"}
    ]


def test_no_journal_at_all_is_not_clean(run: Path) -> None:
    for general in range(3):
        journal(run, general).unlink()
    assert len(findings(run)) == 3


def test_two_generals_cannot_change_their_journals(run: Path) -> None:
    first, second = journal(run, 1), journal(run, 2)
    ours, theirs = first.read_bytes(), second.read_bytes()
    first.write_bytes(theirs)
    second.write_bytes(ours)
    assert findings(run) == [
        f"general-{general}.journal:1: this journal is another general's or another run's"
        for general in (1, 2)
    ]


def test_a_general_cannot_bring_his_journal_of_another_run(run: Path, tmp_path: Path) -> None:
    other = play("signed", 3, 1, {0: "silent"}, name="signed", seed=2, out=tmp_path / "runs")
    assert other.path
    shutil.copy(journal(other.path, 1), journal(run, 1))
    assert findings(run) == [
        "general-1.journal:1: this journal is another general's or another run's"
    ]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"\0" * 1000, b"\xff\xfe\n", b"no journal\n", b"[" * 200_000, b"00 {}\n"],
)
def test_a_journal_of_garbage_is_damage(run: Path, content: bytes) -> None:
    journal(run, 1).write_bytes(content)
    assert findings(run)[0].startswith("general-1.journal:")


def test_a_journal_that_is_no_file_is_damage(run: Path) -> None:
    journal(run, 1).unlink()
    journal(run, 1).mkdir()
    assert findings(run) == ["general-1.journal: this is no file"]


def test_a_journal_that_never_ends_is_not_read(run: Path) -> None:
    journal(run, 1).unlink()
    journal(run, 1).symlink_to("/dev/zero")
    assert findings(run) == ["general-1.journal: this is no file"]


def test_a_journal_beyond_all_measure_is_not_read(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rundir, "FILE_BYTES_MAX", 64)
    assert "larger than 64 bytes" in findings(run)[0]


# A traitor's own journal: its chain and closing signature are good, its contents are his.


def entries_of(path: Path) -> list[Entry]:
    lines = path.read_bytes().splitlines()
    return [entry_decoder.decode(line.split(b" ", 1)[1]) for line in lines]


def rewritten(run: Path, general: int, entries: list[Entry], **closing: Any) -> None:
    """The journal that a general would have handed in with these entries before his last."""
    place = RunDir.find(run)
    last = entries_of(journal(run, general))[-1]
    assert isinstance(last, Closed)
    written = Journal()
    for entry in entries:
        written.append(entry)
    unsigned = msgspec.structs.replace(last, signature=b"", **closing)
    written.close(signer_of(general), bytes.fromhex(place.run_file().run), unsigned)
    journal(run, general).write_bytes(b"".join(written.lines()))


def signer_of(general: int) -> Signer:
    """In the simulator keys are drawn from the seed, so that a test can be a traitor."""
    return Signer(_drawn(1, f"secret/{general}"))


def test_a_journal_that_its_general_wrote_anew_verifies(run: Path) -> None:
    rewritten(run, 0, entries_of(journal(run, 0))[:-1])
    assert code_of(run) == 0


@pytest.mark.parametrize("instance", [1 << 32, 1 << 62, -1])
def test_a_proof_in_an_instance_beyond_all_measure_proves_nothing(run: Path, instance: int) -> None:
    entries = entries_of(journal(run, 1))[:-1]
    proof = next(entry for entry in entries if isinstance(entry, Accused))
    changed = msgspec.structs.replace(proof, instance=instance)
    rewritten(run, 1, [changed if entry is proof else entry for entry in entries])
    at = entries.index(proof) + 1
    assert findings(run) == [f"general-1.journal:{at}: the proof against general 0 proves nothing"]


def test_a_proof_of_one_order_twice_proves_nothing(run: Path) -> None:
    entries = entries_of(journal(run, 1))[:-1]
    proof = next(entry for entry in entries if isinstance(entry, Accused))
    changed = msgspec.structs.replace(proof, proof=(proof.proof[0], proof.proof[0]))
    rewritten(run, 1, [changed if entry is proof else entry for entry in entries])
    assert "the proof against general 0 proves nothing" in findings(run)[0]


def test_a_proof_against_one_general_is_none_against_another(run: Path) -> None:
    entries = entries_of(journal(run, 1))[:-1]
    proof = next(entry for entry in entries if isinstance(entry, Accused))
    changed = msgspec.structs.replace(proof, culprit=2)
    rewritten(run, 1, [changed if entry is proof else entry for entry in entries])
    assert "the proof against general 2 proves nothing" in findings(run)[0]


@pytest.mark.parametrize(("general", "is_fault"), [(1, True), (0, False)])
def test_only_a_loyal_general_is_blamed_for_a_bad_signature_of_his_own(
    run: Path, general: int, is_fault: bool
) -> None:
    entries = entries_of(journal(run, general))[:-1]
    at = next(i for i, entry in enumerate(entries) if isinstance(entry, Said))
    said = entries[at]
    assert isinstance(said, Said)
    entries[at] = msgspec.structs.replace(said, data=with_a_bad_signature(said.data))
    rewritten(run, general, entries)
    if is_fault:
        kind = "a loyal general sent signed orders that do not verify: 1"
        assert findings(run) == [f"general-{general}.journal:{at + 1}: {kind}"]
    else:
        assert code_of(run) == 0


def with_a_bad_signature(data: bytes) -> bytes:
    """The frame with one bit of its first order's last signature turned over."""
    frame = wire.decode(data)
    assert isinstance(frame, Frame)
    assert isinstance(frame.body, Signed)
    first, *rest = frame.body.orders
    *before, last = first.signatures
    turned = last[:-1] + bytes([last[-1] ^ 1])
    bad = msgspec.structs.replace(first, signatures=(*before, turned))
    return wire.encode(msgspec.structs.replace(frame, body=Signed((bad, *rest))))


def told(run: Path, general: int) -> list[str]:
    """What is said of a journal that its general wrote so: of a traitor's, that it is false."""
    if general:
        return findings(run)
    assert code_of(run) == 0
    own = ": his own false entry, he is a traitor"
    lines = verified(run).stderr.splitlines()
    assert all(line.endswith(own) for line in lines)
    found = json.loads(verified(run, "--format", "json").stdout)
    assert found["clean"]
    assert found["findings"] == []
    assert len(found["false"]) == len(lines)
    assert found["signed"]["0"]["journal"] == "false"
    return [line.removesuffix(own) for line in lines]


#: In the signed run, a traitor and a loyal general.
BOTH = pytest.mark.parametrize("general", [0, 1])


@BOTH
def test_a_journal_opens_once_and_with_its_first_entry(run: Path, general: int) -> None:
    entries = entries_of(journal(run, general))[:-1]
    kind = "the opening entry is not the first"
    rewritten(run, general, [entries[0], *entries])
    assert told(run, general) == [f"general-{general}.journal:2: {kind}"]
    rewritten(run, general, entries[1:])
    assert told(run, general) == [f"general-{general}.journal:1: {kind}"]


@BOTH
def test_a_line_beyond_all_measure_is_not_decoded(run: Path, general: int) -> None:
    entries = entries_of(journal(run, general))[:-1]
    rewritten(run, general, [*entries, Noted("x" * LINE_BYTES_MAX, "SM-2")])
    kind = f"a line is no longer than {LINE_BYTES_MAX} bytes"
    assert told(run, general) == [f"general-{general}.journal:{len(entries) + 1}: {kind}"]


def test_a_traitor_cannot_pass_off_as_damage_what_he_did_not_sign(run: Path) -> None:
    """Damage to a traitor's journal is damage: only what he closed himself is his own."""
    path = journal(run, 0)
    path.write_bytes(path.read_bytes().replace(b'"round":1', b'"round":2', 1))
    assert findings(run)[0].startswith("general-0.journal:")


def test_a_traitor_is_whom_the_scenario_names_not_who_says_so(run: Path) -> None:
    """His journal may say that he is loyal, and a loyal general's that he plays a strategy."""
    for general, strategy in ((0, None), (1, "flip")):
        opened, *entries = entries_of(journal(run, general))[:-1]
        assert isinstance(opened, Opened)
        rewritten(run, general, [msgspec.structs.replace(opened, strategy=strategy), *entries])
    assert code_of(run) == 0
    for general in (0, 1):
        entries = entries_of(journal(run, general))[:-1]
        rewritten(run, general, [*entries, entries[0]])
    assert findings(run)[0].startswith("general-1.journal:")
    assert len(json.loads(verified(run, "--format", "json").stdout)["false"]) == 1


def test_the_fingerprint_of_a_roster_can_be_learnt_by_another_way(run: Path) -> None:
    fingerprint = json.loads(verified(run, "--format", "json").stdout)["roster"]
    assert fingerprint == RunDir.find(run).roster().fingerprint().hex()
    assert verified(run).stdout.startswith(f"roster {fingerprint}\n")
    assert verified(run, "--roster-fingerprint", fingerprint.upper()).stderr == ""
    another = flipped(fingerprint)
    lines = verified(run, "--roster-fingerprint", another).stderr.splitlines()
    assert lines == [f"roster.json: its fingerprint is {fingerprint}, not {another}"]
    for wrong in ("", "12", "0x" + fingerprint[2:], fingerprint + "00"):
        refused = verified(run, "--roster-fingerprint", wrong)
        assert "a fingerprint is 64 hex digits" in refused.stderr


def test_the_audit_tells_who_signed_what(stories: dict[str, Path]) -> None:
    found = json.loads(verified(stories["signed"], "--format", "json").stdout)
    assert found["orders_unverifiable"] == 0
    assert {g: hand["orders"] for g, hand in found["signed"].items()} == {
        "0": ["attack:0", "retreat:0"],
        "1": ["attack:0:1"],
        "2": ["retreat:0:2"],
    }
    page = verified(stories["signed"]).stdout
    assert "attack:0, retreat:0" in page
    assert f"{found['orders_verified']} verified, 0 refused, 0 unverifiable" in page


def test_a_signer_who_is_not_in_the_roster_can_be_checked_by_nobody(run: Path) -> None:
    entries = entries_of(journal(run, 0))[:-1]
    at = next(i for i, entry in enumerate(entries) if isinstance(entry, Said))
    said = entries[at]
    assert isinstance(said, Said)
    frame = wire.decode(said.data)
    assert isinstance(frame, Frame)
    for number, nobody in enumerate((9, -1, 1 << 63), start=1):
        order = SignedOrder(b'"attack"', (0, nobody), (bytes(64), bytes(64)))
        data = wire.encode(msgspec.structs.replace(frame, body=Signed((order,))))
        entries.append(msgspec.structs.replace(said, data=data))
        rewritten(run, 0, entries)
        assert code_of(run) == 0
        found = json.loads(verified(run, "--format", "json").stdout)
        assert (found["orders_unverifiable"], found["orders_refused"]) == (number, 0)


def test_a_general_cannot_be_framed_with_a_signature_that_is_not_his(run: Path) -> None:
    """AU3: a chain spliced from another order's signature accuses nobody."""
    entries = entries_of(journal(run, 1))[:-1]
    proof = next(entry for entry in entries if isinstance(entry, Accused))
    first = proof.proof[0]
    spliced = SignedOrder(b'"hold"', first.signers, first.signatures)
    changed = msgspec.structs.replace(proof, proof=(first, spliced))
    rewritten(run, 1, [changed if entry is proof else entry for entry in entries])
    assert "the proof against general 0 proves nothing" in findings(run)[0]


def test_a_brief_beyond_all_measure_is_read_without_harm(run: Path) -> None:
    entries = entries_of(journal(run, 0))[:-1]
    opened = entries[0]
    assert isinstance(opened, Opened)
    brief: Brief = msgspec.structs.replace(opened.brief, commander=1 << 60)
    entries[0] = msgspec.structs.replace(opened, brief=brief)
    rewritten(run, 0, entries)
    assert code_of(run) in (0, 5)


@BOTH
def test_a_ledger_that_does_not_add_up_is_found(run: Path, general: int) -> None:
    entries = entries_of(journal(run, general))
    last = entries[-1]
    assert isinstance(last, Closed)
    ledger = tuple(
        msgspec.structs.replace(line, messages=line.messages + 1) for line in last.ledger
    )
    rewritten(run, general, entries[:-1], ledger=ledger)
    kind = "the ledger is not the sum of what was said"
    assert f"general-{general}.journal:{len(entries)}: {kind}" in told(run, general)


def test_nobody_else_can_close_a_journal(run: Path) -> None:
    entries = entries_of(journal(run, 1))
    written = Journal()
    for entry in entries[:-1]:
        written.append(entry if not isinstance(entry, Settled) else Settled(A, ((A, 1),), "SM-3"))
    last = entries[-1]
    assert isinstance(last, Closed)
    written.close(
        signer_of(0), bytes.fromhex(RunDir.find(run).run_file().run), last
    )  # general 0 signs for general 1
    journal(run, 1).write_bytes(b"".join(written.lines()))
    assert findings(run) == [
        f"general-1.journal:{len(entries)}: "
        "the closing signature is not this general's over this run and chain"
    ]


@pytest.mark.parametrize(
    "text",
    [
        b'{"kind":"\\u001b[2Jgeneral-1.journal:1: pass\\n","at_s":1}',
        b'{"kind":"noted","text":3,"rule":"\\u001b[31m"}',
        b'{"kind":"refused","sender":1,"reason":"\\u001b]0;x\\u0007","rule":""}',
        b"[" * 100_000,
        b'{"kind":"heard","at_s":0,"sender":1,"data":"\xff"}',
        b'{"kind":"began","at_s":' + b"9" * 5000 + b"}",
        b"\x1b[2J",
        b"",
    ],
)
def test_a_line_under_a_good_chain_that_is_no_entry_is_told_harmlessly(
    run: Path, text: bytes
) -> None:
    head, entries = GENESIS, journal(run, 0).read_bytes().splitlines()[:1]
    head = bytes.fromhex(entries[0].split(b" ")[0].decode())
    entries.append(extend(head, text).hex().encode() + b" " + text)
    journal(run, 0).write_bytes(b"\n".join(entries) + b"\n")
    assert findings(run)[0].startswith("general-0.journal:2: this is no journal entry: ")


def test_a_closing_entry_signed_in_another_context_closes_nothing(run: Path) -> None:
    entries = entries_of(journal(run, 0))
    written = Journal()
    for entry in entries[:-1]:
        written.append(entry)
    last = entries[-1]
    assert isinstance(last, Closed)
    forged = signer_of(0).sign(CONTEXT_CLOSING + b"x", written.head)
    written.append(msgspec.structs.replace(last, signature=forged))
    journal(run, 0).write_bytes(b"".join(written.lines()))
    assert "the closing signature is not this general's" in findings(run)[0]


# The other files.


def flipped(text: str) -> str:
    """Another hex digit at the end."""
    return text[:-1] + ("0" if text[-1] != "0" else "1")


@pytest.mark.parametrize("field", ["run", "nonce"])
def test_run_id_and_nonce_commit_to_one_another(run: Path, field: str) -> None:
    edited(run / "run.json", lambda old: {**old, field: flipped(old[field])})
    lines = findings(run)
    assert lines[0] == "run.json: the run id does not commit to this roster, scenario and nonce"


@pytest.mark.parametrize(
    ("field", "value"),
    [("scenario", "another"), ("seed", 2), ("protocol", "oral"), ("n", 4), ("m", 0)],
)
def test_run_json_cannot_tell_another_story_than_the_scenario(
    run: Path, field: str, value: Any
) -> None:
    edited(run / "run.json", lambda old: {**old, field: value})
    assert findings(run) == [f"run.json: {field} is not what scenario.yaml says"]


def test_any_other_scenario_is_found(run: Path) -> None:
    path = run / "scenario.yaml"
    path.write_text(path.read_text().replace("seed: 1", "seed: 2"))
    assert findings(run)[0] == (
        "run.json: the run id does not commit to this roster, scenario and nonce"
    )


def test_a_remark_in_the_scenario_is_another_scenario(run: Path) -> None:
    with (run / "scenario.yaml").open("a") as stream:
        stream.write("# nothing\n")
    assert len(findings(run)) == 1


@pytest.mark.parametrize("content", [b"", b"\xff", b"[1, 2]", b"{" * 100_000, b"&a [*a, *a]"])
def test_a_scenario_of_garbage_is_found(run: Path, content: bytes) -> None:
    (run / "scenario.yaml").write_bytes(content)
    assert "scenario.yaml: this is no scenario" in findings(run)


def roster_edit(index: int, **fields: Any) -> Callable[[Any], Any]:
    def change(roster: Any) -> None:
        roster["generals"][index].update(fields)

    return change


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (roster_edit(0, signing_public="A" * 43 + "="), "not a valid Ed25519 point"),
        (roster_edit(0, signing_public=""), "not a valid Ed25519 point"),
        (roster_edit(1, endpoint="tcp://elsewhere"), "the run id does not commit"),
        (roster_edit(1, general=0), "its generals are not 0, 1, 2 and so on"),
        (roster_edit(1, general=-1), "its generals are not 0, 1, 2 and so on"),
        (roster_edit(1, general=int("9" * 300)), "roster.json: "),
        (roster_edit(1, general="../../etc/passwd"), "roster.json: "),
        (lambda roster: {"generals": roster["generals"][:-1]}, "the run id does not commit"),
        (lambda roster: {"generals": roster["generals"][::-1]}, "its generals are not 0, 1, 2"),
        (lambda roster: {"generals": []}, "the run id does not commit"),
        (lambda roster: {}, "roster.json: "),
        (lambda roster: [1], "roster.json: "),
    ],
)
def test_any_other_roster_is_found(run: Path, change: Callable[[Any], Any], finding: str) -> None:
    edited(run / "roster.json", change)
    assert any(finding in line for line in findings(run))


def test_two_generals_with_one_key_are_found(run: Path) -> None:
    def share(roster: Any) -> None:
        roster["generals"][1]["signing_public"] = roster["generals"][2]["signing_public"]

    edited(run / "roster.json", share)
    lines = findings(run)
    assert lines[:2] == [
        "roster.json: general 1 shares his key",
        "roster.json: general 2 shares his key",
    ]


GARBAGE = [
    b"",
    b"{",
    b"null",
    b"\xff\xfe",
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b'{"generals":[' + b"9" * 5000 + b"]}",
    b'{"scenario": "\x1b[2J"}',
]


@pytest.mark.parametrize("name", ["run.json", "roster.json"])
@pytest.mark.parametrize("content", GARBAGE)
def test_garbage_in_json_is_told_and_not_raised(run: Path, name: str, content: bytes) -> None:
    (run / name).write_bytes(content)
    assert findings(run)[0].startswith(f"{name}: ")


def test_run_and_nonce_are_hex(run: Path) -> None:
    edited(run / "run.json", lambda old: {**old, "nonce": "no hex"})
    assert findings(run) == ["run.json: run and nonce are not hex"]


@pytest.mark.parametrize("name", ["roster.json", "scenario.yaml"])
def test_a_file_that_is_missing_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    assert findings(run) == [f"{name}: No such file or directory"]


# What is no run directory.


def test_without_run_json_there_is_no_run(run: Path, tmp_path: Path) -> None:
    (run / "run.json").unlink()
    for place in (run, tmp_path / "nothing", tmp_path, Path("/dev/null"), Path("/etc/passwd/x")):
        assert code_of(place) == 2
        assert "no run directory, there is no run.json" in verified(place).stderr
    assert "its generals never stood ready" in verified(run).stderr


@pytest.mark.parametrize("name", ["x" * 5000, "a\nb\x1b[31m"])
def test_a_name_that_no_file_can_have_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    assert code_of(tmp_path / name) == 2
    assert verified(tmp_path / name).stderr.count("\n") == 1


def test_latest_that_leads_in_a_circle_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("latest")
    assert code_of(tmp_path) == 2


def test_latest_that_leads_nowhere_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("gone")
    assert code_of(tmp_path) == 2


def test_a_run_whose_generals_never_stood_ready_says_so(tmp_path: Path) -> None:
    place = RunDir.create(tmp_path, "story", 1)
    place.write("scenario.yaml", b"protocol: oral\n")
    result = verified(tmp_path / "story")
    assert "latest: no run directory" in result.stderr
    assert "its generals never stood ready" in result.stderr


# Where runs go.


def test_the_latest_run_is_the_last_one(tmp_path: Path) -> None:
    first = play("oral", 4, 1, name="story", out=tmp_path)
    second = play("oral", 4, 1, name="story", out=tmp_path)
    assert first.path
    assert second.path
    assert first.path != second.path
    assert (tmp_path / "story" / "latest").resolve() == second.path.resolve()
    assert RunDir.find(tmp_path / "story").run_file().n == 4
    assert code_of(tmp_path / "story") == 0


def test_two_runs_in_one_second_have_a_directory_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(rundir.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return rundir.datetime(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(rundir, "datetime", Stopped)
    paths = [RunDir.create(tmp_path, "story", 7).path for _ in range(3)]
    assert [path.name for path in paths] == [
        "20260102T030405-7",
        "20260102T030405-7-2",
        "20260102T030405-7-3",
    ]
    assert (tmp_path / "story" / "latest").resolve() == paths[-1].resolve()


def test_a_latest_that_is_a_folder_of_the_users_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "story" / "latest" / "mine").mkdir(parents=True)
    with pytest.raises(RunDirError, match="latest: cannot be made a link"):
        RunDir.create(tmp_path, "story", 1)
    assert (tmp_path / "story" / "latest" / "mine").is_dir()
    assert not list((tmp_path / "story").glob(".latest*"))


def left_behind(folder: Path) -> Iterator[str]:
    return (path.name for path in sorted(folder.iterdir()))


def test_a_run_directory_holds_what_the_documents_say(stories: dict[str, Path]) -> None:
    generals = [f"general-{general}.{kind}" for general in range(3) for kind in ("journal", "log")]
    others = ["audit.json", "junit.xml", "metrics.json", "roster.json", "run.json"]
    assert list(left_behind(stories["signed"])) == sorted(
        [*generals, *others, "scenario.yaml", "verdict.json"]
    )


def test_what_the_run_wrote_of_its_audit_is_what_verify_says(stories: dict[str, Path]) -> None:
    for run in stories.values():
        written = json.loads((run / "audit.json").read_text())
        assert written == json.loads(verified(run, "--format", "json").stdout)
        assert audit(RunDir.find(run).exhibits()).is_clean
