"""Find and open input files."""

import fnmatch
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from drift_analyzer.jsonio import loads


class DatasetError(ValueError):
    """Data that cannot be read; the message names the file and the reason."""


def list_files(folder: Path, pattern: str = "*") -> list[Path]:
    """List the data files of a folder by name, which in data capture is the order of time; or return the file itself.

    Raises:
        DatasetError: There is no such file.
    """
    if folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise DatasetError(f"{folder} is neither a file nor a folder")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith((".", "_")) and fnmatch.fnmatch(path.name, pattern)
    )
    if not found:
        raise DatasetError(f"{folder} holds no file {pattern}")
    return found


def open_files(paths: Sequence[Path]) -> Iterator[tuple[str, BinaryIO]]:
    """Open the files one after another; yield each with its path."""
    for path in paths:
        with path.open("rb") as stream:
            yield str(path), stream


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DatasetError: The file cannot be read or is not JSON.
    """
    try:
        return loads(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON: {error}") from error
