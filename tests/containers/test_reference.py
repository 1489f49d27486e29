"""The worked cases R1 to R12 among containers, by the simulator's own tests; and what is shipped.

They are played by lasting clusters, so that every run has other traitors among the same generals.
Of R12's runs there are as many as among processes, with `--exhaustive` all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from node.orders import GeneralId
from orchestrator import camp, trial
from orchestrator.backends.lasting import Lasting
from orchestrator.results import Result
from orchestrator.scenario import load
from tests.containers.shipped import BY_CLUSTERS, hosts_where_it_is_as_in_the_simulator
from tests.live.test_reference import stride  # noqa: F401
from tests.paper import test_reference
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
)
from tests.stage import scenario


@pytest.fixture(autouse=True)
def on_containers(cluster_of: Callable[[int], camp.Found], monkeypatch: pytest.MonkeyPatch) -> None:
    def play(
        protocol: str,
        n: int,
        m: int,
        traitors: Mapping[GeneralId, Any] | None = None,
        **fields: Any,
    ) -> Result:
        return trial.play(scenario(protocol, n, m, traitors, **fields), Lasting(cluster_of(n)))

    monkeypatch.setattr(test_reference, "play", play)


@pytest.mark.parametrize("path", BY_CLUSTERS, ids=lambda path: path.stem)
def test_a_shipped_scenario_is_the_same_on_a_lasting_cluster_as_in_the_simulator(
    cluster_of: Callable[[int], camp.Found], path: Path, tmp_path: Path
) -> None:
    """Those that `test_backend.py` does not play on containers of their own."""
    cluster = cluster_of(load(path).n)
    hosts = hosts_where_it_is_as_in_the_simulator(path, Lasting(cluster), tmp_path)
    assert hosts == {general: one["Id"][:12] for general, one in cluster.container_of().items()}
