"""The traitors: what each strategy makes of what a loyal general would have said."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from node.control import Role
from node.effects import Halt, Lie, Note, Reason, Send, SetTimer
from node.events import Started, TimerFired
from node.journal import Lied
from node.messages import Bundle, Empty, Oral, Signed, SignedOrder
from node.orders import ATTACK, RETREAT, Brief, Domain, Enumerated, GeneralId, Numbers, Value
from node.protocols.catalogue import values_in_frame
from node.signatures import Chains, Signer
from node.traitors import STRATEGIES, Seat, Strategy, parameters, strategy_class, strategy_of
from node.traitors.many_faced import VALUES_MAX
from node.words import body_text
from tests.camp import DELTA_S, Camp, secret_of

ORDERS = Enumerated()
COLOURS = Enumerated(values=("red", "green", "blue"), default="blue")
NUMBERS = Numbers()

RUN = b"run of traitors".ljust(32, b".")
SIGNERS = {general: Signer(secret_of(general)) for general in range(6)}
CHAINS = Chains(RUN, "signed", {general: signer.public for general, signer in SIGNERS.items()})

#: Parameters that make each strategy lie to everyone, in every round.
PARAMETERS: dict[str, dict[str, Any]] = {
    "two-faced": {"faces": {RETREAT: [0, 1, 2, 4, 5]}},
    "script": {"lines": [{"say": RETREAT}]},
    "crasher": {"after": 0},
}


def traitor(
    name: str,
    *,
    me: GeneralId = 3,
    domain: Domain = ORDERS,
    seed: int = 7,
    n: int = 6,
    coalition: tuple[GeneralId, ...] = (),
    trigger: Mapping[str, Any] | None = None,
    over: str | None = None,
    commander: GeneralId = 0,
    **params: Any,
) -> Strategy:
    """A strategy in its seat, with the keys of its coalition."""
    brief = Brief(
        protocol="interactive-consistency" if over else "oral",
        over=over,
        n=n,
        m=2,
        commander=None if over else commander,
        domain=domain,
        delta_s=DELTA_S,
    )
    seat = Seat(me, brief, seed, {g: SIGNERS[g] for g in {me, *coalition}}, CHAINS)
    role = Role(strategy=name, params=params, trigger=dict(trigger or {}), coalition=coalition)
    return strategy_of(role, seat)


def oral(domain: Domain, *values: Value) -> Oral:
    codes = np.array([domain.code(value) for value in values], dtype=domain.dtype)
    return Oral(domain.pack(codes))


def values_of(body: Any, count: int = 1, domain: Domain = ORDERS) -> list[Value]:
    return [domain.value(code) for code in domain.unpack(body.values, count)]


def relay(value: Value = ATTACK, domain: Domain = ORDERS) -> Send:
    """Round 2 of OM: what the commander said, to all other lieutenants of six."""
    return Send((1, 2, 4, 5), 2, oral(domain, value), messages=1, rule="OM-2")


def command(value: Value = ATTACK, domain: Domain = ORDERS) -> Send:
    """Round 1 of SM: the commander's order, still to be signed."""
    order = SignedOrder(domain.token(value), (0,), ())
    return Send((1, 2, 3), 1, Signed((order,)), messages=1, rule="SM-1")


def signed_relay() -> Send:
    """Round 2 of SM: the commander's order under general 3's name, who has still to sign it."""
    first = CHAINS.complete(SignedOrder(ORDERS.token(ATTACK), (0,), ()), 0, SIGNERS)
    order = SignedOrder(first.token, (0, 3), first.signatures)
    return Send((1, 2, 4, 5), 2, Signed((order,)), messages=1, rule="SM-2")


def sends(strategy: Strategy, *said: Send) -> list[Send]:
    """The frames that leave a traitor who should say these."""
    return [e for e in strategy.on_event(Started(0.0), list(said)) if isinstance(e, Send)]


def told(strategy: Strategy, send: Send, domain: Domain = ORDERS) -> dict[GeneralId, Value]:
    """The one value that each receiver hears."""
    return {s.to[0]: values_of(s.body, 1, domain)[0] for s in sends(strategy, send)}


