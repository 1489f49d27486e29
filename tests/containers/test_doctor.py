"""The doctor tries what containers need on this engine, and says what is in the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestrator import arp, doctor, images, subnets
from orchestrator.__main__ import byzantine
from orchestrator.engine import Engine


def examine() -> tuple[int, dict[str, dict[str, str]]]:
    """The exit code of `byzantine doctor`, and its findings by what they are about."""
    done = run("doctor", "--format", "json")
    return code_of(done), {one["what"]: one for one in json.loads(done.stdout)}


def test_a_healthy_machine_is_called_so(built: Engine) -> None:
    code, findings = examine()
    in_the_way = {w: f for w, f in findings.items() if f["state"] not in ("good", "absent")}
    assert (code, in_the_way) == (0, {})
    assert set(findings) == {
        *("engine", "compose", "buildx", "subnets", "memory", "arp", "nftables"),
        "netem",
        *("image general", "image orchestrator", "image link-fault"),
    }


def test_the_endpoint_and_whose_word_it_is_are_told(built: Engine) -> None:
    _, findings = examine()
    assert str(built.endpoint) in findings["engine"]["found"]
    assert built.version in findings["engine"]["found"]


def test_a_pool_without_room_for_a_run_is_in_the_way(
    built: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(subnets.POOL_VARIABLE, "10.213.0.0/26")
    code, findings = examine()
    assert (code, findings["subnets"]["state"]) == (4, "missing")
    assert "byzantine down" in findings["subnets"]["mend"]


def test_an_arp_table_without_room_for_four_is_in_the_way(
    built: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert examine()[1]["arp"]["state"] == "good"
    monkeypatch.setattr(arp, "LIMIT", tmp_path / "gc_thresh3")
    arp.LIMIT.write_text("19\n")
    code, findings = examine()
    assert (code, findings["arp"]["state"]) == (4, "missing")
    assert "room for 3 " in findings["arp"]["found"]
    assert "gc_thresh3=40" in findings["arp"]["mend"]


def test_a_pool_that_is_none_is_in_the_way(built: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(subnets.POOL_VARIABLE, "many")
    code, findings = examine()
    assert (code, findings["subnets"]["state"]) == (4, "missing")


def test_the_kernel_is_tried_and_not_asked(built: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that refuses one rule cannot cut links, whatever else it says of itself."""
    monkeypatch.setattr(doctor, "_NFTABLES_TRIAL", "nft add rule inet nowhere input drop")
    code, findings = examine()
    assert (code, findings["nftables"]["state"]) == (4, "missing")
    assert "No such file or directory" in findings["nftables"]["found"]


def test_a_kernel_without_netem_is_no_hindrance(
    built: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_NETEM_TRIAL", "tc qdisc add dev lo root nothing-of-the-kind")
    code, findings = examine()
    assert (code, findings["netem"]["state"]) == (0, "absent")


def test_images_that_are_missing_are_in_the_way_with_the_command_that_makes_them(
    built: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = replace(images.LINK_FAULT, title="nobody")
    monkeypatch.setattr(images, "LINK_FAULT", nobody)
    monkeypatch.setitem(doctor._LOOKS, "image link-fault", doctor._image(nobody))
    code, findings = examine()
    assert code == 4
    assert findings["image nobody"]["state"] == "missing"
    assert "byzantine images build" in findings["image nobody"]["mend"]
    assert findings["nftables"]["state"] == findings["netem"]["state"] == "untested"


def test_the_doctor_leaves_nothing_behind(built: Engine) -> None:
    examine()
    label = {"label": "byzantine.run=doctor"}
    assert not built.client.containers.list(all=True, filters=label)


def test_images_are_listed_with_their_condition(built: Engine) -> None:
    done = run("images", "list", "--format", "json")
    assert code_of(done) == 0
    listed = {one["name"]: one["condition"] for one in json.loads(done.stdout)}
    assert listed == {image.name: "ready" for image in images.IMAGES}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(byzantine, arguments, standalone_mode=False)


def code_of(done: Result) -> int:
    """Click hands a command's value over where it is not on its own."""
    if done.exception is not None:
        raise done.exception
    return int(done.return_value or 0)
