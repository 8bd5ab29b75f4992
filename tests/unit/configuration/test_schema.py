"""The editors' schemas say what the models say."""

from __future__ import annotations

from configuration.schema import schemas


def test_the_schemas_in_the_tree_are_current() -> None:
    for path, text in schemas().items():
        assert path.read_text(encoding="utf-8") == text, f"run `evergreen schema`: {path.name} is old"
