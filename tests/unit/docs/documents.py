"""The documents of the repository, and what they mention."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
_GENERATED = {"node_modules", "cdk.out", "__pycache__"}
_FENCE = re.compile(r"^```.*?\n(.*?)^```", re.M | re.S)
INLINE_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"")


@dataclass(frozen=True)
class Document:
    """A Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """Its path from the root."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    def blocks(self) -> list[str]:
        """Return the blocks of shell commands."""
        return re.findall(r"^```sh\n(.*?)^```", self.text, re.M | re.S)

    def code(self) -> Iterator[str]:
        """Yield each line of fenced code and each inline code."""
        for block in _FENCE.findall(self.text):
            yield from block.splitlines()
        yield from INLINE_CODE.findall(_FENCE.sub("", self.text))

    def commands(self, program: str) -> Iterator[list[str]]:
        """Yield the arguments of each call of a program in code, without what a shell adds."""
        for code in self.code():
            for part in re.split(r"&&|\|\||[;|]|(?:^|\s)#", code):
                words = _words(part)
                if words and words[0].removeprefix(".venv/bin/") == program:
                    yield words[1:]

    def links(self) -> Iterator[str]:
        """Yield the targets of links and pictures."""
        for link, picture in _LINK.findall(_FENCE.sub("", self.text)):
            yield link or picture

    def anchors(self) -> set[str]:
        """Return the anchors that GitHub gives the headings."""
        headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", self.text), re.M)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _words(code: str) -> list[str]:
    try:
        return shlex.split(code)
    except ValueError:  # half a quotation, of a command in several lines
        return code.split()


def files(*suffixes: str) -> Iterator[Path]:
    """Yield the files of the tree with one of these endings, without what is built or installed."""
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.is_dir():
                if not path.name.startswith(".") and path.name not in _GENERATED:
                    folders.append(path)
            elif path.name.endswith(suffixes):
                yield path


def documents() -> list[Document]:
    """Return every Markdown file of the tree."""
    return [Document(path) for path in files(".md")]


def rows(text: str) -> Iterator[list[str]]:
    """Yield the cells of each table row, headings included."""
    for line in text.splitlines():
        if line.startswith("|") and not line.startswith("|-"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
