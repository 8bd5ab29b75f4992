"""Java's regular expressions, as AWS's service models carry them, for Python's `re`."""

from __future__ import annotations

import re
import unicodedata
from functools import cache

_PROPERTY = re.compile(r"\\p\{(\w+)\}")
_QUANTIFIED_ANCHOR = re.compile(r"\$\{\d+(?:,\d*)?\}")
_POSIX = {"ASCII": r"\x00-\x7f", "Alnum": "a-zA-Z0-9", "Alpha": "a-zA-Z", "Digit": "0-9", "Print": r"\x20-\x7e"}
_LAST_OF_BASIC_PLANE = 0xFFFF
_SURROGATE_PAIRS = r"\uD800\uDC00-\uDBFF\uDFFF"  # how UTF-16 writes what lies beyond the basic plane
# Beyond the basic plane lie emoji, rare letters and symbols only: each of the classes used accepts them.
_BEYOND_BASIC_PLANE = "\U00010000-\U0010ffff"


@cache
def _category(letter: str) -> str:
    """Return the inside of a character class with the basic plane's characters of one Unicode category."""
    ranges: list[str] = []
    start: int | None = None
    for point in range(_LAST_OF_BASIC_PLANE + 2):
        inside = point <= _LAST_OF_BASIC_PLANE and unicodedata.category(chr(point)).startswith(letter)
        if inside and start is None:
            start = point
        elif not inside and start is not None:
            ranges.append(f"\\u{start:04x}-\\u{point - 1:04x}")
            start = None
    return "".join(ranges) + _BEYOND_BASIC_PLANE


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Compile a service model's pattern; match it with `fullmatch`, as AWS does."""

    def replace(found: re.Match[str]) -> str:
        name = found[1]
        inside = _POSIX.get(name) or _category(name)
        opened = found.string.rfind("[", 0, found.start()) > found.string.rfind("]", 0, found.start())
        return inside if opened else f"[{inside}]"

    # The models quantify anchors (`${1,128}`). In Java that has no effect; the length is checked separately.
    text = _QUANTIFIED_ANCHOR.sub("$", pattern).replace(_SURROGATE_PAIRS, _BEYOND_BASIC_PLANE)
    return re.compile(_PROPERTY.sub(replace, text).replace(r"\z", r"\Z"))
