"""The bare repositories of one state folder. A name is the last part of what AWS calls a repository (`team/name`)."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}")
_HOOK = Path(__file__).with_name("hook.py")
_NOTHING = "0" * 40
_EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"


class SourceError(Exception):
    """A repository or commit is missing or invalid; the text says what to do."""


@dataclass(frozen=True)
class Commit:
    """A commit as source actions report it; times are ISO 8601."""

    id: str
    message: str
    author: str
    email: str
    author_date: str
    committer: str
    committer_email: str
    committer_date: str
    tree: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class Repository:
    """One bare repository."""

    name: str
    path: Path

    def commit(self, reference: str) -> Commit:
        """Read the commit that a branch, tag or id names.

        Raises:
            SourceError: There is no such commit yet.
        """
        form = "%H%x00%an%x00%ae%x00%aI%x00%cn%x00%ce%x00%cI%x00%T%x00%P%x00%B"
        try:
            text = self._git("log", "-1", f"--format={form}", f"{reference}^{{commit}}", "--")
        except subprocess.CalledProcessError as error:
            raise SourceError(
                f"{self.name} has no commit {reference} yet; push it: "
                f"git remote add local {self.path} && git push local {reference}"
            ) from error
        *plain, parents, message = text.split("\0", 9)
        names = ("id", "author", "email", "author_date", "committer", "committer_email", "committer_date", "tree")
        return Commit(**dict(zip(names, plain, strict=True)), parents=tuple(parents.split()), message=message.strip())

    def branches(self) -> dict[str, str]:
        """Return branch name → commit id."""
        lines = self._git("for-each-ref", "--format=%(refname:short) %(objectname)", "refs/heads").splitlines()
        return {name: commit for name, _, commit in (line.partition(" ") for line in lines)}

    def changed_files(self, old: str, new: str) -> list[str]:
        """Return the paths that a push changed; all of them for a new branch."""
        base = _EMPTY_TREE if old == _NOTHING else old
        return self._git("diff", "--name-only", "-z", base, new).rstrip("\0").split("\0")

    def archive(self, commit: str, file: Path) -> None:
        """Write the commit's tree as a zip."""
        self._git("archive", "--format=zip", f"--output={file}", commit)

    def clone(self, commit: str, folder: Path) -> None:
        """Check a commit out with its history, detached as CodeBuild leaves it."""
        subprocess.run(["git", "clone", "--quiet", "--no-local", str(self.path), str(folder)], check=True)  # noqa: S607
        subprocess.run(["git", "-C", str(folder), "checkout", "--quiet", commit], check=True)  # noqa: S607

    def _git(self, *arguments: str) -> str:
        command = ["git", "--git-dir", str(self.path), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Repositories:
    """Creates, finds and lists repositories; needs no gateway."""

    def __init__(self, state_dir: Path) -> None:
        self._state = state_dir.resolve()
        self._root = self._state / "git"

    def ensure(self, full_name: str) -> Repository:
        """Return the repository of a name; create it if it is new.

        Raises:
            SourceError: The name is invalid.
        """
        name = short(full_name)
        if not _NAME.fullmatch(name) or name.startswith((".", "-")):
            raise SourceError(f"{full_name!r} is no repository name; use letters, digits, '.', '_' and '-'")
        repository = Repository(name, self._root / f"{name}.git")
        if not (repository.path / "HEAD").exists():
            subprocess.run(
                ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(repository.path)],  # noqa: S607
                check=True,
                capture_output=True,
            )
        for hook in ("pre-receive", "post-receive"):  # rewritten each time: the interpreter may have moved
            words = [sys.executable, "-I", str(_HOOK), hook, str(self._state), name]
            file = repository.path / "hooks" / hook
            file.parent.mkdir(exist_ok=True)
            file.write_text(f"#!/bin/sh\nexec {shlex.join(words)}\n")
            file.chmod(0o755)
        return repository

    def find(self, full_name: str) -> Repository | None:
        """Return the repository of a name, or None."""
        path = self._root / f"{short(full_name)}.git"
        return Repository(short(full_name), path) if (path / "HEAD").exists() else None

    def all(self) -> list[Repository]:
        """Return all repositories by name."""
        return [Repository(path.stem, path) for path in sorted(self._root.glob("*.git"))]


def short(full_name: str) -> str:
    """Return the last part of `team/name`: locally there is one repository of a name, whatever its organisation."""
    return full_name.rstrip("/").rpartition("/")[2]
