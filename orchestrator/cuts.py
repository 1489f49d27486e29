"""Cuts in the kernel: what a general's peers send him is dropped before he can hear it.

A helper container is run for a moment in the receiver's network namespace, where it alone has the
capability to set rules. Rules match the sender's address and the port on which the receiver
listens. Each direction between two generals is a connection of its own, so that a one-way cut is
truly one-way: acknowledgements of what flows the other way have another port. What was set is read
back, what was dropped is counted, and what is removed is removed with its table.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from orchestrator import quarters
from orchestrator.camp import RUN_LABEL
from orchestrator.engine import Engine, EngineError, refusals

TABLE: Final = "byzantine"
#: Whether a link that was mended carries packets again is looked at so often, in seconds.
LOOK_AGAIN_S: Final = 0.05
#: Seconds that a helper may take.
HELPER_S: Final = 30

_DROP: Final = "drop"
_COUNT: Final = "accept"


@dataclass(frozen=True)
class Gate:
    """One receiver: his container, and the camp that helpers are labelled with."""

    engine: Engine
    image: str
    camp_id: str
    container: str

    def hold(self, dropped: Collection[str], counted: Collection[str] = ()) -> dict[str, int]:
        """Drops what some addresses send here, counts what others do, lets through all the rest.

        Read back: EngineError unless the kernel holds just these rules. Returns how many packets
        the rules before these had dropped, by address.
        """
        rules = [(str(IPv4Address(one)), _DROP) for one in sorted(dropped)]
        rules += [(str(IPv4Address(one)), _COUNT) for one in sorted(counted)]
        before, _, after = self._nft(
            f"nft -j list ruleset && echo '{_ruleset(rules)}' | nft -f - && nft -j list ruleset"
        ).partition("\n")
        held = [(rule.sender, rule.verdict) for rule in _rules(after)]
        if held != rules:
            raise EngineError(f"the kernel beside {self.container[:12]} holds other rules: {held}")
        return {rule.sender: rule.packets for rule in _rules(before) if rule.verdict == _DROP}

    def counted(self) -> dict[str, int]:
        """How many packets the rules here have met, by the sender's address."""
        return {rule.sender: rule.packets for rule in _rules(self._nft("nft -j list ruleset"))}

    def _nft(self, script: str) -> str:
        """What a script prints that is run beside the receiver. EngineError where it fails."""
        with refusals(f"setting rules beside {self.container[:12]}"):
            helper = self.engine.client.containers.create(
                self.image,
                entrypoint=["sh", "-c", f"set -e; {script}"],
                command=[],
                network_mode=f"container:{self.container}",
                cap_drop=["ALL"],
                cap_add=["NET_ADMIN"],
                security_opt=list(quarters.SECURITY),
                read_only=True,
                pids_limit=quarters.PIDS,
                mem_limit=quarters.MEMORY_BYTES,
                labels={RUN_LABEL: self.camp_id},
            )
            try:
                helper.start()
                status = int(helper.wait(timeout=HELPER_S)["StatusCode"])
                # Read when it has ended: who follows a log may miss the end of a short one.
                said = bytes(helper.logs(stdout=True, stderr=status != 0)).decode(errors="replace")
            finally:
                helper.remove(force=True)
        if status:
            raise EngineError(f"nft beside {self.container[:12]}: {said.strip()}")
        return said


def await_flow(
    gates: Mapping[str, Gate], links: Collection[tuple[str, str]], until_s: float
) -> None:
    """Until each of these links, sender to receiver by address, has carried a packet again.

    `gates` are the receivers', by address, and count. EngineError names a link that stays silent.
    """
    silent = set(links)
    while silent:
        for receiver in {receiver for _, receiver in silent}:
            counted = gates[receiver].counted()
            silent -= {(sender, receiver) for sender, packets in counted.items() if packets}
        if silent and time.monotonic() > until_s:
            sender, receiver = min(silent)
            raise EngineError(f"nothing has come from {sender} to {receiver} since it was mended")
        if silent:
            time.sleep(LOOK_AGAIN_S)


@dataclass(frozen=True)
class _Rule:
    sender: str
    verdict: str
    packets: int


def _ruleset(rules: Collection[tuple[str, str]]) -> str:
    """All that the table shall hold, in one transaction; nothing at all where nobody is named."""
    emptied = f"table inet {TABLE}\ndelete table inet {TABLE}\n"
    if not rules:
        return emptied
    lines = "\n".join(
        f"ip saddr {sender} tcp dport {quarters.FIELD_PORT} counter {verdict}"
        for sender, verdict in rules
    )
    hook = "type filter hook input priority 0; policy accept;"
    return f"{emptied}table inet {TABLE} {{\nchain cut {{\n{hook}\n{lines}\n}}\n}}\n"


def _rules(listed: str) -> Iterator[_Rule]:
    """The rules of our table, as nft lists them. EngineError where it has rules of another kind."""
    try:
        entries = json.loads(listed)["nftables"]
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError(f"nft said what nobody can read: {listed[:80]!r}") from error
    for entry in entries:
        rule = entry.get("rule")
        if rule is None or rule["table"] != TABLE:
            continue
        parts: dict[str, Any] = {}
        for part in rule["expr"]:
            if "match" in part:
                parts[part["match"]["left"]["payload"]["field"]] = part["match"]["right"]
            else:
                parts.update(part)
        if parts.get("dport") != quarters.FIELD_PORT or "saddr" not in parts:
            raise EngineError(f"a rule that nobody set: {rule}")
        verdict = _DROP if _DROP in parts else _COUNT
        yield _Rule(str(parts["saddr"]), verdict, int(parts["counter"]["packets"]))
