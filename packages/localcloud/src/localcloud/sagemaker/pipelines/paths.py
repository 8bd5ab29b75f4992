"""Paths into documents: `ModelArtifacts.S3ModelArtifacts`, `Outputs['train'].S3Output.S3Uri`, `$.metrics[0].value`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

Path = tuple[str | int, ...]
_TOKEN = re.compile(r"""\.?([^.\[\]]+)|\[(-?\d+)\]|\['([^']*)'\]|\["([^"]*)"\]""")


class PathError(ValueError):
    """The path is malformed or does not exist; the message says where."""


def parse(text: str) -> Path:
    """Split a path into names and indexes; a leading `$` stands for the document."""
    rest = text.removeprefix("$")
    tokens: list[str | int] = []
    position = 0
    while position < len(rest):
        found = _TOKEN.match(rest, position)
        if found is None:
            raise PathError(f"'{text}' is not a valid path")
        name, index, single, double = found.groups()
        tokens.append(
            int(index) if index is not None else next(one for one in (name, single, double) if one is not None)
        )
        position = found.end()
    return tuple(tokens)


def look_up(document: Any, path: Path) -> Any:
    """Return the value at `path`.

    A name selects the list element with that name (`Outputs['train']`, by its `OutputName`), as in property references.

    Raises:
        PathError: the path does not exist.
    """
    value = document
    for done, token in enumerate(path):
        value = _child(value, token, path[: done + 1])
    return value


def _child(value: Any, token: str | int, so_far: Sequence[str | int]) -> Any:
    missing = PathError(f"nothing at '{'.'.join(map(str, so_far))}'")
    if isinstance(value, dict):
        if str(token) not in value:
            raise missing
        return value[str(token)]
    if isinstance(value, list):
        if isinstance(token, int) or token.isdecimal():
            if not -len(value) <= int(token) < len(value):
                raise missing
            return value[int(token)]
        for element in value:
            if isinstance(element, dict) and token in _names(element):
                return element
    raise missing


def _names(element: dict[str, Any]) -> list[Any]:
    """Return the names by which a list's element can be selected: the values of its `…Name` and `Key` members."""
    return [value for member, value in element.items() if member.endswith("Name") or member == "Key"]


def check_against(shape: Shape, path: Path) -> None:
    """Check that `path` can exist in documents of this shape; raise PathError where it cannot."""
    current = shape
    for token in path:
        if isinstance(current, StructureShape):
            if token not in current.members:
                raise PathError(f"'{token}' is not a member of {current.name}")
            current = current.members[str(token)]
        elif isinstance(current, ListShape):
            current = current.member
        elif isinstance(current, MapShape):
            current = current.value
        else:
            raise PathError(f"'{token}' cannot be read from {current.name}, which is a {current.type_name}")
