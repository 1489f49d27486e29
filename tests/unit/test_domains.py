"""Arrays of codes, by domain."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.orders import Domain, Enumerated, Numbers


@given(st.integers(2, 256))
def test_the_opposite_of_a_code_is_the_next_one_and_of_the_last_the_first(size: int) -> None:
    domain = Enumerated(values=tuple(range(size)), default=0)
    codes = np.arange(size).astype(domain.dtype)
    opposites = domain.opposites(codes)
    assert opposites.dtype == domain.dtype
    assert opposites.tolist() == [*range(1, size), 0]


@pytest.mark.parametrize("domain", [Enumerated(), Enumerated(("a", "b", "c"), "b"), Numbers()])
@given(data=st.data())
def test_codes_are_counted_one_by_one(domain: Domain, data: st.DataObject) -> None:
    few = st.sampled_from([0, 1, 2][: 2 if domain.is_binary else 3])
    codes = np.array(data.draw(st.lists(few)), dtype=domain.dtype)
    found, times = domain.counted(codes)
    assert found.tolist() == sorted(set(codes.tolist()))
    assert dict(zip(found.tolist(), times.tolist(), strict=True)) == Counter(codes.tolist())
