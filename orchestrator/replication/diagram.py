"""One request drawn as the paper draws it (1999, figure 1), from what a run really sent."""

from __future__ import annotations

from dataclasses import dataclass

from node.protocols.pbft import key_value
from node.protocols.pbft.configuration import Configuration
from node.protocols.pbft.messages import Commit, Prepare, PrePrepare
from orchestrator.replication.world import Said, World

#: Characters from one column to the next.
_STEP = 9
_LEFT = 9
_CLIENT = 0


@dataclass(frozen=True)
class _Row:
    at_ms: float
    sender: int
    receivers: tuple[int, ...]
    what: str


def drawn(n: int = 4, seed: int = 1) -> str:
    """The messages of one put in a calm cluster of n replicas: a line a sender and kind."""
    world = World(Configuration(n=n), seed=seed, clients=1)
    world.said = []
    began_s = world.now_s
    asked = world.invoke(0, key_value.encode(key_value.Put("name", b"Lamport")))
    if not world.run(lambda: asked.returned_s is not None, 1.0):
        raise RuntimeError("a calm cluster did not answer")
    answered_s = asked.returned_s or began_s
    # The commits wait for company that does not come.
    world.run_for(2 * world.configuration.commit_s)
    rows = [_row(said, began_s) for said in world.said if said.kind != "Status"]
    head = " " * _LEFT + "".join(f"{name:<{_STEP}}" for name in ("client", *map(str, range(n))))
    drawn_at = [(row.at_ms, _line(row, n + 1)) for row in rows]
    answered_ms = 1e3 * (answered_s - began_s)
    drawn_at.append(
        (answered_ms, f"{answered_ms:5.2f} ms  the client has {_quorum(world)} replies")
    )
    lines = [head.rstrip(), *(line for _, line in sorted(drawn_at, key=lambda one: one[0]))]
    return "\n".join(lines) + "\n"


def _quorum(world: World) -> str:
    c = world.configuration
    return f"2f + 1 = {c.quorum} matching" if c.has_read_only else f"f + 1 = {c.weak} matching"


def _row(said: Said, began_s: float) -> _Row:
    receivers = tuple(_CLIENT if r is None else r + 1 for r in said.receivers)
    sender = _CLIENT if said.sender is None else said.sender + 1
    what = {"PrePrepare": "pre-prepare"}.get(said.kind, said.kind.lower())
    match said.message:
        case PrePrepare(view, sequence) | Prepare(view, sequence) | Commit(view, sequence):
            what += f"  view {view}, number {sequence}"
        case _:
            pass
    return _Row(1e3 * (said.at_s - began_s), sender, receivers, what)


def _line(row: _Row, columns: int) -> str:
    """One sender's message to all its receivers: o sets out, > and < arrive."""
    cells = [" "] * (_STEP * columns)
    touched = [row.sender, *row.receivers]
    for at in range(_STEP * min(touched), _STEP * max(touched)):
        cells[at] = "-"
    cells[_STEP * row.sender] = "o"
    for receiver in row.receivers:
        cells[_STEP * receiver] = ">" if receiver > row.sender else "<"
    return f"{row.at_ms:5.2f} ms {''.join(cells)} {row.what}".rstrip()
