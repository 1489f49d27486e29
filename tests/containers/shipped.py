"""The shipped scenarios among containers: one of each size has containers of its own, the others
are played by lasting clusters."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orchestrator import trial
from orchestrator.backends.containers import Containers
from orchestrator.backends.simulation import Simulation
from orchestrator.expectation import unmet
from orchestrator.scenario import load
from tests.live.test_backends_agree import SHIPPED, comes_to


def _generals(path: Path) -> int:
    """As many as a scenario has. Reading all of it would take every session of pytest a while."""
    (n,) = re.findall(r"^n: (\d+)$", path.read_text(), re.MULTILINE)
    return int(n)


#: The last by name of each size.
ALONE = list({_generals(path): path for path in SHIPPED}.values())
#: By size, so that whoever is handed a part of them puts few clusters up; the smallest come last,
#: of which he is handed some who has nothing else to do.
BY_CLUSTERS = sorted(set(SHIPPED) - set(ALONE), key=lambda path: (-_generals(path), path))


def hosts_where_it_is_as_in_the_simulator(
    path: Path, backend: Containers, out: Path
) -> dict[int, str]:
    """Whose container was whose, in a run that came to all that a simulated one comes to."""
    scenario = load(path)
    simulated = trial.play(scenario, Simulation())
    real = trial.play(scenario, backend, out)
    assert comes_to(real) == comes_to(simulated)
    assert unmet(real) == []
    assert real.path is not None
    run = json.loads((real.path / "run.json").read_text())
    assert run["backend"] == "containers"
    hosts = {int(general): id for general, id in run["hosts"].items()}
    assert len(set(hosts.values())) == scenario.n
    assert all(re.fullmatch("[0-9a-f]{12}", id) for id in hosts.values())
    return hosts
