"""A model and its four handlers: the user's, or the framework's defaults.

Source: SageMaker SDK, "Serve a Scikit-learn Model" and "Serve an XGBoost Model"; aws/sagemaker-inference-toolkit.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import codec

Handler = Callable[..., Any]


@dataclass(frozen=True)
class Answer:
    """An HTTP response."""

    status: int
    body: bytes
    content_type: str


@dataclass(frozen=True)
class Defaults:
    """A framework's default handlers, for names that the user's module does not define."""

    input_fn: Handler
    predict_fn: Handler
    output_fn: Handler


def _call(function: Handler, *arguments: Any) -> Any:
    """Call a handler, which may take a context as a further argument."""
    if len(inspect.signature(function).parameters) == len(arguments) + 1:
        arguments = (*arguments, None)
    return function(*arguments)


class UserModel:
    """A model with the handlers of the user's module."""

    def __init__(self, program: str, model_dir: str, defaults: Defaults) -> None:
        module = importlib.import_module(program.removesuffix(".py").replace("/", "."))
        model_fn = getattr(module, "model_fn", None)
        if model_fn is None:
            raise NotImplementedError(f"Please provide a model_fn implementation in {program}: there is no default one")
        transform = getattr(module, "transform_fn", None)
        own = [name for name in ("input_fn", "predict_fn", "output_fn") if hasattr(module, name)]
        if transform is not None and own:
            raise ValueError(f"Cannot use transform_fn implementation with {', '.join(own)}")
        self._input = getattr(module, "input_fn", defaults.input_fn)
        self._predict = getattr(module, "predict_fn", defaults.predict_fn)
        self._output = getattr(module, "output_fn", defaults.output_fn)
        self._transform = transform
        self._default_accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", codec.JSON)
        self._model = _call(model_fn, model_dir)

    def answer(self, body: bytes, content_type: str, accept: str | None) -> Answer:
        """Run the handlers, and respond to errors as the toolkit does."""
        wanted = self._default_accept if accept in (None, "", codec.ANY) else str(accept)
        data: str | bytes = body.decode() if content_type in codec.UTF8_TYPES else body
        try:
            if self._transform is not None:
                return _answer(_call(self._transform, self._model, data, content_type, wanted), wanted)
            try:
                value = _call(self._input, data, content_type)
            except codec.UnsupportedFormatError as error:
                return _error(415, error)
            prediction = _call(self._predict, value, self._model)
            try:
                return _answer(_call(self._output, prediction, wanted), wanted)
            except codec.UnsupportedFormatError as error:
                return _error(406, error)
        except Exception as error:  # noqa: BLE001 (any exception of the user's code becomes the response)
            traceback.print_exc()
            status = int(getattr(error, "status_code", 500))
            text = f"{error}\n{traceback.format_exc()}"
            return Answer(status, text.encode(), "text/plain")


def _error(status: int, error: Exception) -> Answer:
    body = {"error": type(error).__name__, "error-message": str(error), "stack-trace": traceback.format_exc()}
    return Answer(status, json.dumps(body).encode(), codec.JSON)


def _answer(result: Any, accept: str) -> Answer:
    """Convert a handler's result: a body, (body, content type), or a response object."""
    content_type, status = accept, 200
    if isinstance(result, tuple):
        result, content_type = result[0], str(result[1])
    elif hasattr(result, "mimetype") and hasattr(result, "response"):
        content_type, status = str(result.mimetype or accept), int(result.status_code)
        result = result.get_data() if hasattr(result, "get_data") else result.response
    if isinstance(result, bytearray | memoryview):
        result = bytes(result)
    if isinstance(result, str):
        result = result.encode()
    if not isinstance(result, bytes):
        raise TypeError(f"output_fn must return str or bytes (and a content type), got {type(result).__name__}")
    return Answer(status, result, content_type)