def completed(strategy: Strategy, send: Send) -> dict[GeneralId, list[SignedOrder]]:
    """The signed orders that each receiver hears, with all that the traitor's general can sign."""
    return {
        s.to[0]: [CHAINS.complete(o, 0, strategy.seat.keys) for o in getattr(s.body, "orders", ())]
        for s in sends(strategy, send)
    }


def tokens(orders: list[SignedOrder]) -> list[str]:
    return [order.token.decode().strip('"') for order in orders]


# All of them.


@pytest.mark.parametrize("name", STRATEGIES)
def test_each_strategy_says_in_a_line_what_it_does_and_which_powers_it_uses(name: str) -> None:
    strategy = STRATEGIES[name]
    assert 10 < len(strategy.summary) < 100
    assert strategy.powers


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("send", [relay(), command(), signed_relay()], ids=["oral", "v:0", "v:0:3"])
def test_where_its_trigger_does_not_fire_a_traitor_says_what_he_should(
    name: str, send: Send
) -> None:
    strategy = traitor(name, trigger={"rounds": [9]}, **PARAMETERS.get(name, {}))
    effects = strategy.on_event(Started(0.0), [send, Note("a rule acted", "OM-2")])
    truth = [Send((to,), send.round, send.body, send.messages, send.rule) for to in send.to]
    assert effects == [*truth, Note("a rule acted", "OM-2")]


@pytest.mark.parametrize("name", ["flip", "parity", "two-faced", "script", "silent"])
def test_each_lie_is_entered_with_the_truth_and_who_heard_it(name: str) -> None:
    strategy = traitor(name, **PARAMETERS.get(name, {}))
    lies = [e for e in strategy.on_event(Started(0.0), [relay()]) if isinstance(e, Lie)]
    audience = [2, 4] if name == "parity" else [1, 2, 4, 5]
    assert [(lie.to, lie.round, lie.truth) for lie in lies] == [(to, 2, ATTACK) for to in audience]
    assert {lie.told for lie in lies} == {"nothing" if name == "silent" else RETREAT}
    assert {lie.rule for lie in lies} == {f"lie:{name}"}


def test_a_lie_that_happens_to_be_true_is_not_entered() -> None:
    strategy = traitor("two-faced", faces={ATTACK: [1, 2, 4, 5]})
    assert not any(isinstance(e, Lie) for e in strategy.on_event(Started(0.0), [relay()]))


def test_each_lie_is_entered_as_it_was_told_whatever_was_told_before() -> None:
    """The words of a few bodies are kept, each body's and each round's own."""
    strategy = traitor("random", n=40, domain=Numbers())
    said = Send(tuple(range(4, 40)), 2, oral(Numbers(), 1.5), messages=1, rule="OM-2")
    effects = strategy.on_event(Started(0.0), [said, msgspec.structs.replace(said, to=(4, 5))])
    lies = [e for e in effects if isinstance(e, Lie)]
    told = [values_of(e.body, 1, Numbers())[0] for e in effects if isinstance(e, Send)]
    assert len(lies) == 38
    assert [lie.told for lie in lies] == list(map(str, told))
    assert {lie.truth for lie in lies} == {"1.5"}
    brief = strategy.seat.brief
    for round in (2, 3, 4, 2):
        body = oral(Numbers(), *[0.5] * values_in_frame(brief, round))
        assert strategy.describe(body, round) == body_text(body, brief, round)
        assert strategy.describe(oral(Numbers(), 0.5), round) == (
            body_text(oral(Numbers(), 0.5), brief, round)
        )


def test_what_was_put_into_words_is_so_once_for_all_receivers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Oral] = []

    def counted(body: Oral, brief: Brief, round: int) -> str:
        found.append(body)
        return body_text(body, brief, round)

    monkeypatch.setattr("node.traitors.traitor.body_text", counted)
    assert len(sends(traitor("parity"), relay())) == 4
    assert found == [oral(ORDERS, ATTACK), oral(ORDERS, RETREAT)]


CAMPS = {
    "oral": {},
    "signed": {"protocol": "signed"},
    "consistency over oral": {"protocol": "interactive-consistency", "over": "oral"},
    "consistency over signed": {"protocol": "interactive-consistency", "over": "signed"},
}


