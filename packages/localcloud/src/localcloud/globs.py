"""Path patterns of CodeBuild and CodePipeline: `*` stays within a folder, `**` does not, `{a,b}` chooses.

Source: AWS CodePipeline User Guide, "Working with glob patterns in syntax".
"""

from __future__ import annotations

import re
from functools import cache

_TOKEN = re.compile(r"\*\*/|\*\*|\*|\?|\{[^{}]*\}|\[[^\]]+\]|.", re.DOTALL)


def matches(pattern: str, path: str) -> bool:
    """Return whether a whole path or branch name matches the pattern."""
    return _compiled(pattern).fullmatch(path) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(_expression(pattern.removeprefix("./")), re.DOTALL)


def _expression(pattern: str) -> str:
    return "".join(_piece(token) for token in _TOKEN.findall(pattern))


def _piece(token: str) -> str:
    plain = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    if token in plain:
        return plain[token]
    if token.startswith("{"):
        return f"(?:{'|'.join(_expression(choice) for choice in token[1:-1].split(','))})"
    if token.startswith("[") and token.endswith("]"):
        inner = token[1:-1].replace("\\", "\\\\")
        return f"[{'^' + inner[1:] if inner.startswith('!') else inner}]"
    return re.escape(token)
