"""What a compose file says, without an engine: the shipped ones are those that are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from orchestrator import quarters
from orchestrator.__main__ import byzantine
from orchestrator.cli import scenarios
from orchestrator.compose import Uncomposable, compose_file
from orchestrator.scenario import Scenario, from_fields, load

SHIPPED = sorted(Path(__file__).parents[2].joinpath("compose").glob("*.yaml"))

SULK = """
from node.traitors import Power, Strategy

class Sulk(Strategy):
    summary = "says nothing"
    powers = frozenset({Power.WITHHOLD})
"""


def read(text: str) -> dict[str, Any]:
    document: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return document


def scenario(**fields: Any) -> Scenario:
    return from_fields(
        {"name": "a", "protocol": "oral", "n": 4, "m": 1, "order": "attack"} | fields
    )


def test_there_are_shipped_files_of_the_stories_that_people_ask_for() -> None:
    names = {file.stem for file in SHIPPED}
    assert {
        "oral-traitorous-lieutenant",
        "signed-two-faced-commander",
        "oral-ten-generals",
    } <= names


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_file_is_what_its_scenario_gives(file: Path) -> None:
    """After a change: byzantine compose NAME --out compose/NAME.yaml."""
    text = compose_file(scenarios.load(file.stem), f"compose/{file.name}", "..")
    assert file.read_text("utf-8") == text


def test_each_general_is_alone_with_the_orchestrator_on_his_orders() -> None:
    services = read(compose_file(scenario(), "a.yaml", None))["services"]
    shared = [set(volumes(services[f"general-{g}"])) for g in range(4)]
    assert all(len(own) == 1 for own in shared)
    assert len(set.union(*shared)) == 4
    assert set(volumes(services["orchestrator"])) == set.union(*shared)


def volumes(service: dict[str, Any]) -> list[str]:
    return [volume.partition(":")[0] for volume in service["volumes"]]


def test_generals_are_given_no_more_than_a_camp_gives() -> None:
    services = read(compose_file(scenario(), "a.yaml", None))["services"]
    for g in range(4):
        general = services[f"general-{g}"]
        assert general["mem_limit"] == general["memswap_limit"] == quarters.MEMORY_BYTES
        assert general["read_only"] is True
        assert general["user"] == quarters.USER
        assert not {"ports", "cap_add", "privileged", "env_file", "secrets"} & general.keys()


def test_both_networks_lead_nowhere_and_the_orchestrator_is_not_on_the_field() -> None:
    document = read(compose_file(scenario(), "a.yaml", None))
    assert document["networks"] == {"field": {"internal": True}, "command": {"internal": True}}
    assert document["services"]["orchestrator"]["networks"] == ["command"]


def test_the_scenario_inside_is_the_scenario(tmp_path: Path) -> None:
    """A dollar would be a variable to compose, which takes two of them for one."""
    odd = scenario(values=["a$b", "${HOME}", "c: d"], default="c: d", order="${HOME}")
    content = read(compose_file(odd, "a.yaml", None))["configs"]["scenario"]["content"]
    file = tmp_path / "odd.yaml"
    file.write_text(content.replace("$$", "$"), "utf-8")
    assert load(file) == odd


def test_without_a_checkout_nothing_is_built() -> None:
    services = read(compose_file(scenario(), "a.yaml", None))["services"]
    assert not any("build" in service for service in services.values())


def test_a_strategy_of_ones_own_is_refused_because_no_image_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sulking.py").write_text(SULK)
    monkeypatch.syspath_prepend(tmp_path)
    own = scenario(traitors=[{"general": 3, "strategy": "sulking:Sulk"}])
    with pytest.raises(Uncomposable, match="sulking:Sulk is a strategy of your own"):
        compose_file(own, "a.yaml", None)


def test_a_scenario_that_does_not_exist_is_refused() -> None:
    done = CliRunner().invoke(byzantine, ["compose", "oral-nobody"])
    assert done.exit_code == 2
    assert "no shipped scenario of that name" in done.output
