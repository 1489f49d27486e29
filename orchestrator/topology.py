"""Who can speak to whom: graphs, the vertex-disjoint paths of a relay, and the cuts that forbid it.

With oral messages agreement on a graph needs connectivity 2m + 1 and has it by relaying each
message over that many vertex-disjoint paths (Dolev 1982). With signed messages it is enough that
the loyal generals are connected: SM takes m + d rounds, where d is the largest diameter that
removing any m generals can leave, for nobody knows who is loyal (Lamport, Shostak, Pease 1982,
section 6).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, TypeAlias

from node.orders import GeneralId

Edges: TypeAlias = tuple[tuple[GeneralId, GeneralId], ...]
Path: TypeAlias = tuple[GeneralId, ...]

COMPLETE = "complete"
#: So many sets of m generals are taken out of a graph, one after the other, to find d.
REMOVALS_MAX = 20_000
_REGULAR = re.compile(r"random-regular ([0-9]{1,3})")
NAMES = (COMPLETE, "ring", "wheel", "hypercube", "petersen", "random-regular 3")


@dataclass(frozen=True)
class Layout:
    """A graph as a run needs it: each general's neighbours, every path of the relay (the
    certificate; none with signed messages), and how many hops lie between two generals at most."""

    neighbours: tuple[Path, ...]
    paths: tuple[Path, ...]
    reach: int


class Forbidden(ValueError):  # noqa: N818 - a graph that is right in itself, and not for this run
    """The graph cannot carry the protocol; the text names the cut."""


@lru_cache(maxsize=256)
def edges(n: int, name: str, seed: int) -> Edges:
    """The edges of the graph of that name over generals 0 to n - 1. ValueError: there is none."""
    import networkx

    if name == "ring":
        return _edges(networkx.cycle_graph(n)) if n > 2 else ((0, 1),)
    if name == "wheel":
        _need(n >= 4, f"a wheel has 4 generals or more, not {n}")
        return _edges(networkx.wheel_graph(n))
    if name == "hypercube":
        _need(n & (n - 1) == 0, f"a hypercube has 2, 4, 8, 16 ... generals, not {n}")
        return tuple(
            (a, a ^ 1 << bit)
            for a in range(n)
            for bit in range(n.bit_length() - 1)
            if a < a ^ 1 << bit
        )
    if name == "petersen":
        _need(n == 10, f"Petersen's graph has 10 generals, not {n}")
        return _edges(networkx.petersen_graph())
    if found := _REGULAR.fullmatch(name):
        degree = int(found[1])
        possible = degree < n and degree * n % 2 == 0
        _need(possible, f"no graph of {n} generals gives each of them {degree} links")
        return _edges(networkx.random_regular_graph(degree, n, seed=seed))
    raise ValueError(f"there is no topology {name!r}: there are {', '.join(NAMES)}")


def _need(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)


def _edges(graph: Any) -> Edges:
    return tuple(sorted((min(a, b), max(a, b)) for a, b in graph.edges))


@lru_cache(maxsize=256)
def relayed(n: int, m: int, links: Edges, is_forced: bool) -> Layout:
    """The layout under which oral messages are relayed. Forbidden below connectivity 2m + 1.

    Where it is forced, they go over as many paths as there are, and nothing is owed.
    """
    import networkx

    graph = _graph(n, links)
    connectivity = networkx.node_connectivity(graph)
    if connectivity < (1 if is_forced else 2 * m + 1):
        raise Forbidden(f"connectivity {connectivity} is below 2m + 1 = {2 * m + 1}: {_cut(graph)}")
    paths: list[Path] = []
    for origin, target in combinations(range(n), 2):
        if graph.has_edge(origin, target):
            found: Iterable[Sequence[GeneralId]] = [(origin, target)]
        else:
            found = networkx.node_disjoint_paths(graph, origin, target, cutoff=2 * m + 1)
        for path in sorted(map(tuple, found), key=lambda path: (len(path), path))[: 2 * m + 1]:
            paths += [tuple(path), tuple(reversed(path))]
    reach = max(len(path) - 1 for path in paths)
    return Layout(_neighbours(graph), tuple(sorted(paths)), reach)


@lru_cache(maxsize=256)
def flooded(n: int, m: int, links: Edges) -> Layout:
    """The layout under which signed messages spread. Forbidden where m generals can part others."""
    import networkx

    graph = _graph(n, links)
    if math.comb(n, min(m, n)) > REMOVALS_MAX:
        raise ValueError(
            f"there are {math.comb(n, m)} ways to remove {m} of {n} generals, too many to look at"
        )
    reach = 0
    for size in range(min(m, n - 2) + 1):
        for removed in combinations(range(n), size):
            left = graph.copy()
            left.remove_nodes_from(removed)
            if not networkx.is_connected(left):
                who = f"without {_listed(removed)} " if removed else ""
                raise Forbidden(
                    f"{who}the generals fall apart: {_parts(left)}; {m} traitors could do that"
                )
            reach = max(reach, networkx.diameter(left))
    return Layout(_neighbours(graph), (), reach)


def _graph(n: int, links: Edges) -> Any:
    import networkx

    graph = networkx.Graph()
    graph.add_nodes_from(range(n))
    graph.add_edges_from(links)
    return graph


def _is_complete(n: int, links: Edges) -> bool:
    return len({frozenset(link) for link in links}) == n * (n - 1) // 2


def _neighbours(graph: Any) -> tuple[Path, ...]:
    return tuple(tuple(sorted(graph[general])) for general in sorted(graph))


def _cut(graph: Any) -> str:
    import networkx

    if not networkx.is_connected(graph):
        return f"the generals fall apart by themselves: {_parts(graph)}"
    cut = sorted(networkx.minimum_node_cut(graph))
    left = graph.copy()
    left.remove_nodes_from(cut)
    return f"{_listed(cut)} part {_parts(left)}"


def _parts(graph: Any) -> str:
    import networkx

    parts = sorted(sorted(part) for part in networkx.connected_components(graph))
    return " from ".join(f"{{{_listed(part)}}}" for part in parts[:2])


def _listed(generals: Iterable[GeneralId]) -> str:
    return ", ".join(map(str, generals))


def layout(
    n: int,
    m: int,
    topology: str | Edges,
    seed: int,
    *,
    is_signed: bool,
    is_forced: bool = False,
) -> Layout | None:
    """How a run is laid out on its graph; None where everyone can speak to everyone.

    Forbidden where the graph cannot carry it, ValueError where there is no such graph.
    """
    if topology == COMPLETE:
        return None
    links = edges(n, topology, seed) if isinstance(topology, str) else topology
    if _is_complete(n, links):
        return None
    return flooded(n, m, links) if is_signed else relayed(n, m, links, is_forced)
