"""Decimals read as machine words are equal to those read by `float`."""

from __future__ import annotations

import math
import re
import struct

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from drift_analyzer import decimals

_PLAIN = re.compile(r"-?(?:\d+\.?\d*|\.\d+)", re.ASCII)
_CELL = st.one_of(
    st.from_regex(_PLAIN, fullmatch=True),
    st.text(alphabet="0123456789.-", max_size=10),
    st.text(alphabet="0123456789.-+eE/: xn\x00é\x2f\x3a", max_size=9),
    st.floats(allow_nan=False, allow_infinity=False, width=16).map(repr),
)


def read(cells: list[str]) -> tuple[list[float], list[bool]]:
    texts = [cell.encode() for cell in cells]
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    starts = ends - np.array([len(text) for text in texts])
    values, good = decimals.read(b",".join(texts) + b"\n", starts, ends)
    return values.tolist(), good.tolist()


@given(st.lists(_CELL, min_size=1, max_size=30))
@example(["-", ".", "-.", "", "..", "1..2", "9/", "/9", "123456789", "12345678", "-1234567", "-0", "-.0"])
def test_all_short_decimals_are_read_and_equal_float_bit_for_bit(cells: list[str]) -> None:
    for cell, value, good in zip(cells, *read(cells), strict=True):
        assert good == (len(cell.encode()) <= decimals.WIDTH and _PLAIN.fullmatch(cell) is not None), cell
        if good:
            assert struct.pack("d", value) == struct.pack("d", float(cell)), cell


def test_cells_of_one_column_do_not_depend_on_how_many_are_read_together() -> None:
    cells = [f"{number / 1000}" for number in range(40_000)]
    values, good = read(cells)
    assert all(good)
    assert all(math.isclose(value, number / 1000, rel_tol=0) for number, value in enumerate(values))
