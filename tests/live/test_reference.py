"""The worked cases R1 to R18 among operating-system processes: the simulator's own tests, again.

Of R12's 420 runs, all of four and seven generals are played, and every eleventh of ten generals;
with `--exhaustive` all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from node.orders import GeneralId
from orchestrator import trial
from orchestrator.backends.fork_client import ForkServer
from orchestrator.backends.processes import Processes
from orchestrator.results import Result
from tests.paper import test_reference, test_tmr
from tests.paper.test_reference import (  # noqa: F401
    test_r1_a_lying_lieutenant_is_outvoted,
    test_r2_a_lying_commander_is_obeyed_by_all_or_none,
    test_r3_the_majority_of_what_a_commander_said,
    test_r4_three_generals_cannot_bear_one_traitor,
    test_r5_general_1_cannot_tell_which_of_the_two_lied,
    test_r6_a_tie_goes_to_the_default,
    test_r7_one_exchange_does_not_bear_two_traitors,
    test_r8_two_exchanges_do,
    test_r9_two_who_say_retreat_move_nobody,
    test_r10_r11_ten_generals_three_of_them_by_parity,
    test_r10_r11_the_flat_vote,
    test_r12_no_set_of_m_traitors_by_parity_breaks_anything,
    test_r13_a_commander_who_signs_two_orders_is_found_out,
    test_r14_what_loyal_generals_send,
    test_r15_an_order_held_back_to_round_two_still_reaches_everyone,
    test_r16_one_round_fewer_is_one_too_few_for_two_traitors,
    test_r17_sensors_over_interactive_consistency_agree,
    test_r17_sensors_over_one_exchange_disagree,
)
from tests.paper.test_tmr import (  # noqa: F401
    test_a_replica_that_gives_each_voter_another_answer_is_masked,
    test_a_sensor_that_tells_each_replica_another_value_breaks_them,
    test_agreement_on_the_input_first_mends_it,
)
from tests.stage import scenario


@pytest.fixture(autouse=True)
def on_processes(forks: ForkServer, monkeypatch: pytest.MonkeyPatch) -> None:
    def play(
        protocol: str,
        n: int,
        m: int,
        traitors: Mapping[GeneralId, Any] | None = None,
        **fields: Any,
    ) -> Result:
        return trial.play(scenario(protocol, n, m, traitors, **fields), Processes(forks=forks))

    for module in (test_reference, test_tmr):
        monkeypatch.setattr(module, "play", play)


@pytest.fixture
def stride(n: int, request: pytest.FixtureRequest) -> int:
    return 1 if n < 10 or request.config.getoption("--exhaustive") else 11