@pytest.mark.parametrize("camp_of", CAMPS.values(), ids=CAMPS)
@pytest.mark.parametrize("liar", [0, 3])
@pytest.mark.parametrize("name", STRATEGIES)
def test_theorems_1_and_2_no_strategy_of_one_traitor_among_four_breaks_a_promise(
    name: str, liar: GeneralId, camp_of: dict[str, Any]
) -> None:
    """IC1 always; IC2 where the commander is loyal."""
    params = PARAMETERS.get(name, {})
    camp = Camp(**camp_of, roles={liar: Role(strategy=name, params=params)}).meet().play()
    loyal = {camp.values()[g] for g in range(4) if g != liar}
    assert len(loyal) == 1
    if liar != 0:
        assert loyal == {ATTACK}
    assert not any(isinstance(e, Lied) for g in {1, 2} for e in camp[g].journal.entries)


# flip, parity, two-faced, silent, random.


def test_flip_says_the_opposite_to_all() -> None:
    assert told(traitor("flip"), relay()) == dict.fromkeys((1, 2, 4, 5), RETREAT)
    assert told(traitor("flip"), relay(RETREAT)) == dict.fromkeys((1, 2, 4, 5), ATTACK)


def test_flip_says_the_next_of_three_values_and_the_negative_of_a_number() -> None:
    colours, numbers = traitor("flip", domain=COLOURS), traitor("flip", domain=NUMBERS)
    assert told(colours, relay("red", COLOURS), COLOURS)[1] == "green"
    assert told(colours, relay("blue", COLOURS), COLOURS)[1] == "red"
    assert told(numbers, relay(2.5, NUMBERS), NUMBERS)[1] == -2.5
    assert told(numbers, relay(0.0, NUMBERS), NUMBERS)[1] == 1.0


def test_flip_changes_every_value_of_an_array() -> None:
    send = Send((1,), 3, oral(ORDERS, ATTACK, RETREAT, ATTACK, RETREAT), messages=3, rule="OM-2")
    (sent,) = sends(traitor("flip"), send)
    assert values_of(sent.body, 4) == [RETREAT, ATTACK, RETREAT, ATTACK]
    assert sent.messages == 3


def test_a_commander_who_flips_signs_the_opposite() -> None:
    orders = completed(traitor("flip", me=0), command())
    for to in (1, 2, 3):
        assert tokens(orders[to]) == [RETREAT]
        assert CHAINS.verify(orders[to][0], 0)


def test_a4_a_lieutenant_who_flips_a_signed_order_breaks_its_signature() -> None:
    orders = completed(traitor("flip"), signed_relay())
    assert tokens(orders[1]) == [RETREAT]
    assert not CHAINS.verify(orders[1][0], 0)


def test_parity_says_the_truth_to_odd_generals_and_the_opposite_to_even_ones() -> None:
    assert told(traitor("parity"), relay()) == {1: ATTACK, 2: RETREAT, 4: RETREAT, 5: ATTACK}
    orders = completed(traitor("parity", me=0), command())
    assert {to: tokens(o) for to, o in orders.items()} == {1: [ATTACK], 2: [RETREAT], 3: [ATTACK]}
    assert all(CHAINS.verify(o[0], 0) for o in orders.values())


def test_two_faced_shows_each_general_his_face_and_the_rest_the_truth() -> None:
    strategy = traitor("two-faced", faces={ATTACK: [2, 4], RETREAT: 5})
    assert told(strategy, relay()) == {1: ATTACK, 2: ATTACK, 4: ATTACK, 5: RETREAT}
    commander = traitor("two-faced", me=0, faces={RETREAT: [2]})
    orders = completed(commander, command())
    assert {to: tokens(o) for to, o in orders.items()} == {1: [ATTACK], 2: [RETREAT], 3: [ATTACK]}


