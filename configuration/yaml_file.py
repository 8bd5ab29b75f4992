"""Read a YAML file; report a syntax error in one line, with its line number."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path

import yaml

from configuration.problems import ConfigurationError, Problem


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which also refuses a key that occurs twice in a mapping."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} occurs twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# `2013-01-01` stays text, as it is in JSON and in the editor's schema.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(path: Path, name: str) -> object:
    """Parse a YAML file.

    Args:
        path: The file.
        name: What to call it in an error.

    Raises:
        ConfigurationError: If the file cannot be read or is not YAML.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506, a SafeLoader
    except FileNotFoundError:
        raise ConfigurationError([Problem(name, "", "there is no such file")]) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError([Problem(name, "", f"byte {error.start}: should be UTF-8 text")]) from None
    except yaml.YAMLError as error:
        raise ConfigurationError([Problem(name, *_syntax(error))]) from None


def _syntax(error: yaml.YAMLError) -> tuple[str, str]:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"line {error.problem_mark.line + 1}", error.problem or "not YAML"
    return "", " ".join(str(error).split())
