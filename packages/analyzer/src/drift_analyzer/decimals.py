"""Short decimals to numbers, many at once: eight characters are one machine word, and a word is read by arithmetic.

A cell of at most eight characters, digits with at most one point and a minus before them, is an integer below 10^8 over
a power of ten: both are exact as floats, so their quotient is the float nearest to the text, as `float` gives it
(Clinger, "How to read floating point numbers accurately", 1990). The arithmetic on words is simdjson's (Langdale and
Lemire, "Parsing gigabytes of JSON per second", 2019). A number costs a fifth of what it costs as a Python object.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drift_analyzer.state import Floats

WIDTH = 8
Positions = NDArray[np.intp]
Words = NDArray[np.uint64]

# By how many bytes stand before the point: all eight where there is none.
_DIVISORS = np.array([10.0 ** (WIDTH - 1 - place) for place in range(WIDTH)] + [1.0])
_ALL = np.uint64((1 << 64) - 1)
_ONE, _SEVEN, _EIGHT = np.uint64(1), np.uint64(7), np.uint64(8)
_BLOCK = 1 << 14
"""Cells that are read together: what comes in between stays in the processor's cache."""


def _everywhere(byte: int) -> np.uint64:
    return np.uint64(byte * 0x0101010101010101)


# Words are read with every byte less the digit zero's, by exclusive or: a digit is its value, and what is not there 0.
_ZERO, _MINUS, _POINT = 0x30, 0x2D ^ 0x30, 0x2E ^ 0x30
_ZEROS, _POINTS, _ONES, _TOPS = _everywhere(_ZERO), _everywhere(_POINT), _everywhere(0x01), _everywhere(0x80)
_BEYOND_NINE = _everywhere(0x80 - 10)


def read(text: bytes, starts: Positions, ends: Positions) -> tuple[Floats, NDArray[np.bool_]]:
    """Read the cells of a text from `starts` to `ends`; the second array says which of them are such numbers."""
    padded = bytes(WIDTH) + text
    # The eight bytes before each place, wherever it is.
    before: NDArray[Any] = np.ndarray((len(text) + 1,), dtype="<u8", buffer=padded, strides=(1,))
    values, good = np.empty(len(ends)), np.empty(len(ends), dtype=bool)
    for first in range(0, len(ends), _BLOCK):
        block = slice(first, first + _BLOCK)
        lengths = (ends[block] - starts[block]).astype(np.uint64)
        values[block], good[block] = _numbers(before[ends[block]], lengths)
    return values, good


def _numbers(words: Words, lengths: Words) -> tuple[Floats, NDArray[np.bool_]]:
    """The numbers that stand in the last `lengths` bytes of the words. A branch costs more here than arithmetic."""
    unused = (_EIGHT - np.minimum(lengths, _EIGHT)) * _EIGHT
    words = (words ^ _ZEROS) & (_ALL << unused)
    signs = (((words >> unused) & np.uint64(0xFF)) == np.uint64(_MINUS)).astype(np.uint64)
    words ^= (signs * np.uint64(_MINUS)) << unused
    words, places, pointed = _without_point(words)
    good = _are_digits(words) & (lengths > signs + pointed) & (lengths <= _EIGHT)
    values = _integers(words) / _DIVISORS[places]
    return (values.view(np.uint64) | (signs << np.uint64(63))).view(np.float64), good


def _without_point(words: Words) -> tuple[Words, Positions, Words]:
    """The words with their first point taken out, how many bytes stand before it, and 1 where there is one."""
    differing = words ^ _POINTS
    marks = (differing - _ONES) & ~differing & _TOPS
    mark = marks & (~marks + _ONE)  # the lowest: of the others it is not sure that they are points
    pointed = (mark != 0).astype(np.uint64)
    below = (mark >> _SEVEN) - _ONE  # all of the word where there is no point
    above = ~((mark << _ONE) - _ONE)
    closed = (words & above) | ((words & below) << (pointed * _EIGHT))
    return closed, (np.bitwise_count(below) >> 3).astype(np.intp), pointed


def _are_digits(words: Words) -> NDArray[np.bool_]:
    digits: NDArray[np.bool_] = (((words + _BEYOND_NINE) | words) & _TOPS) == 0
    return digits


def _integers(words: Words) -> Floats:
    """Eight digits, the first in the lowest byte, as a number: pairs, then fours, then all of them."""
    pairs = (words * np.uint64(2561)) >> _EIGHT
    fours = ((pairs & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(6553601)) >> np.uint64(16)
    whole = ((fours & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(42949672960001)) >> np.uint64(32)
    return whole.astype(np.float64)
