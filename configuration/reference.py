"""`docs/reference/configuration.md`, written from the JSON Schemas."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_INTRODUCTION = """# Configuration reference

Every key of `evergreen.yaml` and `models/<name>/model.yaml`. `make schema` writes this page from the code.
Your editor completes and checks both files against the same schemas.
`evergreen check` also reports the rules that join several keys: all mistakes at once, a line each.
An unknown key is a mistake. Instance types are x86: SageMaker's XGBoost images for Graviton stop at 1.5.
"""


def reference(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page.

    Args:
        schemas: The JSON Schema of each file by the file's name.
    """
    return _INTRODUCTION + "".join(f"\n## {file}\n{_Page(schema).text()}" for file, schema in schemas.items())


class _Page:
    """The sections of one file, in the order in which its keys name them."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._written: set[str] = set()

    def text(self) -> str:
        return "".join(self._section("", self._schema))

    def _section(self, path: str, section: Mapping[str, Any]) -> Iterator[str]:
        if path:
            yield f"\n### `{path}`\n"
            if described := section.get("description"):
                yield f"{_line(described)}\n"
        yield "\n| key | type | default | meaning |\n|---|---|---|---|\n"
        required = section.get("required", ())
        for key, value in section["properties"].items():
            default = "required" if key in required else self._default(value)
            yield f"| `{key}` | {self._type(value)} | {default} | {_line(self._meaning(value))} |\n"
        for key, value in section["properties"].items():
            for suffix, inner in self._sections(value):
                if inner["title"] not in self._written:  # two profiles share some sections
                    self._written.add(inner["title"])
                    yield from self._section(f"{path}.{key}{suffix}".lstrip("."), inner)

    def _sections(self, value: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield the sections that a key leads to, with what follows the key in their path."""
        if "$ref" in value:
            yield "", self._resolve(value)
        elif "discriminator" in value:
            tag = value["discriminator"]["propertyName"]
            for name, address in value["discriminator"]["mapping"].items():
                yield f" ({tag}: {name})", self._resolve({"$ref": address})
        elif "items" in value:
            yield from ((f"[]{suffix}", inner) for suffix, inner in self._sections(value["items"]))
        elif isinstance(value.get("additionalProperties"), Mapping):
            nested = self._sections(value["additionalProperties"])
            yield from ((f".<stage>{suffix}", inner) for suffix, inner in nested)
        for member in value.get("anyOf", ()):
            yield from self._sections(member)

    def _resolve(self, value: Mapping[str, Any]) -> Mapping[str, Any]:
        section: Mapping[str, Any] = self._schema["$defs"][value["$ref"].rsplit("/", 1)[1]]
        return section

    def _meaning(self, value: Mapping[str, Any]) -> str:
        """Return a key's description, or that of the only section it leads to."""
        if "description" in value:
            return str(value["description"])
        sections = [inner for _, inner in self._sections(value)]
        return str(sections[0].get("description", "")) if len(sections) == 1 else ""

    def _default(self, value: Mapping[str, Any]) -> str:
        default = value.get("default", {})
        if isinstance(default, Mapping):
            return "its defaults" if self._leads_on(value) else "none"
        return f"`{_yaml(default)}`"

    def _leads_on(self, value: Mapping[str, Any]) -> bool:
        return next(self._sections(value), None) is not None

    def _type(self, value: Mapping[str, Any]) -> str:
        if members := [member for member in value.get("anyOf", ()) if member.get("type") != "null"]:
            return " or ".join(self._type(member) for member in members)
        if "enum" in value:
            return " \\| ".join(f"`{_yaml(member)}`" for member in value["enum"])
        if "const" in value:
            return f"`{_yaml(value['const'])}`"
        if "items" in value:
            items = value["items"]
            return "list of sections" if self._leads_on(items) else f"list of {self._type(items)}"
        if self._leads_on(value):
            return "section"
        return _range(value)


def _range(value: Mapping[str, Any]) -> str:
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false"}
    name = names.get(value.get("type", ""), "keys and values")
    bounds = (
        (value.get("minimum"), "at least"),
        (value.get("exclusiveMinimum"), "above"),
        (value.get("maximum"), "at most"),
        (value.get("exclusiveMaximum"), "below"),
        (value.get("multipleOf"), "a multiple of"),
    )
    said = ", ".join(f"{word} {bound:,}" for bound, word in bounds if bound is not None)
    if "maxLength" in value:
        said = f"at most {value['maxLength']:,} characters"
    return f"{name}, {said}" if said else name


def _yaml(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