@pytest.mark.parametrize(
    ("faces", "fault"),
    [
        ({"charge": [1]}, "'charge' is not in the domain"),
        ({ATTACK: [1, 2], RETREAT: [2]}, "general 2 is shown two faces"),
    ],
)
def test_two_faced_refuses_faces_that_cannot_be_shown(faces: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        traitor("two-faced", faces=faces)


@pytest.mark.parametrize("send", [relay(), signed_relay()], ids=["oral", "signed"])
def test_silent_sends_no_frame(send: Send) -> None:
    assert sends(traitor("silent"), send) == []


def test_random_says_the_same_for_the_same_seed_and_depends_on_receiver_and_round() -> None:
    def heard(seed: int, round: int = 3) -> list[Oral]:
        send = Send((1, 2, 4, 5), round, oral(ORDERS, *[ATTACK] * 4), messages=3, rule="OM-2")
        return [s.body for s in sends(traitor("random", seed=seed), send)]

    assert heard(7) == heard(7)
    assert len({tuple(heard(seed)) for seed in range(8)}) > 1
    assert len(set(heard(7) + heard(8))) > 1


@pytest.mark.parametrize("domain", [COLOURS, NUMBERS], ids=["colours", "numbers"])
def test_random_says_values_of_the_domain_all_of_them_sooner_or_later(domain: Domain) -> None:
    send = relay(domain.default, domain)
    heard = [told(traitor("random", domain=domain, seed=s), send, domain) for s in range(20)]
    values = {value for h in heard for value in h.values()}
    assert all(domain.contains(value) for value in values)
    assert values == set(COLOURS.values) if domain is COLOURS else len(values) == 80


def test_a_commander_who_is_random_signs_what_he_says() -> None:
    orders = completed(traitor("random", me=0), command())
    assert all(CHAINS.verify(o[0], 0) for o in orders.values())


# forger, many-faced.


@pytest.mark.parametrize("send", [command(), signed_relay()], ids=["v:0", "v:0:3"])
def test_forger_alters_a_signed_order_and_keeps_signatures_that_were_good(send: Send) -> None:
    strategy = traitor("forger", me=0 if send.round == 1 else 3)
    (forged,) = completed(strategy, send)[1]
    assert tokens([forged]) == [RETREAT]
    true = SignedOrder(ORDERS.token(ATTACK), forged.signers, forged.signatures)
    assert CHAINS.verify(true, 0)
    assert not CHAINS.verify(forged, 0)


def test_forger_flips_oral_values() -> None:
    assert set(told(traitor("forger"), relay()).values()) == {RETREAT}


def test_many_faced_signs_as_many_distinct_values_as_he_likes() -> None:
    strategy = traitor("many-faced", me=0, values=50)
    orders = completed(strategy, command())[1]
    assert len(set(tokens(orders))) == 50
    assert tokens(orders)[:3] == [RETREAT, ATTACK, "order-2"]
    assert all(CHAINS.verify(order, 0) for order in orders)
    assert [s.messages for s in sends(strategy, command())] == [50, 50, 50]


def test_many_faced_relays_truly_and_orally_shows_another_value_to_each() -> None:
    strategy = traitor("many-faced", values=3, domain=COLOURS)
    assert sends(traitor("many-faced"), signed_relay())[0].body == signed_relay().body
    heard = told(strategy, relay("red", COLOURS), COLOURS)
    assert heard == {1: "green", 2: "blue", 4: "green", 5: "blue"}


@pytest.mark.parametrize("values", [0, -1, VALUES_MAX + 1])
def test_many_faced_has_one_face_at_least_and_a_bounded_number(values: int) -> None:
    with pytest.raises(ValueError, match=f"values is {values}, not within 1 and {VALUES_MAX}"):
        traitor("many-faced", values=values)
    for within in (1, VALUES_MAX):
        assert traitor("many-faced", values=within)


# replayer, delayer, crasher.


def test_replayer_sends_the_last_rounds_frame_again_as_it_was_and_as_if_new() -> None:
    strategy = traitor("replayer", me=3)
    first = Send((1,), 2, oral(ORDERS, ATTACK), messages=1, rule="OM-2")
    second = Send((1,), 3, oral(ORDERS, *[RETREAT] * 4), messages=3, rule="OM-2")
    assert sends(strategy, first) == [first]
    assert [(s.round, s.body) for s in sends(strategy, second)] == [
        (2, first.body),
        (3, first.body),
        (3, second.body),
    ]


@pytest.mark.parametrize("protocol", ["oral", "signed"])
def test_replayer_is_refused_as_late_and_as_a_duplicate(protocol: str) -> None:
    camp = Camp(7, 2, protocol=protocol, roles={3: Role(strategy="replayer")}).meet().play()
    refused = {reason for (sender, reason) in camp.refusals(1) if sender == 3}
    assert {Reason.LATE, Reason.DUPLICATE} <= refused
    assert {camp.values()[g] for g in (1, 2, 4, 5, 6)} == {ATTACK}


def test_delayer_holds_each_frame_until_after_its_rounds_deadline() -> None:
    strategy = traitor("delayer", late_ms=250)
    effects = strategy.on_event(Started(10.0), [relay()])
    timers = [e for e in effects if isinstance(e, SetTimer)]
    assert {timer.at_s for timer in timers} == {10.0 + 2 * DELTA_S + 0.25}
    assert not any(isinstance(e, Send) for e in effects)
    assert [e.told for e in effects if isinstance(e, Lie)] == ["the same, late"] * 4
    released = [strategy.on_event(TimerFired(timer.name), []) for timer in timers]
    assert released == [[Send((to,), 2, relay().body, 1, "OM-2")] for to in relay().to]
    assert strategy.on_event(TimerFired(timers[0].name), []) == []


@pytest.mark.parametrize(("late_ms", "decision"), [(50, RETREAT), (-1, ATTACK)])
def test_delayer_late_by_a_moment_is_absent_and_early_by_a_moment_is_heard(
    late_ms: float, decision: Value
) -> None:
    roles = {0: Role(strategy="delayer", params={"late_ms": late_ms})}
    camp = Camp(protocol="signed", roles=roles).meet().play()
    assert {camp.values()[g] for g in (1, 2, 3)} == {decision}
    assert camp.refusals(1) == ({(0, Reason.LATE): 1} if late_ms > 0 else {})


def test_crasher_reaches_so_many_generals_in_his_round_and_nobody_afterwards() -> None:
    strategy = traitor("crasher", round=2, after=2)
    early = Send((1, 2, 4, 5), 1, oral(ORDERS, ATTACK), messages=1, rule="OM-2")
    assert [s.to for s in sends(strategy, early)] == [(1,), (2,), (4,), (5,)]
    effects = strategy.on_event(Started(0.0), [relay(), Note("never reached", "OM-2")])
    assert [e.to for e in effects[:-1] if isinstance(e, Send)] == [(1,), (2,)]
    assert effects[-1] == Halt(rule="lie:crasher")
    assert strategy.on_event(TimerFired("deadline"), [relay()]) == []


def test_crasher_as_commander_leaves_the_order_with_some() -> None:
    """CH7: crashed between two sends, he is a faulty commander, and IC1 holds."""
    for after in range(4):
        role = Role(strategy="crasher", params={"round": 1, "after": after})
        camp = Camp(roles={0: role}).meet().play()
        assert {camp.values()[g] for g in (1, 2, 3)} == {ATTACK if after >= 2 else RETREAT}
        assert camp.values()[0] is (ATTACK if after == 3 else None)


# script.


def script(*lines: Mapping[str, Any], **seat: Any) -> Strategy:
    return traitor("script", lines=lines, **seat)


#: Round 3 at general 3 of six: what 1, 2, 4, 5 told him of commander 0, in this order.
LEVEL_3 = Send((1, 2), 3, oral(ORDERS, *[ATTACK] * 4), messages=3, rule="OM-2")


def level_3(strategy: Strategy) -> dict[GeneralId, list[Value]]:
    return {s.to[0]: values_of(s.body, 4) for s in sends(strategy, LEVEL_3)}


UNTOUCHED = [ATTACK] * 4


def test_script_says_a_value_to_one_general_in_one_round() -> None:
    strategy = script({"round": 2, "to": 1, "say": RETREAT})
    assert told(strategy, relay()) == {1: RETREAT, 2: ATTACK, 4: ATTACK, 5: ATTACK}
    assert level_3(strategy) == {1: UNTOUCHED, 2: UNTOUCHED}


def test_script_says_a_value_to_several_and_without_to_or_round_to_all_and_always() -> None:
    several = script({"to": [2, 4], "say": RETREAT})
    assert told(several, relay()) == {1: ATTACK, 2: RETREAT, 4: RETREAT, 5: ATTACK}
    always = script({"say": RETREAT})
    assert set(told(always, relay()).values()) == {RETREAT}
    assert level_3(always) == {1: [RETREAT] * 4, 2: [RETREAT] * 4}


@pytest.mark.parametrize(("between", "place"), [(1, 0), (2, 1), (4, 2), (5, 3)])
def test_script_says_a_value_of_one_path_and_leaves_the_others_true(
    between: GeneralId, place: int
) -> None:
    expected = [*UNTOUCHED]
    expected[place] = RETREAT
    assert level_3(script({"to": 1, "path": [0, between, 3], "say": RETREAT})) == {
        1: expected,
        2: UNTOUCHED,
    }


def test_script_a_longer_path_is_one_value_of_many() -> None:
    """Round 4 at general 3 of six: of 12 paths, 4 then told him of 1, who told him of 0."""
    send = Send((2,), 4, oral(ORDERS, *[ATTACK] * 12), messages=6, rule="OM-2")
    (sent,) = sends(script({"path": [0, 1, 4, 3], "say": RETREAT}), send)
    changed = [at for at, value in enumerate(values_of(sent.body, 12)) if value == RETREAT]
    # 1 is the first of 1, 2, 4, 5; then 4 is the second of 2, 4, 5.
    assert changed == [0 + 4 * 1]


def test_script_a_path_is_read_where_another_than_general_0_commands() -> None:
    strategy = script({"path": [4, 1, 3], "say": RETREAT}, over="oral")
    body = Bundle(tuple(oral(ORDERS, *[ATTACK] * 4) for _ in range(6)))
    (sent,) = sends(strategy, Send((1,), 3, body, messages=18, rule="OM-2"))
    changed = [values_of(part, 4) for part in sent.body.parts]
    expected = [[*UNTOUCHED] for _ in range(6)]
    expected[4][1] = RETREAT
    assert changed == expected


@pytest.mark.parametrize("say", [RETREAT, None])
@pytest.mark.parametrize("path", [[3], [0, 3], [0, 1, 2, 3], [0, 1, 2, 4, 3]])
def test_script_a_path_of_another_length_than_the_round_touches_nothing(
    path: list[GeneralId], say: Value | None
) -> None:
    assert level_3(script({"path": path, "say": say})) == {1: UNTOUCHED, 2: UNTOUCHED}


@pytest.mark.parametrize("say", [RETREAT, None])
def test_script_a_path_of_several_touches_nothing_in_round_1(say: Value | None) -> None:
    first = Send((1, 2, 3), 1, oral(ORDERS, ATTACK), messages=1, rule="OM-1")
    commander = script({"path": [1, 0], "say": say}, me=0)
    assert told(commander, first) == {1: ATTACK, 2: ATTACK, 3: ATTACK}
    assert told(script({"path": [0], "say": RETREAT}, me=0), first) == dict.fromkeys(
        (1, 2, 3), RETREAT
    )


@pytest.mark.parametrize(
    "path", [[], [0, 99, 3], [0, -1, 3], [0, 3, 3], [0, 1, 1, 3], [0, 1, 2]], ids=str
)
def test_script_a_path_that_can_never_be_his_is_refused_at_once(path: list[GeneralId]) -> None:
    with pytest.raises(ValueError, match="line 2 of the script: the path"):
        script({"say": ATTACK}, {"path": path, "say": RETREAT})


def test_script_a_line_of_one_instance_touches_no_other() -> None:
    strategy = script({"instance": 1, "say": RETREAT}, over="oral")
    body = Bundle((oral(ORDERS, ATTACK), oral(ORDERS, ATTACK), Empty()))
    (sent,) = sends(strategy, Send((1,), 2, body, messages=2, rule="OM-2"))
    assert sent.body == Bundle((oral(ORDERS, ATTACK), oral(ORDERS, RETREAT), Empty()))


def test_script_silence_in_one_instance_leaves_the_others_their_say() -> None:
    strategy = script({"instance": 1, "say": None}, over="oral")
    body = Bundle((oral(ORDERS, ATTACK), oral(ORDERS, ATTACK), Empty()))
    (sent,) = sends(strategy, Send((1,), 2, body, messages=2, rule="OM-2"))
    assert sent.body == Bundle((oral(ORDERS, ATTACK), Empty(), Empty()))


def test_script_silence_sends_no_frame_to_whom_it_is_for() -> None:
    strategy = script({"round": 2, "to": 2, "say": None})
    assert [s.to for s in sends(strategy, relay())] == [(1,), (4,), (5,)]


def test_script_a_chain_is_said_as_prescribed_in_place_of_what_was_due() -> None:
    """Case R15: 3, who holds 0's key, gives retreat:0:3 to 1 alone."""
    line = {"round": 2, "to": 1, "chain": [0, 3], "say": RETREAT}
    orders = completed(script(line, coalition=(0, 3)), signed_relay())
    assert [str(order) for order in orders[1]] == ["retreat:0:3"]
    assert all(CHAINS.verify(order, 0) for order in orders[1])
    assert tokens(orders[2]) == [ATTACK]


def test_script_a_chain_is_signed_in_the_instance_of_whoever_commands() -> None:
    line = {"chain": [2, 3], "say": RETREAT}
    (sent, *_) = sends(script(line, coalition=(2, 3), commander=2), signed_relay())
    (order,) = sent.body.orders
    assert CHAINS.verify(order, 2)


def test_script_of_several_chains_all_are_said() -> None:
    lines = [{"chain": [0, 3], "say": value} for value in (RETREAT, ATTACK, "charge")]
    orders = completed(script(*lines, coalition=(0, 3)), signed_relay())
    assert tokens(orders[1]) == [RETREAT, ATTACK, "charge"]


def test_script_signatures_that_nobody_in_the_coalition_can_give_are_zeros() -> None:
    line = {"chain": [0, 2, 3], "say": RETREAT}
    ((order,), *_) = completed(script(line), signed_relay()).values()
    assert order.signatures == (bytes(64),) * 3
    assert not CHAINS.verify(order, 0)


def test_script_without_a_chain_alters_a_signed_order_in_place() -> None:
    orders = completed(script({"to": 1, "say": RETREAT}), signed_relay())
    assert (tokens(orders[1]), tokens(orders[2])) == ([RETREAT], [ATTACK])
    assert not CHAINS.verify(orders[1][0], 0)


def test_script_a_path_names_one_signed_order_by_its_signers() -> None:
    first, second = (SignedOrder(b'"attack"', (0, g, 3), (bytes(64),) * 2) for g in (1, 2))
    send = Send((4,), 3, Signed((first, second)), messages=2, rule="SM-2")
    (sent,) = sends(script({"path": [0, 2, 3], "say": RETREAT}), send)
    assert [str(order) for order in sent.body.orders] == ["attack:0:1:3", "retreat:0:2:3"]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ({"say": "charge"}, "line 1 of the script: 'charge' is not in the domain"),
        ({"say": ATTACK, "two": 1}, "line 1 of the script: .*unknown field `two`"),
        ({"to": 1}, "line 1 of the script: .*missing required field `say`"),
        ({"say": ATTACK, "to": "one"}, "line 1 of the script: .*at `[$].to`"),
    ],
)
def test_script_a_line_that_means_nothing_is_refused(line: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        script(line)


def test_script_a_chain_of_what_is_no_number_is_refused_where_numbers_are_signed() -> None:
    with pytest.raises(ValueError, match="line 1 of the script"):
        script({"chain": [0, 3], "say": "charge"}, domain=NUMBERS)


# Triggers.


def audience(trigger: dict[str, Any], round: int = 2, seed: int = 7) -> list[GeneralId]:
    """Who is lied to."""
    send = Send((1, 2, 4, 5), round, oral(ORDERS, ATTACK), messages=1, rule="OM-2")
    heard = told(traitor("flip", trigger=trigger, seed=seed), send)
    return [general for general, value in heard.items() if value == RETREAT]


def test_a_trigger_of_rounds_fires_in_those_alone() -> None:
    assert [audience({"rounds": [1, 2]}, round) for round in (1, 2)] == [[1, 2, 4, 5]] * 2
    assert audience({"rounds": [1]}, 2) == []


def test_a_trigger_of_receivers_fires_for_those_alone() -> None:
    assert audience({"to": [2, 5]}) == [2, 5]
    assert audience({"to": [2, 5], "rounds": [1]}) == []


def test_a_trigger_of_probability_is_the_same_for_the_same_seed_and_about_as_often() -> None:
    assert audience({"probability": 0.0}) == []
    assert audience({"probability": 1.0}) == [1, 2, 4, 5]
    half = [tuple(audience({"probability": 0.5}, 1 + s % 2, s)) for s in range(100)]
    assert half == [tuple(audience({"probability": 0.5}, 1 + s % 2, s)) for s in range(100)]
    assert 150 < sum(map(len, half)) < 250


def test_a_trigger_of_probability_draws_anew_for_each_receiver_and_round() -> None:
    drawn = {tuple(audience({"probability": 0.5}, round)) for round in range(1, 9)}
    assert len(drawn) > 2
    assert any(0 < len(lied_to) < 4 for lied_to in drawn)


@pytest.mark.parametrize(
    ("trigger", "fault"),
    [
        ({"probability": 1.5}, "trigger: probability is 1.5, not within 0 and 1"),
        ({"probability": -0.1}, "trigger: probability is -0.1, not within 0 and 1"),
        ({"round": [1]}, "trigger: .*unknown field `round`"),
        ({"rounds": 1}, "trigger: .*`[$].rounds`"),
        ({"to": ["one"]}, "trigger: .*`[$].to"),
    ],
)
def test_a_trigger_that_means_nothing_is_refused(trigger: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        traitor("flip", trigger=trigger)


# Names and parameters.


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("flipp", "did you mean 'flip'?"),
        ("twofaced", "did you mean 'two-faced'?"),
        ("manyfaced", "did you mean 'many-faced'?"),
        ("zzz", "there are flip, parity"),
    ],
)
def test_an_unknown_strategy_gets_a_suggestion(name: str, hint: str) -> None:
    with pytest.raises(ValueError, match=f"no strategy is called '{name}'") as fault:
        strategy_class(name)
    assert hint in str(fault.value)


