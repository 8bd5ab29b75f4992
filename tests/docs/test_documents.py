"""Documents name files, headings and targets that exist, in lines that can be read.

`make check` does not run these tests: a user may replace the documents.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.docs.documents import ROOT, Document, documents, files

_LONGEST_LINE = 500
# Models that a reader is told to create.
_EXAMPLES = ("models/my_model", "models/second_model")
_REFERENCE = re.compile(r'(docs/[\w./-]+\.md)(?:, (\\?"[^"\n]+"))?')


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_every_link_leads_to_a_file_and_a_heading(document: Document) -> None:
    broken = []
    for link in document.links():
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.path.parent / path).resolve() if path else document.path
        known = target.is_dir() or target.is_file()
        if not known or (anchor and target.suffix == ".md" and anchor not in Document(target).anchors()):
            broken.append(link)
    assert broken == []


def test_documents_name_only_paths_that_exist() -> None:
    """Paths in code that begin with a folder of the repository, from the root or from the document's own folder."""
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and _is_kept(path)]
    begins = re.compile(rf"(?:{'|'.join(map(re.escape, folders))})/[\w./-]+")
    mentioned = {(code, document) for document in documents() for code in document.code() if begins.fullmatch(code)}
    assert len(mentioned) > 30
    missing = [
        f"{document.name}: {path}"
        for path, document in mentioned
        if not ((ROOT / path).exists() or (document.path.parent / path).exists() or path in _EXAMPLES)
    ]
    assert sorted(missing) == []


def test_code_refers_to_documents_and_headings_that_exist() -> None:
    broken = []
    for path in files(".py", ".yaml", ".yml", ".json", ".toml", "Makefile"):
        for name, heading in _REFERENCE.findall(path.read_text(encoding="utf-8")):
            document = Document(ROOT / name)
            anchor = re.sub(r"[^\w\- ]", "", heading.strip('\\"').lower()).replace(" ", "-")
            if not document.path.is_file() or (heading and anchor not in document.anchors()):
                broken.append(f"{path.relative_to(ROOT)}: {name} {heading}".strip())
    assert broken == []


@pytest.mark.parametrize("document", documents(), ids=lambda document: document.name)
def test_no_line_is_a_wall_of_text(document: Document) -> None:
    """Tables of the reference may be wider: a reader looks up one cell there."""
    reference = (ROOT / "docs" / "reference") in document.path.parents
    lines = enumerate(document.text.splitlines(), 1)
    assert [
        number for number, line in lines if len(line) > _LONGEST_LINE and not (reference and line.startswith("|"))
    ] == []


def test_documents_name_only_targets_that_make_has() -> None:
    targets = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    mentioned = {
        (word, document.name)
        for document in documents()
        for words in document.commands("make")
        for word in words
        if "=" not in word and not word.startswith("-")
    }
    assert {"demo", "check", "test", "deploy"} <= {target for target, _ in mentioned}
    assert sorted(f"{name}: make {target}" for target, name in mentioned if target not in targets) == []


def test_every_folder_has_its_job_in_the_readme() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Folders", 1)[1]
    folders = [path.name for path in ROOT.iterdir() if path.is_dir() and _is_kept(path)]
    assert [name for name in sorted(folders) if not re.search(rf"^\| `{name}/", table, re.M)] == []


def _is_kept(folder: Path) -> bool:
    """Return whether a folder belongs to the repository: it is not hidden, and neither built nor installed."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    return not folder.name.startswith(".") and f"{folder.name}/" not in ignored
