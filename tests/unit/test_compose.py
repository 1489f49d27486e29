"""What a compose file says, without an engine: the shipped ones are those that are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from node.protocols.pbft.configuration import Configuration
from orchestrator import quarters
from orchestrator.__main__ import byzantine
from orchestrator.cli import scenarios
from orchestrator.compose import Uncomposable, compose_file
from orchestrator.replication import composing
from orchestrator.replication.desks import Plan
from orchestrator.scenario import Scenario, from_fields, load

FOLDER = Path(__file__).parents[2] / "compose"
KV = FOLDER / "kv.yaml"
SHIPPED = sorted(set(FOLDER.glob("*.yaml")) - {KV})

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


# Replicas of the key-value store.


def kv(n: int = 4, casting: dict[int, str] | None = None, **switches: Any) -> dict[str, Any]:
    plan = Plan(16, Configuration(n=n, **switches))
    return read(composing.compose_file(plan, casting or {}, "a.yaml", None))


def test_the_shipped_store_is_what_the_command_writes() -> None:
    """After a change: byzantine compose --service kv --out compose/kv.yaml."""
    plan = Plan(16, Configuration(n=4))
    assert KV.read_text("utf-8") == composing.compose_file(plan, {}, "compose/kv.yaml", "..")


def test_the_command_writes_what_its_options_say() -> None:
    words = ["--service", "kv", "-n", "7", "--auth", "signatures", "--traitor", "3=liar"]
    done = CliRunner().invoke(byzantine, ["compose", *words, "--no-build"])
    assert done.exit_code == 0, done.output
    assert read(done.output) == kv(7, {3: "liar"}, authentication="signatures")
    assert "--traitor 3=liar" in done.output


@pytest.mark.parametrize("n", [4, 7])
def test_nobody_but_a_replica_has_its_volume(n: int) -> None:
    document = kv(n)
    services = document["services"]
    for replica in range(n):
        named = f"replica-{replica}"
        users = [one for one in services if named in volumes(services[one])]
        assert users == [named]
        desk = [one for one in services if f"desk-{replica}" in volumes(services[one])]
        assert desk == [named, "client"]
    assert set(document["volumes"]) == {v for one in services.values() for v in volumes(one)}


def test_replicas_are_given_what_a_camp_gives_and_publish_nothing() -> None:
    document = kv()
    assert document["networks"] == {"field": {"internal": True}, "command": {"internal": True}}
    assert document["services"]["client"]["networks"] == ["command"]
    for replica in range(4):
        one = document["services"][f"replica-{replica}"]
        assert one["mem_limit"] == one["memswap_limit"] == quarters.REPLICA_MEMORY_BYTES
        assert (one["read_only"], one["user"]) == (True, quarters.USER)
        assert not {"ports", "cap_add", "privileged", "env_file", "secrets"} & one.keys()


def test_a_traitor_is_told_his_strategy_and_nobody_else_is() -> None:
    commands = [kv(4, {2: "liar"})["services"][f"replica-{r}"]["command"] for r in range(4)]
    assert [command[-1] for command in commands] == ["/run/desk", "/run/desk", "liar", "/run/desk"]


def test_the_plan_says_what_is_not_usual() -> None:
    content = kv(timeout_s=2.5, is_durable=False)["configs"]["plan"]["content"]
    wanted = {"n": 4, "is_durable": False, "timeout_s": 2.5}
    assert read(content) == {"clients": 16, "configuration": wanted}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "a SCENARIO is wanted, or --service kv"),
        (["a", "--service", "kv"], "a SCENARIO is wanted, or --service kv"),
        (["--service", "mine:Counter"], "the images hold kv alone"),
        (["--service", "kv", "-n", "3"], "three replicas survive none"),
        (["--service", "kv", "--traitor", "4=liar"], "R is a replica, 0 .. 3"),
        (["--service", "kv", "--set", "n=7"], "--set changes a field of a SCENARIO"),
    ],
)
def test_what_cannot_be_composed_is_refused(words: list[str], told: str) -> None:
    done = CliRunner().invoke(byzantine, ["compose", *words])
    assert done.exit_code == 2
    assert told in done.output