def test_an_unknown_parameter_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"takes no parameter 'lat_ms': did you mean 'late_ms'?"):
        traitor("delayer", lat_ms=5)
    with pytest.raises(ValueError, match=r"strategy 'flip' takes no parameter 'round'$"):
        traitor("flip", round=5)


def test_a_missing_parameter_is_named() -> None:
    with pytest.raises(ValueError, match=r"strategy 'two-faced'.*'faces'"):
        traitor("two-faced")


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("crasher", {"round": "two"}),
        ("crasher", {"after": [1]}),
        ("delayer", {"late_ms": "soon"}),
        ("many-faced", {"values": "many"}),
        ("many-faced", {"values": 1.5}),
        ("two-faced", {"faces": 3}),
        ("two-faced", {"faces": {ATTACK: "one"}}),
        ("script", {"lines": 3}),
        ("script", {"lines": ["say attack"]}),
    ],
)
def test_a_parameter_of_a_wrong_type_is_refused_before_the_run(
    name: str, params: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=f"strategy '{name}'|line 1 of the script"):
        traitor(name, **params)


def test_the_parameters_of_a_strategy_are_known_with_their_defaults() -> None:
    assert parameters(STRATEGIES["delayer"]) == {"late_ms": 50.0}
    assert parameters(STRATEGIES["crasher"]) == {"round": 1, "after": 1}
    assert parameters(STRATEGIES["flip"]) == {}


