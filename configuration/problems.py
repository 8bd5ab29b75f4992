"""Mistakes in configuration files, one line each: file, key path, value, and what would be right."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_Section = TypeVar("_Section", bound=BaseModel)

_WORDS = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "string_type": "text; put it in quotes",
    "bool_type": "true or false",
    "model_type": "a section of keys",
    "model_attributes_type": "a section of keys",
    "dict_type": "a section of keys",
    "tuple_type": "a list",
    "finite_number": "a finite number",
}


@dataclass(frozen=True, order=True)
class Problem:
    """A mistake in a configuration file."""

    file: str
    where: str
    message: str

    def __str__(self) -> str:
        return ": ".join(part for part in (self.file, self.where, self.message) if part)


class ConfigurationError(Exception):
    """The configuration files hold mistakes; its text is one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


def problems_of(schema: type[BaseModel], document: object, file: str) -> Iterator[Problem]:
    """Yield all mistakes of a document, in the terms of the file.

    Pydantic does not validate a section with an unknown key any further. So each unknown key is reported, then renamed
    to the known key that it resembles, or left out, and the document is validated again.
    """
    while errors := _errors(schema, document):
        unknown = [details for details in errors if details["type"] == "extra_forbidden"]
        for details in unknown or errors:
            path = tuple(_path_in(document, details["loc"]))
            where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")
            yield Problem(file, where, _message(details, schema))
        if not unknown:
            return
        for details in unknown:
            path = tuple(_path_in(document, details["loc"]))
            document = _corrected(document, path, _nearest(schema, details["loc"]))


def _errors(schema: type[BaseModel], document: object) -> list[ErrorDetails]:
    try:
        parse(schema, document)
    except ValidationError as error:
        return error.errors()
    return []


def parse(schema: type[_Section], document: object) -> _Section:
    """Validate a document.

    Raises:
        ValidationError: As pydantic tells it.
    """
    # Through JSON, because pydantic's strict mode takes a list for a tuple there, and a number for nothing else.
    return schema.model_validate_json(json.dumps(document, default=str))


def shown(value: object) -> str:
    """Return a value as it would appear in the file, shortened."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _message(details: ErrorDetails, schema: type[BaseModel]) -> str:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "missing":
        return "required, but missing"
    if kind == "extra_forbidden":
        nearest, known = _nearest(schema, details["loc"]), ", ".join(sorted(_known_keys(schema, details["loc"][:-1])))
        return (
            f"{shown(value)}: unknown key; {f'did you mean {shown(nearest)}?' if nearest else f'known here: {known}'}"
        )
    if kind == "union_tag_not_found":
        return f"required: {str(context['discriminator']).strip(chr(39))}, which says what kind of section this is"
    if kind == "union_tag_invalid":
        return f"{shown(context['tag'])}: should be one of {context['expected_tags']}"
    if kind == "value_error":
        return f"{shown(value)}: should be {context['error']}"
    if kind == "rule":
        return f"{shown(value)}: should be {context['should']}"
    right = _WORDS.get(kind) or details["msg"].removeprefix("Input should be ")
    return f"{shown(value)}: should be {right[0].lower()}{right[1:]}"


def _nearest(schema: type[BaseModel], location: tuple[int | str, ...]) -> str | None:
    known = sorted(_known_keys(schema, location[:-1]))
    return next(iter(get_close_matches(str(location[-1]), known, n=1)), None)


def _path_in(document: object, location: tuple[int | str, ...]) -> Iterator[int | str]:
    """Yield the keys of pydantic's location without those that are not in the file: the tags of unions."""
    last = len(location) - 1
    for depth, key in enumerate(location):
        if isinstance(document, Mapping):
            if key in document:
                document = document[key]
            elif depth < last:
                continue
        elif isinstance(document, list) and isinstance(key, int):
            document = document[key]
        else:
            continue
        yield key


def _corrected(document: object, path: tuple[int | str, ...], name: str | None) -> object:
    """Return the document with the last key of a path renamed, or left out if the name is taken or None."""
    key, rest = path[0], path[1:]
    if isinstance(document, list) and isinstance(key, int):
        return [_corrected(item, rest, name) if index == key else item for index, item in enumerate(document)]
    if not isinstance(document, Mapping):
        return document
    if rest:
        return {k: _corrected(v, rest, name) if k == key else v for k, v in document.items()}
    without = {k: v for k, v in document.items() if k != key}
    return without if name is None or name in without else {**without, name: document[key]}


def _known_keys(schema: type[BaseModel], location: tuple[int | str, ...]) -> set[str]:
    """Return the keys of the section at one of pydantic's locations."""
    current: object = schema
    for key in location:
        current = _step(current, key)
    return set(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else set()


def _step(annotation: object, key: int | str) -> object:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _bare(annotation.model_fields[str(key)].annotation)
    if get_origin(annotation) in (Union, UnionType):
        return next(member for member in get_args(annotation) if key in _tags(member))
    # tuple[T, ...] holds T first, dict[str, T] last.
    arguments = get_args(annotation)
    return _bare(arguments[-1] if get_origin(annotation) is dict else arguments[0])


def _bare(annotation: object) -> object:
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation


def _tags(member: object) -> set[object]:
    if not (isinstance(member, type) and issubclass(member, BaseModel)):
        return set()
    literals = (f.annotation for f in member.model_fields.values() if get_origin(f.annotation) is Literal)
    return {value for literal in literals for value in get_args(literal)}
