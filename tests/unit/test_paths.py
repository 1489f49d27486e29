"""The tree of paths of OM(m), in its canonical order."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.protocols import paths

sizes = st.integers(1, 6).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, size), st.integers(0, size - 1))
)


@given(sizes)
def test_labels_name_every_path_of_distinct_lieutenants_once(
    tree: tuple[int, int, int],
) -> None:
    size, length, _ = tree
    labels = paths.labels(size, length)
    assert sorted(labels) == sorted(itertools.permutations(range(size), length))
    assert len(labels) == paths.count(size, length) == math.perm(size, length)


@given(sizes)
def test_position_is_where_labels_put_a_path(tree: tuple[int, int, int]) -> None:
    size, length, _ = tree
    labels = paths.labels(size, length)
    assert [paths.position(size, path) for path in labels] == list(range(len(labels)))


@given(sizes)
def test_position_is_the_sum_that_the_docstring_states(tree: tuple[int, int, int]) -> None:
    """d_1 + size * (d_2 + (size - 1) * (d_3 + ...)), d_k a rank among those that are left."""
    size, length, _ = tree
    for path in itertools.permutations(range(size), length):
        left, ranks = list(range(size)), []
        for general in path:
            ranks.append(left.index(general))
            left.remove(general)
        expected = 0
        for step in reversed(range(length)):
            expected = ranks[step] + (size - step) * expected
        assert paths.position(size, path) == expected


@given(sizes)
def test_avoiding_gives_the_paths_without_one_lieutenant_in_the_order_of_the_others(
    tree: tuple[int, int, int],
) -> None:
    size, length, rank = tree
    labels = paths.labels(size, length)
    found = [labels[position] for position in paths.avoiding(size, length, rank)]
    assert found == [without(rank, path) for path in paths.labels(size - 1, length)]


@given(sizes)
def test_arrivals_finds_each_path_in_the_row_of_its_last_among_what_precedes_him(
    tree: tuple[int, int, int],
) -> None:
    size, length, _ = tree
    if length == 0:
        return
    columns = paths.labels(size - 1, length - 1)
    rows = [[(*without(rank, path), rank) for path in columns] for rank in range(size)]
    flat = [path for row in rows for path in row]
    found = [flat[place] for place in paths.arrivals(size, length)]
    assert found == paths.labels(size, length)


@given(sizes)
def test_the_children_of_all_paths_stand_in_rows_one_for_each_rank_of_the_last(
    tree: tuple[int, int, int],
) -> None:
    size, length, _ = tree
    if length == size:
        return
    parents = paths.labels(size, length)
    for position, (*parent, last) in enumerate(paths.labels(size, length + 1)):
        assert tuple(parent) == parents[position % len(parents)]
        left = [rank for rank in range(size) if rank not in parent]
        assert last == left[position // len(parents)]


@pytest.mark.parametrize("path", [(0, 0), (5,), (-1,), (0, 1, 0), (0, 1, 2, 5)])
def test_position_of_what_is_no_path_is_refused(path: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no path of distinct lieutenants"):
        paths.position(5, path)


def test_positions_are_shared_and_therefore_cannot_be_written() -> None:
    for positions in (paths.avoiding(4, 2, 1), paths.arrivals(4, 2), paths.arrivals(4, 1)):
        assert positions.dtype == np.intp
        with pytest.raises(ValueError, match="read-only"):
            positions[0] = 0


def test_there_are_no_paths_where_lieutenants_run_out() -> None:
    assert [paths.count(*tree) for tree in ((0, 1), (2, 3), (-1, 0), (-1, 2))] == [0, 0, 0, 0]
    assert paths.arrivals(1, 2).size == paths.avoiding(1, 1, 0).size == 0


def without(rank: int, path: tuple[int, ...]) -> tuple[int, ...]:
    """A path over the other lieutenants, in ranks among all of them."""
    return tuple(other + (other >= rank) for other in path)
