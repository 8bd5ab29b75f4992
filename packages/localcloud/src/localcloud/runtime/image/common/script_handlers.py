"""The handlers of a user's inference script, with a framework's defaults for those that it lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sagemaker_containers.beta.framework import transformer

from sagemaker_algorithm_toolkit.exceptions import UserError


def handlers(module: Any, defaults: dict[str, Callable[..., Any]]) -> Any:
    """Return the toolkit's transformer of a script.

    Args:
        module: the script.
        defaults: `input_fn`, `predict_fn` and `output_fn` of the framework. There is no default `model_fn`.

    Raises:
        UserError: the script has `transform_fn` and one of these.
    """
    model_fn = getattr(module, "model_fn", transformer.default_model_fn)
    given = {name: getattr(module, name) for name in defaults if hasattr(module, name)}
    if not hasattr(module, "transform_fn"):
        return transformer.Transformer(model_fn=model_fn, **{**defaults, **given})
    if given:
        raise UserError("Cannot use transform_fn implementation with input_fn, predict_fn, and/or output_fn")
    return transformer.Transformer(model_fn=model_fn, transform_fn=module.transform_fn)
