"""The base of all configuration sections: strict, frozen, and closed to unknown keys."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError


class Spec(BaseModel):
    """A section of a configuration file."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        # Otherwise `"false"` would be true, and `account: 012345678901` an octal number.
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class Mistakes:
    """The broken rules of one section, collected so that one run reports all of them.

    A validator that raises at the first mistake hides the next one. Pydantic merges a `ValidationError` that a
    validator raises into the outer one and puts the section's place in front of each location.
    """

    def __init__(self, section: BaseModel | tuple[BaseModel, ...]) -> None:
        self._section = section
        self._errors: list[InitErrorDetails] = []

    def add(self, *path: str | int, should: str) -> None:
        """Record that the value at `path`, relative to the section, should be something else."""
        value: Any = self._section
        for key in path:
            value = value[key] if isinstance(key, int) else getattr(value, key)
        # Passed as a value: pydantic would read braces in the text as template fields.
        error = PydanticCustomError("rule", "{should}", {"should": should})
        self._errors.append(InitErrorDetails(type=error, loc=path, input=value))

    def raise_if_any(self) -> None:
        """Raise the collected mistakes.

        Raises:
            ValidationError: If any mistake was added.
        """
        if self._errors:
            raise ValidationError.from_exception_data(type(self._section).__name__, self._errors)
