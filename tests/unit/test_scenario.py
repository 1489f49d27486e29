"""Scenarios: what is accepted, what is refused and where, what is warned of, what comes back."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from node.orders import Brief, Combiner, Enumerated, Numbers
from node.protocols import catalogue
from node.traitors import STRATEGIES
from orchestrator.casting import brief_of
from orchestrator.scenario import (
    Expect,
    Outcome,
    Over,
    Problem,
    Protocol,
    Scenario,
    ScenarioError,
    Standing,
    Trigger,
    core_scalar,
    from_fields,
    json_schema,
    load,
    override,
    parse,
)
from orchestrator.scenario.document import EVENTS_MAX, TEXT_BYTES_MAX
from orchestrator.scenario.problems import PROBLEMS_MAX
from tests.stage import play

ALL = Path(__file__).parents[2].joinpath("scenarios")
SHIPPED = sorted(path for path in ALL.rglob("*.yaml") if path.parent.name != "service")
UNREADABLE_ON_PURPOSE = "2-misspelt"
PLAYABLE = [path for path in SHIPPED if path.stem != UNREADABLE_ON_PURPOSE]

ORAL = "protocol: oral\nn: 4\nm: 1\n"
#: A strategy that takes any parameters.
WHATEVER = "tests.attackers:Whatever"


def problems_of(text: str, *sets: str) -> list[Problem]:
    """The problems of a text, which has some."""
    with pytest.raises(ScenarioError) as refused:
        parse(text, "story.yaml", sets)
    return list(refused.value.problems)


def problems_of_file(data: bytes, folder: Path) -> list[Problem]:
    file = folder / "story.yaml"
    file.write_bytes(data)
    with pytest.raises(ScenarioError) as refused:
        load(file)
    return list(refused.value.problems)


def lines_of(text: str, *sets: str) -> list[str]:
    return [str(problem) for problem in problems_of(text, *sets)]


def plain(path: Path) -> Any:
    """A shipped file as JSON has it: keys are text."""
    return json.loads(json.dumps(YAML(typ="safe", pure=True).load(path.read_text())))


# What is accepted.


def test_the_least_scenario_has_a_default_for_everything_else() -> None:
    scenario = parse(ORAL, "my-story.yaml")
    assert scenario.name == "my-story"
    assert (scenario.commander, scenario.order, scenario.default) == (0, "attack", "retreat")
    assert (scenario.delta, scenario.seed, scenario.rounds) == (0.5, 1, 2)
    assert scenario.domain == Enumerated()
    assert scenario.faulty == frozenset()
    assert scenario.input_of(0) == "attack"
    assert scenario.input_of(1) is None
    assert (scenario.over, scenario.combiner, scenario.inputs) == (None, None, None)
    assert scenario.coalition
    assert not scenario.force


def test_a_name_that_no_folder_can_bear_becomes_one_that_can() -> None:
    assert parse(ORAL, "/some/where/My  Story (2).yaml").name == "my-story-2"
    assert parse(ORAL, "....yaml").name == "scenario"


def test_numbers_become_floats_wherever_they_are_values() -> None:
    scenario = parse(
        "protocol: interactive-consistency\nover: signed\ncombiner: vector\nn: 3\nm: 1\n"
        "values: numbers\ndefault: 7\ninputs: [10, 11.5, -0.0]\n"
        "expect: {decisions: {0: [10, 1, 0], 1: null}, tallies: {1: {3: 2}}}"
    )
    assert scenario.domain == Numbers(default=7.0)
    assert scenario.inputs == (10.0, 11.5, 0.0)
    assert all(type(value) is float for value in scenario.inputs or ())
    assert scenario.expect.decisions == {0: (10.0, 1.0, 0.0), 1: None}
    assert "3.0" in scenario.resolved_yaml()


def test_no_is_a_word_whatever_the_file_claims_its_version_is() -> None:
    for header in ("", "%YAML 1.1\n---\n"):
        text = header + ORAL + "values: [no, yes]\ndefault: no\norder: yes\n"
        assert parse(text).domain == Enumerated(values=("no", "yes"), default="no")


def test_values_of_several_kinds_keep_their_kind() -> None:
    scenario = parse(ORAL + "values: [1, 2.0, 'true', false]\ndefault: 1\norder: 'true'\n")
    assert [type(value) for value in scenario.values] == [int, float, str, bool]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ("[attack, retreat, attack]", ("attack", "retreat", "attack")),
        ("{2: attack, 0: retreat, 1: retreat}", ("retreat", "retreat", "attack")),
        ("attack", ("attack", "attack", "attack")),
    ],
)
def test_inputs_are_a_list_a_mapping_or_one_for_all(inputs: str, expected: tuple[str, ...]) -> None:
    scenario = parse(f"protocol: exchange\nn: 3\ninputs: {inputs}\n")
    assert scenario.inputs == expected
    assert scenario.input_of(2) == "attack"
    assert (scenario.m, scenario.combiner, scenario.commander) == (1, Combiner.MAJORITY, None)


def test_interactive_consistency_is_a_vector_over_oral_messages_if_nothing_is_said() -> None:
    scenario = parse("protocol: interactive-consistency\nn: 4\nm: 1\ninputs: attack\n")
    assert (scenario.over, scenario.combiner) == (Over.ORAL, Combiner.VECTOR)


def test_every_form_of_traitors_says_the_same() -> None:
    forms = (
        "traitors: {3: flip, 1: parity}",
        "traitors: [{general: 3, strategy: flip}, {general: 1, strategy: parity}]",
        "traitors: [{generals: [1], strategy: parity}, {generals: [3], strategy: flip}]",
        "traitors: {1: {strategy: parity}, 3: {strategy: flip}}",
    )
    read = [parse(f"{ORAL}{form}\n") for form in forms]
    assert all(one == read[0] for one in read)
    assert [traitor.general for traitor in read[0].traitors] == [1, 3]
    assert read[0].faulty == {1, 3}


def test_a_traitor_keeps_his_parameters_and_his_trigger() -> None:
    [traitor] = parse(
        ORAL + "traitors:\n"
        "  - general: 2\n    strategy: tests.attackers:Whatever\n"
        "    with: {faces: {attack: [1], 9: [3]}, lines: [{say: null}]}\n"
        "    when: {rounds: [1, 2], to: [1], probability: 1}\n"
    ).traitors
    assert traitor.strategy == "tests.attackers:Whatever"
    assert traitor.params == {"faces": {"attack": [1], 9: [3]}, "lines": [{"say": None}]}
    assert traitor.when.rounds == (1, 2)
    assert traitor.when.to == (1,)
    assert traitor.when.probability == 1.0


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("500ms", 0.5), ("1 ms", 0.001), ("2s", 2.0), ("0.25", 0.25), ("60", 60.0), ("1.5ms", 0.0015)],
)
def test_a_round_lasts_as_long_as_it_says(written: str, seconds: float) -> None:
    scenario = parse(f"{ORAL}delta: {written}\n")
    assert scenario.delta == seconds
    assert parse(scenario.resolved_yaml(), "scenario").delta == seconds


def test_what_is_expected_is_typed() -> None:
    expect = parse(
        ORAL + "expect: {outcome: out-of-model, ic1: broken, ic2: vacuous, termination: held,\n"
        "  decisions: {1: attack, 2: null}, tallies: {1: {attack: 2}}, messages: [3, 6],\n"
        "  refused: {late: 1}}\n"
    ).expect
    assert expect.outcome is Outcome.OUT_OF_MODEL
    assert (expect.ic1, expect.ic2, expect.termination) == (
        Standing.BROKEN,
        Standing.VACUOUS,
        Standing.HELD,
    )
    assert expect.decisions == {1: "attack", 2: None}
    assert expect.messages == (3, 6)
    assert expect.refused == {"late": 1}


def test_a_byte_order_mark_and_dos_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "dos.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + ORAL.replace("\n", "\r\n").encode())
    assert load(file) == parse(ORAL, "dos")


@pytest.mark.parametrize(
    ("n", "m", "messages"),
    [(4, 1, 9), (7, 1, 36), (7, 2, 156), (10, 3, 3_609), (13, 4, 108_384), (16, 5, 3_999_675)],
)
def test_oral_messages_are_counted_as_the_reference_counts_them(
    n: int, m: int, messages: int
) -> None:
    brief = Brief(protocol="oral", n=n, m=m)
    assert catalogue.messages(brief) == messages


@pytest.mark.parametrize(
    ("protocol", "n", "m", "messages"),
    [
        ("signed", 4, 1, 9),
        ("signed", 7, 2, 36),
        ("signed", 5, 0, 4),
        ("exchange", 4, 1, 12),
        ("flat-vote", 10, 3, 5841),
        ("phase-king", 7, 2, 276),
        ("phase-queen", 9, 2, 248),
        ("reliable-broadcast", 4, 1, 27),
        ("tmr", 7, 1, 12),
    ],
)
def test_a_loyal_run_takes_the_messages_that_its_rule_book_says(
    protocol: str, n: int, m: int, messages: int
) -> None:
    inputs = {"inputs": "attack"} if protocol == "exchange" else {}
    result = play(protocol, n, m, **inputs)
    assert sum(count for count, _, _ in result.transcript.ledger().values()) == messages
    assert catalogue.messages(brief_of(result.scenario, 0)) == messages


# What is refused, and where.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # fields
        (ORAL + "trators: {3: flip}", "4:1: there is no field 'trators'; did you mean 'traitors'?"),
        (ORAL + "xyzzy: 1", "4:1: there is no field 'xyzzy'"),
        (ORAL + "0.: 1", "4:1: there is no field 0.0"),
        (ORAL + "true: 1", "4:1: there is no field true"),
        (ORAL + "expect: {1: held}", "4:10: expect: there is no field 1"),
        (ORAL + "traitors: {0.5: flip}", "4:12: traitors.0.5.general: must be a whole number"),
        (ORAL + "expect: {decisions: {0.5: attack}}", "4:22: expect.decisions.0.5: must be a who"),
        ("n: 4\nm: 1", "1:1: protocol: is missing: one of oral, signed, exchange"),
        ("protocol: oral\nm: 1", "1:1: n: is missing"),
        ("protocol: oral\nn: 4", "1:1: m: is missing"),
        (ORAL + "m: 1", "4:1: the field 'm' is here for the second time"),
        (ORAL + "? [a]\n: 1", "4:3: a field's name is a word or a number, not a list"),
        # types
        ("protocol: oral\nn: four\nm: 1", "2:4: n: must be a whole number, not 'four'"),
        ("protocol: oral\nn: 4.0\nm: 1", "2:4: n: must be a whole number, not 4.0"),
        ("protocol: oral\nn: true\nm: 1", "2:4: n: must be a whole number, not true"),
        ("protocol: oral\nn:\nm: 1", "n: must be a whole number, not nothing"),
        ("protocol: orl\nn: 4\nm: 1", "1:11: protocol: must be one of oral, signed, exchange, "),
        ("protocol: orl\nn: 4\nm: 1", "did you mean 'oral'?"),
        (ORAL + "coalition: yes", "4:12: coalition: must be true or false, not 'yes'"),
        (ORAL + "summary: 3", "4:10: summary: must be text, not 3"),
        (ORAL + "reference: R1", "4:12: reference: must be a list, not 'R1'"),
        (ORAL + "name: ../../etc", "4:7: name: must be of small letters, digits and single hy"),
        (ORAL + 'summary: "a\\nb"', "4:10: summary: must be one line without control characters"),
        (ORAL + "seed: -1", "4:7: seed: must be at least 0, not -1"),
        (ORAL + "seed: 18446744073709551616", "4:7: seed: must be at most 9223372036854775807"),
        (ORAL + f"seed: {'9' * 5000}", "4:7: a number has at most 30 digits"),
        (ORAL + "expect: []", "4:9: expect: must be a mapping of fields, not a list"),
        (ORAL + "traitors: flip", "4:11: traitors: must be a list of traitors, or a mapping of"),
        (ORAL + "traitors: [flip]", "4:12: traitors.0: must be a mapping of fields, not 'flip'"),
        # sizes
        ("protocol: oral\nn: 1\nm: 0", "2:4: n: must be at least 2, not 1"),
        ("protocol: oral\nn: 256\nm: 0", "2:4: n: must be at most 255, not 256"),
        ("protocol: oral\nn: 4\nm: -1", "3:4: m: must be at least 0, not -1"),
        ("protocol: signed\nn: 4\nm: 4", "3:4: m: must be below n = 4, not 4"),
        (ORAL + "commander: 4", "4:12: commander: there is no general 4: n = 4 are 0 to 3"),
        (ORAL + "commander: -1", "4:12: commander: must be at least 0, not -1"),
        # durations
        (ORAL + "delta: 0.5ms", "4:8: delta: must be from 1ms to 60s, not '0.5ms'"),
        (ORAL + "delta: 61", "4:8: delta: must be from 1ms to 60s, not 61"),
        (ORAL + "delta: soon", "4:8: delta: must be a duration such as 500ms, 2s or 0.5, not 'so"),
        (ORAL + "delta: .nan", "4:8: delta: must be from 1ms"),
        (ORAL + "delta: true", "4:8: delta: must be a duration"),
        # values
        (ORAL + "order: atack", "4:8: order: must be one of 'retreat', 'attack', not 'atack'; di"),
        (ORAL + "values: [1, 2]\ndefault: 1\norder: 1.0", "6:8: order: must be one of 1, 2, not 1"),
        (ORAL + "values: [1, 2]\norder: 1", "1:1: default: is missing: which of 1, 2 stands where"),
        (ORAL + "values: [a, retreat]", "1:1: order: is missing: what the commander orders"),
        (ORAL + "values: [a, b]\ndefault: c\norder: a", "5:10: default: must be one of 'a', 'b'"),
        (ORAL + "values: [attack]", "4:9: values: must be 2 to 256 values, not 1"),
        (ORAL + "values: [attack, retreat, attack]", "4:27: values.2: 'attack' equals a value be"),
        (ORAL + "values: [1, true]\ndefault: 1\norder: 1", "4:13: values.1: true equals a value"),
        (ORAL + "values: nmbers", "4:9: values: must be a list of values or the word numbers, no"),
        (ORAL + "values: nmbers", "did you mean 'numbers'?"),
        (ORAL + "values: [a, null]", "4:13: values.1: must be one value (a word, a number, true"),
        (ORAL + "values: [a, .inf]", "4:13: values.1: must be a finite number"),
        (ORAL + f"values: [a, {'b' * 201}]", "4:13: values.1: must have at most 200 characters"),
        (ORAL + "values: numbers\norder: many", "5:8: order: must be a number, as all values are"),
        (ORAL + "values: numbers\norder: true", "5:8: order: must be a number, as all values are"),
        (ORAL + "values: numbers\norder: 1\ndefault: x", "6:10: default: must be a number"),
        (ORAL + "order: 99999999999999999999", "4:8: order: must fit 64 bits"),
        # fields of other protocols
        (ORAL + "inputs: attack", "4:9: inputs: is no field of oral: only the commander has"),
        (ORAL + "combiner: majority", "4:11: combiner: is no field of oral"),
        (ORAL + "over: signed", "4:7: over: is no field of oral"),
        ("protocol: exchange\nn: 2\ninputs: attack\norder: attack", "4:8: order: is no field of"),
        ("protocol: exchange\nn: 2\ninputs: attack\ncommander: 0", "4:12: commander: is no field"),
        ("protocol: exchange\nn: 2\ninputs: attack\ncombiner: vector", "4:11: combiner: must be m"),
        ("protocol: exchange\nn: 2\ninputs: attack\ncombiner: meridian", "did you mean 'median'?"),
        (ORAL + "messages: 3", "4:11: messages: is no field of oral: only two-generals counts"),
        ("protocol: two-generals\nn: 3\nmessages: 1", "2:4: n: must be 2 for two-generals, not 3"),
        ("protocol: two-generals\nn: 2\nmessages: 0", "3:11: messages: must be 1 to 64, not 0"),
        ("protocol: two-generals\nn: 2\nmessages: 65", "3:11: messages: must be 1 to 64, not 65"),
        ("protocol: two-generals\nn: 2", "1:1: messages: is missing: how many"),
        ("protocol: two-generals\nn: 2\nm: 1\nmessages: 1", "3:4: m: must be 0 for two-generals"),
        ("protocol: tmr\nn: 4", "2:4: n: must be at least 5 for tmr, not 4"),
        ("protocol: tmr\nn: 7\nm: 2", "3:4: m: must be 1 for tmr, not 2"),
        ("protocol: tmr\nn: 7\ncommander: 1", "3:12: commander: must be 0 for tmr, not 1"),
        (
            "protocol: flat-vote\nn: 4\nm: 1\ntraitors: [{general: 1, strategy: script, "
            "with: {lines: [{path: [0, 1], say: attack}]}}]",
            "have no paths: leave it out",
        ),
        # inputs
        ("protocol: exchange\nn: 2", "1:1: inputs: is missing"),
        ("protocol: exchange\nn: 3\ninputs: [attack]", "3:9: inputs: n = 3 generals need one each"),
        ("protocol: exchange\nn: 3\ninputs: {0: attack, 2: attack}", "each: none for 1"),
        ("protocol: exchange\nn: 1\ninputs: [x]", "3:10: inputs.0: must be one of 'retreat', 'at"),
        ("protocol: exchange\nn: 2\ninputs: {0: attack, 1: attack, 5: attack}", "3:32: inputs.5: "),
        ("protocol: exchange\nn: 2\ninputs: {a: attack}", "3:10: inputs.a: must be a whole number"),
        # traitors
        (ORAL + "traitors: {4: flip}", "4:12: traitors.4.general: there is no general 4: n = 4 a"),
        (ORAL + "traitors: {-1: flip}", "4:12: traitors.-1.general: must be at least 0, not -1"),
        (ORAL + "traitors: {x: flip}", "4:12: traitors.x.general: must be a whole number, not 'x'"),
        (ORAL + "traitors: {3: filp}", "4:15: traitors.3.strategy: must be one of flip, parity, "),
        (ORAL + "traitors: {3: filp}", "not 'filp'; did you mean 'flip'?"),
        (ORAL + "traitors: [{general: 3}]", "4:12: traitors.0: names no strategy"),
        (ORAL + "traitors: [{strategy: flip}]", "4:12: traitors.0: names no general"),
        (
            ORAL + "traitors: [{general: 1, generals: [2], strategy: flip}]",
            "4:12: traitors.0: write `general` or `generals`, not both",
        ),
        (
            ORAL + "traitors: [{generals: [], strategy: flip}]",
            "4:23: traitors.0.generals: must name at least 1",
        ),
        (
            ORAL + "traitors: [{generals: [1, 2, 1], strategy: flip}]",
            "4:30: traitors.0.generals.2: general 1 is a traitor already",
        ),
        (ORAL + "traitors: {1: {general: 2, strategy: flip}}", "4:25: traitors.1.general: the key"),
        (
            ORAL + "traitors: [{general: 1, stratgy: flip}]",
            "4:25: traitors.0: there is no field 'stratgy'; did you mean 'strategy'?",
        ),
        (
            ORAL + "traitors: [{general: 1, strategy: flip, when: {round: [1]}}]",
            "4:48: traitors.0.when: there is no field 'round'; did you mean 'rounds'?",
        ),
        (
            ORAL + "traitors: [{general: 1, strategy: flip, when: {rounds: [3]}}]",
            "4:57: traitors.0.when.rounds.0: there is no round 3: the run has 2",
        ),
        (
            ORAL + "traitors: [{general: 1, strategy: flip, when: {to: [4, 1]}}]",
            "4:53: traitors.0.when.to.0: there is no general 4",
        ),
        (
            ORAL + "traitors: [{general: 1, strategy: flip, when: {to: [1]}}]",
            "4:53: traitors.0.when.to.0: general 1 sends nothing to himself",
        ),
        (
            ORAL + "traitors: [{general: 1, strategy: flip, when: {probability: 2}}]",
            "4:61: traitors.0.when.probability: must be a number from 0 to 1, not 2",
        ),
        # expectations
        (ORAL + "expect: {outcome: passed}", "4:19: expect.outcome: must be one of pass, violat"),
        (ORAL + "expect: {outcome: passed}", "did you mean 'pass'?"),
        (ORAL + "expect: {ic3: held}", "4:10: expect: there is no field 'ic3'; did you mean 'ic"),
        (ORAL + "expect: {decisions: {4: attack}}", "4:22: expect.decisions.4: there is no gen"),
        (ORAL + "expect: {decisions: {one: attack}}", "4:22: expect.decisions.one: must be a wh"),
        (ORAL + "expect: {decisions: {1: atack}}", "4:25: expect.decisions.1: must be one of"),
        (ORAL + "expect: {decisions: {1: [attack]}}", "4:25: expect.decisions.1: must be one va"),
        (ORAL + "expect: {tallies: {4: {attack: 1}}}", "4:20: expect.tallies.4: there is no gen"),
        (ORAL + "expect: {tallies: {1: {atack: 1}}}", "4:24: expect.tallies.1.atack: must be on"),
        (ORAL + "expect: {messages: [3]}", "4:20: expect.messages: must have one count a round, "),
        (ORAL + "expect: {messages: many}", "4:20: expect.messages: must be a count, or a list"),
        (ORAL + "expect: {refused: {lat: 1}}", "did you mean 'late'?"),
        (
            "protocol: interactive-consistency\nn: 4\nm: 1\ninputs: attack\n"
            "expect: {decisions: {1: attack}}",
            "5:25: expect.decisions.1: must be a list of n values or null, not 'attack'",
        ),
        (
            "protocol: interactive-consistency\nn: 4\nm: 1\ninputs: attack\n"
            "expect: {decisions: {1: [attack]}}",
            "5:25: expect.decisions.1: must have n = 4 values, not 1",
        ),
        (
            "protocol: interactive-consistency\nn: 2\nm: 0\ninputs: attack\n"
            "expect: {decisions: {1: [attack, x]}}",
            "5:34: expect.decisions.1.1: must be one of 'retreat', 'attack', not 'x'",
        ),
        # YAML that is more than a scenario needs
        (ORAL + "summary: &a text", "4:10: anchors are not accepted"),
        (ORAL + "summary: *a", "4:10: aliases are not accepted"),
        (
            ORAL + "summary: !!python/object/apply:os.system [ls]",
            "4:10: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not accepted",
        ),
        (ORAL + "---\n" + ORAL, "4:1: a second document begins here"),
        (ORAL + "summary: [", "is not YAML"),
        (ORAL + "summary: 'open", "is not YAML"),
        (ORAL + '\tsummary: "a"', "is not YAML"),
        (ORAL + 'summary: "\\ud800"', "4:10: half a surrogate pair is not text"),
        (ORAL + 'summary: "\\Uffffffff"', "is not YAML"),
        (ORAL + "summary: a\x00b", "4:11: the character '\\x00' is not accepted"),
        (ORAL + "summary: \x1b[31mred", "4:10: the character '\\x1b' is not accepted"),
        ("", "1:1: is empty"),
        ("# only a comment\n", "1:1: is empty"),
        ("- a\n- b\n", "1:1: a scenario is a mapping of fields, not a list"),
        ("just words", "1:1: a scenario is a mapping of fields, not 'just words'"),
        ("null", "1:1: a scenario is a mapping of fields, not nothing"),
    ],
)
def test_refused_at_its_line_and_column(text: str, expected: str) -> None:
    lines = lines_of(text)
    assert any(f"story.yaml:{expected}" in line or expected in line for line in lines), lines
    if re.match(r"\d+:\d+: ", expected):
        assert any(line.startswith(f"story.yaml:{expected}") for line in lines), lines


def test_every_error_is_told_at_once_in_the_order_of_the_file() -> None:
    lines = lines_of(
        "protocol: oral\n"
        "n: four\n"
        "m: 1\n"
        "m: 2\n"
        "trators: {3: flip}\n"
        "values: [no, yes]\n"
        "order: yess\n"
        "summary: *nowhere\n"
        "expect:\n"
        "  outcome: passed\n"
        "  decisions: {one: no, 2: maybe}\n"
    )
    assert [line.split(" ")[0] for line in lines] == [
        "story.yaml:1:1:",
        "story.yaml:2:4:",
        "story.yaml:4:1:",
        "story.yaml:5:1:",
        "story.yaml:7:8:",
        "story.yaml:8:10:",
        "story.yaml:10:12:",
        "story.yaml:11:15:",
        "story.yaml:11:27:",
    ]


def test_what_is_wrong_in_one_place_is_not_called_missing_in_another() -> None:
    lines = lines_of("protocol: oral\nn: x\nm: y\ntraitors: [{general: a, strategy: b}]")
    assert not any("missing" in line or "names no" in line for line in lines)
    assert len(lines) == 4


def test_a_wrong_strategy_does_not_hide_a_general_who_does_not_exist() -> None:
    lines = lines_of(ORAL + "traitors: [{general: 9, strategy: filp}]")
    assert ["general 9" in lines[0], "filp" in lines[1]] == [True, True]


@pytest.mark.parametrize(
    "hostile", ["\x1b[31mred", "a\nstory.yaml:1:1: all is well", "{x}", "\u202e"]
)
def test_text_of_the_file_cannot_forge_a_line(hostile: str) -> None:
    quoted = json.dumps(hostile)
    for text in (
        f"{ORAL}{quoted}: 1",
        f"{ORAL}order: {quoted}",
        f"{ORAL}traitors: {{3: {quoted}}}",
        f"{ORAL}expect: {{decisions: {{{quoted}: 1}}, tallies: {{1: {{{quoted}: 1}}}}}}",
    ):
        [*problems] = problems_of(text)
        assert all(str(one).isprintable() for one in problems)
    assert all(str(one).isprintable() for one in problems_of(ORAL, f"order={quoted}"))
    with pytest.raises(ScenarioError) as refused:
        parse("- a", hostile)
    assert str(refused.value).isprintable()


def test_a_list_without_end_of_problems_is_cut() -> None:
    text = ORAL + "".join(f"k{number}: 1\n" for number in range(3 * PROBLEMS_MAX))
    problems = problems_of(text)
    assert len(problems) == PROBLEMS_MAX + 1
    assert problems[-1].message == "and more problems from here on"


# Hostile files: refused, and cheaply.


def test_a_file_over_one_mebibyte_is_refused_before_it_is_read(tmp_path: Path) -> None:
    [problem] = problems_of_file(ORAL.encode() + b"#" * (20 << 20), tmp_path)
    assert problem.message == "a scenario is no larger than 1024 KiB"
    assert problems_of(ORAL + "#" * TEXT_BYTES_MAX)[0].message == problem.message


@pytest.mark.parametrize(
    ("data", "line", "column"),
    [(b"\x7fELF\x00\x01", 1, 1), (b"protocol: \xff", 1, 11), (b"a: b\n\xc3\x28", 2, 1)],
)
def test_bytes_that_are_no_text_are_refused_where_they_stand(
    data: bytes, line: int, column: int, tmp_path: Path
) -> None:
    [problem] = problems_of_file(data, tmp_path)
    assert (problem.line, problem.column) == (line, column)


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" * 60_000, "1:21: is nested more than 20 deep"),
        ("- " * 30_000, "1:41: is nested more than 20 deep"),
        ("? " * 30_000, "1:41: is nested more than 20 deep"),
        ("{a: " * 15_000, "1:81: is nested more than 20 deep"),
        (
            "".join(f"{' ' * depth}a:\n" for depth in range(300)),
            "21:21: is nested more than 20 deep",
        ),
        ("- a\n" * (EVENTS_MAX + 1), "is more than a scenario can need: reading stops here"),
        (ORAL + "summary: !" + "a" * 1_000_000, "4:1: a line is no longer than 64 KiB"),
        (ORAL + "summary: &" + "a" * 1_000_000, "4:1: a line is no longer than 64 KiB"),
        (ORAL + "traitors:\n" + "- {general: 9, strategy: flip}\n" * 5_000, "general 9"),
        (
            ORAL + "expect: {refused: {" + "".join(f"k{i}: 1,\n" for i in range(15_000)) + "}}",
            "expect.refused.k99: must be one of",
        ),
        (
            "a: &a [x, x]\n"
            + "".join(
                f"{new}: &{new} [*{old}, *{old}]\n"
                for old, new in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "9:8: aliases are not accepted",
        ),
    ],
    ids=lambda text: text[:12],
)
def test_a_file_made_to_cost_much_costs_little(text: str, expected: str) -> None:
    lines = lines_of(text)
    assert len(lines) <= PROBLEMS_MAX + 1
    assert any(expected in line for line in lines), lines


def test_a_file_that_is_not_there_is_a_problem_like_any_other(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path, "bad\x00name"):
        with pytest.raises(ScenarioError, match="cannot be read"):
            load(path)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{}*&!|>'\"%#?,\n\t \\0x~1.\u2028\x85\ufeff", max_size=60))
def test_any_text_is_a_scenario_or_a_list_of_problems(text: str) -> None:
    for whole in (text, ORAL + text, f"{ORAL}summary: {text}"):
        with contextlib.suppress(ScenarioError):
            assert parse(whole).protocol is Protocol.ORAL
            continue
        with pytest.raises(ScenarioError) as refused:
            parse(whole)
        assert refused.value.problems
        assert all(one.line is not None for one in refused.value.problems)


# Too many messages.


def test_a_run_of_millions_of_messages_is_refused_with_their_number_and_a_way_out() -> None:
    [line] = lines_of("protocol: oral\nn: 16\nm: 5\n")
    assert "3 999 675 messages" in line
    assert "--force" in line
    assert "`force: true`" in line
    assert parse("protocol: oral\nn: 16\nm: 5\nforce: true\n").force
    assert parse("protocol: oral\nn: 16\nm: 5\n", sets=["force=true"]).force


def test_interactive_consistency_over_oral_messages_takes_n_times_as_many() -> None:
    text = "protocol: interactive-consistency\nn: 13\nm: 4\ninputs: attack\n"
    assert "1 408 992 messages" in lines_of(text)[0]
    assert parse(text + "over: signed\n").over is Over.SIGNED


def test_the_number_of_messages_may_itself_be_beyond_all_measure() -> None:
    assert "about 10^" in lines_of("protocol: oral\nn: 255\nm: 200\n")[0]


# Warnings.


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("protocol: oral\nn: 3\nm: 1", ["n = 3 is below 3m + 1 = 4", "Theorem 1"]),
        ("protocol: signed\nn: 3\nm: 2", ["n = 3 is below m + 2 = 4"]),
        (
            "protocol: interactive-consistency\nn: 6\nm: 2\ninputs: attack",
            ["n = 6 is below 3m + 1 = 7"],
        ),
        (
            "protocol: interactive-consistency\nover: signed\nn: 3\nm: 2\ninputs: attack",
            ["n = 3 is below m + 2 = 4"],
        ),
        ("protocol: oral\nn: 4\nm: 1\ntraitors: {1: flip, 2: flip}", ["2 traitors are more than"]),
        ("protocol: oral\nn: 3\nm: 0\ntraitors: {1: flip}", ["1 traitor is more than m = 0"]),
    ],
)
def test_what_no_theorem_promises_is_played_with_a_warning(text: str, words: list[str]) -> None:
    [warning] = parse(text).warnings()
    assert all(word in warning for word in words)


@pytest.mark.parametrize(
    "text",
    [
        "protocol: oral\nn: 4\nm: 1\ntraitors: {1: flip}",
        "protocol: signed\nn: 3\nm: 1\ntraitors: {0: flip}",
        "protocol: interactive-consistency\nover: signed\nn: 4\nm: 2\ninputs: attack",
        "protocol: exchange\nn: 3\ninputs: attack",
    ],
)
def test_at_the_bound_there_is_nothing_to_warn_of(text: str) -> None:
    assert parse(text).warnings() == ()


# Settings on top of a file, and scenarios without one.


def test_a_setting_takes_the_place_of_what_is_written() -> None:
    scenario = parse(ORAL + "traitors: [{general: 3, strategy: flip}]\n")
    changed = override(
        scenario, "n=7", "m=2", "traitors.0.strategy=parity", "expect.outcome=pass", "order=retreat"
    )
    assert (changed.n, changed.m, changed.order) == (7, 2, "retreat")
    assert changed.traitors[0].strategy == "parity"
    assert changed.expect.outcome is Outcome.PASS
    assert scenario.traitors[0].strategy == "flip"
    assert override(changed, "n=4", "m=1").traitors[0].strategy == "parity"


def test_a_setting_can_add_a_traitor_to_either_form() -> None:
    listed = parse(ORAL + "traitors: [{general: 3, strategy: flip}]\n")
    assert override(listed, "traitors.1={general: 2, strategy: silent}").faulty == {2, 3}
    keyed = parse(ORAL + "traitors: {3: flip}\n")
    assert override(keyed, "traitors.2=silent").faulty == {2, 3}


def test_defaults_follow_anew_from_what_a_setting_says() -> None:
    changed = override(parse(ORAL), "protocol=exchange", "inputs=attack")
    assert (changed.commander, changed.combiner) == (None, Combiner.MAJORITY)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("n=four", "--set n=four: n: must be a whole number, not 'four'"),
        ("trators=1", "--set trators=1: there is no field 'trators'; did you mean 'traitors'?"),
        ("m", "--set m: must be FIELD=VALUE"),
        ("=3", "--set =3: must be FIELD=VALUE"),
        ("m=[", "--set m=[: '[' is not a YAML value"),
        ("m=1: 2: 3", "--set m=1: 2: 3: '1: 2: 3' is not a YAML value"),
        ("m=*a", "--set m=*a: '*a' is not a YAML value"),
        ("order=", "--set order=: order: must be one value"),
        ("traitors.5.strategy=flip", "--set traitors.5.strategy=flip: there is no 5 to set in a l"),
        ("n.x=1", "--set n.x=1: there is no x to set in 4"),
        (".".join("a" * 5000) + "=1", "must be FIELD=VALUE"),
        ("traitors.0.strategy=filp", "did you mean 'flip'?"),
    ],
)
def test_a_wrong_setting_is_named(setting: str, expected: str) -> None:
    lines = lines_of(ORAL + "traitors: [{general: 3, strategy: flip}]\n", setting)
    assert any(expected in line for line in lines), lines


def test_a_setting_that_makes_the_file_wrong_is_named_where_the_file_is_wrong() -> None:
    [line] = lines_of(ORAL + "traitors: {3: flip}\n", "n=3")
    assert line.startswith("story.yaml:4:12: traitors.3.general: there is no general 3")
    assert line.endswith("(with --set n=3)")


def test_fields_of_the_command_line_make_the_same_scenario() -> None:
    fields = {"protocol": "oral", "n": 4, "m": 1, "traitors": [{"general": 3, "strategy": "flip"}]}
    assert from_fields(fields) == parse(ORAL + "traitors: {3: flip}", "command line")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"protocol": "oral", "n": 4, "m": 7}, "command line: m: must be below n = 4, not 7"),
        (
            {"protocol": "oral", "n": "4", "m": 1},
            "command line: n: must be a whole number, not '4'",
        ),
        ({"protocol": "oral", "n": 4, "m": 1, "order": "\udc80"}, "command line: '\\udc80' is not"),
        ({}, "command line: protocol: is missing"),
    ],
)
def test_an_error_of_the_command_line_names_the_field(
    fields: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ScenarioError) as refused:
        from_fields(fields)
    assert any(str(one).startswith(expected) for one in refused.value.problems)
    assert all(one.line is None for one in refused.value.problems)


@pytest.mark.parametrize(
    ("typed", "value"),
    [("9", 9), ("9.5", 9.5), ("no", "no"), ("true", True), ("0x10", 16), ("attack", "attack")],
)
def test_what_a_user_types_is_read_as_yaml_reads_it(typed: str, value: Any) -> None:
    assert core_scalar(typed) == value


# Strategies are tried on before the run.


def test_a_wrong_parameter_is_told_where_it_stands() -> None:
    text = ORAL + "traitors: [{general: 3, strategy: delayer, with: {late: 50}}]\n"
    with pytest.raises(ScenarioError) as refused:
        parse(text, "story.yaml")
    [line] = map(str, refused.value.problems)
    assert line.startswith(
        "story.yaml:4:50: traitors.0.with: strategy 'delayer' takes no parameter"
    )
    assert line.endswith("did you mean 'late_ms'?")


def test_a_strategy_of_the_users_own_that_cannot_be_loaded_is_told_where_it_stands() -> None:
    text = ORAL + "traitors: {3: 'no.such.module:Lie'}\n"
    with pytest.raises(ScenarioError) as refused:
        parse(text, "story.yaml")
    [line] = map(str, refused.value.problems)
    assert line.startswith("story.yaml:4:15: traitors.3.strategy: cannot load the strategy")


# What is resolved comes back.

_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_scalars = st.one_of(
    _words, st.integers(-(2**63) + 1, 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False)
)
_params = st.dictionaries(
    _words,
    st.recursive(
        st.one_of(_scalars, st.booleans(), st.none()),
        lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(_words, below)),
        max_leaves=6,
    ),
    max_size=3,
)


#: n and m of protocols that are played in one size, more or less.
SIZES = {Protocol.TMR: (7, 1), Protocol.TWO_GENERALS: (2, 0)}


@st.composite
def _fields(draw: st.DrawFn) -> dict[str, Any]:
    protocol = draw(st.sampled_from(list(Protocol)))
    n = draw(st.integers(2, 9)) if protocol not in SIZES else SIZES[protocol][0]
    values = draw(st.one_of(st.just("numbers"), st.lists(_scalars, min_size=2, unique=True)))
    value = st.floats(-1e9, 1e9) if values == "numbers" else st.sampled_from(values)
    fields: dict[str, Any] = {
        "protocol": protocol.value,
        "n": n,
        "m": draw(st.integers(0, min(n - 1, 3))) if protocol not in SIZES else SIZES[protocol][1],
        "values": values,
        "default": draw(value),
        "seed": draw(st.integers(0, 2**63 - 1)),
        "delta": draw(st.floats(0.001, 60)),
        "coalition": draw(st.booleans()),
        "expect": {"outcome": draw(st.sampled_from([one.value for one in Outcome]))},
        "traitors": [
            {"general": general, "strategy": WHATEVER, "with": draw(_params)}
            for general in draw(st.sets(st.integers(0, n - 2), max_size=3))
        ]
        + [{"general": n - 1, "strategy": "flip"}],
    }
    if protocol is Protocol.TWO_GENERALS:
        fields["messages"] = draw(st.integers(1, 9))
    if protocol.has_commander:
        fields["order"] = draw(value)
        if protocol not in SIZES:
            fields["commander"] = draw(st.integers(0, n - 1))
        fields["expect"]["tallies"] = {0: {draw(value): 1}}
    else:
        fields["inputs"] = draw(st.lists(value, min_size=n, max_size=n))
        fields["combiner"] = draw(st.sampled_from(["majority", "median"]))
    if draw(st.booleans()):
        fields["expect"]["decisions"] = {n - 1: draw(st.one_of(st.none(), value))}
    return fields


@settings(max_examples=200, deadline=None)
@given(_fields())
def test_a_resolved_scenario_loads_again_to_an_equal_one(fields: dict[str, Any]) -> None:
    scenario = from_fields(fields)
    resolved = scenario.resolved_yaml()
    again = parse(resolved, "scenario.yaml")
    assert again == scenario
    assert again.resolved_yaml() == resolved
    assert [type(value) for value in again.values] == [type(value) for value in scenario.values]


def test_a_long_scenario_resolves_to_one_that_is_not_too_long_to_load() -> None:
    lines = ", ".join(["{round: 2, to: 1, say: retreat}"] * 3_000).replace("}, ", "},\n  ")
    rounds = ",\n ".join(["2"] * 9_000)
    everyone = list(range(1, 255))
    scenario = parse(
        "protocol: signed\nn: 255\nm: 254\ntraitors:\n"
        f"- generals: {everyone}\n  strategy: script\n  with: {{lines: [{lines}]}}\n"
        f"  when: {{rounds: [{rounds}]}}\n"
    )
    assert parse(scenario.resolved_yaml()) == scenario
    assert len(scenario.traitors) == 254


def test_traitors_who_lie_almost_alike_stay_apart() -> None:
    scenario = parse(
        ORAL + "traitors:\n"
        "- {general: 1, strategy: 'tests.attackers:Whatever', with: {x: 1}}\n"
        "- {general: 2, strategy: 'tests.attackers:Whatever', with: {x: true}}\n"
    )
    again = parse(scenario.resolved_yaml())
    assert [type(traitor.params["x"]) for traitor in again.traitors] == [int, bool]


def test_a_resolved_scenario_says_every_field_that_its_protocol_has() -> None:
    fields = YAML(typ="safe", pure=True).load(parse(ORAL, "story").resolved_yaml())
    foreign = {"over", "combiner", "inputs", "teaches", "messages", "chaos", "topology"}
    assert set(fields) == set(Scenario.model_fields) - foreign
    assert fields["delta"] == "500ms"


def test_a_scenario_is_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        parse(ORAL).n = 5


def test_two_scenarios_differ_where_a_field_does() -> None:
    assert parse(ORAL) == parse(ORAL + "seed: 1")
    assert parse(ORAL) != parse(ORAL + "seed: 2")


# The shipped scenarios, and the schema that editors get.


@pytest.mark.parametrize("path", PLAYABLE, ids=lambda path: path.stem)
def test_a_shipped_scenario_loads_and_tells_its_story(path: Path) -> None:
    scenario = load(path)
    assert parse(scenario.resolved_yaml(), path.name) == scenario
    assert path.read_text().startswith("# ")
    assert scenario.name == path.stem
    assert scenario.summary
    assert scenario.reference
    if path.parent.name != "exit-codes":
        assert scenario.expect.outcome is not None


@pytest.mark.parametrize("path", PLAYABLE, ids=lambda path: path.stem)
def test_the_schema_accepts_every_shipped_scenario(path: Path) -> None:
    Draft202012Validator(json_schema()).validate(plain(path))


def test_every_row_that_these_protocols_can_play_is_shipped() -> None:
    shipped = {row for path in PLAYABLE for row in load(path).reference}
    rows = {f"R{number}" for number in range(1, 18)}
    attacks = {"SM2", "SM3", "SM5", "SM6", "SM13", "SM14", "SM15", "SM21", "OM4", "OM6", "OM11"}
    assert rows | attacks <= shipped


def test_the_misspelt_example_is_misspelt_everywhere() -> None:
    [path] = set(SHIPPED) - set(PLAYABLE)
    with pytest.raises(ScenarioError) as refused:
        load(path)
    assert len(refused.value.problems) == 5


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    "wrong",
    [
        {"trators": {"3": "flip"}},
        {"n": "four"},
        {"n": 1},
        {"n": 256},
        {"m": None},
        {"protocol": "orl"},
        {"delta": "soon"},
        {"delta": 0},
        {"values": "nmbers"},
        {"values": ["attack"]},
        {"traitors": {"3": "filp"}},
        {"traitors": {"x": "flip"}},
        {"traitors": [{"general": 3}]},
        {"traitors": [{"strategy": "flip"}]},
        {"traitors": [{"general": 3, "generals": [2], "strategy": "flip"}]},
        {"traitors": [{"general": 3, "strategy": "flip", "when": {"round": [1]}}]},
        {"expect": {"outcome": "passed"}},
        {"expect": {"decisions": {"one": "attack"}}},
        {"expect": {"refused": {"lat": 1}}},
        {"expect": {"ic3": "held"}},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_reader_refuses(wrong: dict[str, Any]) -> None:
    validator = Draft202012Validator(json_schema())
    right = {"protocol": "oral", "n": 4, "m": 1}
    assert validator.is_valid(right)
    assert not validator.is_valid(right | wrong)
    with pytest.raises(ScenarioError):
        from_fields(right | wrong)


@pytest.mark.parametrize("missing", ["protocol", "n", "m"])
def test_the_schema_asks_for_what_every_run_needs(missing: str) -> None:
    fields = {"protocol": "oral", "n": 4, "m": 1}
    del fields[missing]
    assert not Draft202012Validator(json_schema()).is_valid(fields)


def test_the_schema_lets_an_exchange_go_without_m() -> None:
    fields = {"protocol": "exchange", "n": 4, "inputs": "attack"}
    assert Draft202012Validator(json_schema()).is_valid(fields)


# The page for users says what is so.

ROOT = Path(__file__).parents[2]
PAGE = ROOT.joinpath("docs", "scenarios.md").read_text()


def test_the_pages_first_example_can_be_played() -> None:
    example = PAGE.split("```yaml\n")[1].split("```")[0]
    shipped = load(ROOT / "scenarios" / "oral-traitorous-lieutenant.yaml")
    assert parse(example, "oral-traitorous-lieutenant").traitors == shipped.traitors


def test_the_pages_second_example_is_a_list_of_traitors() -> None:
    example = PAGE.split("```yaml\n")[2].split("```")[0]
    scenario = parse("protocol: oral\nn: 10\nm: 3\n" + example)
    assert scenario.faulty == {0, 3, 7}


def test_the_page_shows_the_errors_that_are_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ScenarioError) as refused:
        load("scenarios/exit-codes/2-misspelt.yaml")
    assert f"```\n{refused.value}\n```" in PAGE


def test_the_page_has_every_field_and_every_strategy() -> None:
    fields = [*Scenario.model_fields, *Expect.model_fields, *Trigger.model_fields]
    assert not {name for name in (*fields, *STRATEGIES) if f"`{name}`" not in PAGE}
