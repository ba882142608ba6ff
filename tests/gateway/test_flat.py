"""The fast way to read a request says what the slow one does, or nothing."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from honeyguard.gateway.flat import read_flat

NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
MIXED = st.lists(NUMBERS | st.lists(NUMBERS, max_size=2) | st.booleans() | st.none() | st.text(max_size=3), max_size=4)
TENSORS = st.fixed_dictionaries({}, optional={"data": st.lists(NUMBERS, max_size=5) | MIXED | ANYTHING, "shape": ANYTHING, "x": ANYTHING})
REQUESTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=2) | ANYTHING}, optional={"id": ANYTHING, "outputs": ANYTHING, "parameters": ANYTHING}
)


@given(request=REQUESTS | ANYTHING)
def test_it_agrees_with_the_slow_way(request: Any) -> None:
    text = json.dumps(request).encode()
    found = read_flat(text)
    if found is not None:
        expected = orjson.loads(text)
        (tensor,), (same,) = found["inputs"], expected["inputs"]
        assert np.array_equal(tensor.pop("data"), np.array(same.pop("data"), np.float64))
        assert found == expected


@pytest.mark.parametrize("more", ["", ', "id": "a[b"', ', "outputs": [{"name": "p"}]', ', "parameters": {"a": {"b": 1}}'])
def test_flat_lists_are_arrays(more: str) -> None:
    found = read_flat(f'{{"inputs": [{{"shape": [2], "data": [1, 0.5]}}]{more}}}'.encode())
    if "a[b" in more:  # what looks like a list is left to the slow way
        assert found is None
    else:
        assert found is not None and found["inputs"][0]["data"].tolist() == [1, 0.5]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"\xff", b"[" * 5000, b'{"inputs":[{"data":[1]}]} x', b'{"inputs":[{"data":[1,[2]],"shape":[2]}]}']
)
def test_whatever_is_wrong_is_left_to_the_slow_way(text: bytes) -> None:
    assert read_flat(text) is None