OWN = """
from node.traitors import Power, Strategy


class Stubborn(Strategy):
    summary = "says the same whatever happens"
    powers = frozenset({Power.ALTER})

    def __init__(self, seat, *, value: "Unheard" = "retreat"):
        super().__init__(seat)
        self.value = value

    def lie(self, codes, to, round):
        return codes * 0 + self.domain.code(self.value)


class Stranger:
    pass
"""


@pytest.fixture
def own_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "stubborn_traitor.py").write_text(OWN)
    (tmp_path / "broken_traitor.py").write_text("class Half(")
    monkeypatch.syspath_prepend(tmp_path)
    return "stubborn_traitor"


def test_a_users_own_strategy_is_loaded_from_module_and_class(own_module: str) -> None:
    strategy = traitor(f"{own_module}:Stubborn", value=RETREAT)
    assert set(told(strategy, relay()).values()) == {RETREAT}
    assert strategy.name == f"{own_module}:Stubborn"
    with pytest.raises(ValueError, match=r"did you mean 'value'?"):
        traitor(f"{own_module}:Stubborn", valu=RETREAT)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("stubborn_traitor:Nobody", "cannot load the strategy"),
        ("no_such_module:Nobody", "cannot load the strategy"),
        ("broken_traitor:Half", "cannot load the strategy"),
        (":Nobody", "cannot load the strategy"),
        ("stubborn_traitor:", "cannot load the strategy"),
        ("stubborn_traitor:Stranger", "is no subclass"),
        ("os:getcwd", "is no subclass"),
    ],
)
def test_what_is_no_strategy_is_refused(own_module: str, name: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        strategy_class(name)
