"""`serve`: a script's handlers in the toolkit's application."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from sagemaker_containers.beta.framework import content_types, encoders, env, modules, server, worker

from script_handlers import handlers

_application: Any = None


def default_input_fn(input_data: Any, content_type: str) -> Any:
    """Return the request's rows as an array, of single precision where they came as text."""
    rows = encoders.decode(input_data, content_type)
    return rows.astype(np.float32) if content_type in content_types.UTF8_TYPES else rows


def default_predict_fn(input_data: Any, model: Any) -> Any:
    """Return the model's predictions."""
    return model.predict(input_data)


def default_output_fn(prediction: Any, accept: str) -> Any:
    """Return the predictions in the format that the client accepts."""
    return worker.Response(encoders.encode(prediction, accept), accept, mimetype=accept)


DEFAULTS = {"input_fn": default_input_fn, "predict_fn": default_predict_fn, "output_fn": default_output_fn}


def _import(serving: Any) -> Any:
    try:
        return importlib.import_module(serving.module_name)
    except ImportError:
        return modules.import_module(serving.module_dir, serving.module_name)


def main(environ: Any, start_response: Any) -> Any:
    """Answer a request; the first one of each worker process loads the model."""
    global _application
    if _application is None:
        serving = env.ServingEnv()
        module = _import(serving)
        script = handlers(module, DEFAULTS)
        script.initialize()
        _application = worker.Worker(
            transform_fn=script.transform,
            module_name=serving.module_name,
            execution_parameters_fn=getattr(module, "execution_parameters_fn", None),
        )
    return _application(environ, start_response)


if __name__ == "__main__":
    server.start(env.ServingEnv().framework_module)
