"""`serve`: a script's handlers in the toolkit's application, or the built-in algorithm's own application."""

from __future__ import annotations

import importlib
import os
from typing import Any

from sagemaker_containers.beta.framework import encoders, env, server, worker

from sagemaker_xgboost_container import encoder
from script_handlers import handlers

_application: Any = None


def default_input_fn(input_data: Any, content_type: str) -> Any:
    """Return the request's rows as a DMatrix."""
    return encoder.decode(input_data, content_type)


def default_predict_fn(input_data: Any, model: Any) -> Any:
    """Return the model's predictions."""
    return model.predict(input_data, validate_features=False)


def default_output_fn(prediction: Any, accept: str) -> Any:
    """Return the predictions in the format that the client accepts."""
    return worker.Response(encoders.encode(prediction, accept), mimetype=accept)


DEFAULTS = {"input_fn": default_input_fn, "predict_fn": default_predict_fn, "output_fn": default_output_fn}


def main(environ: Any, start_response: Any) -> Any:
    """Answer a request; the first one of each worker process loads the model."""
    global _application
    if _application is None:
        serving = env.ServingEnv()
        if serving.module_name is None:
            from sagemaker_xgboost_container.predictor import application

            _application = application
        else:
            script = handlers(importlib.import_module(serving.module_name), DEFAULTS)
            script.initialize()
            _application = worker.Worker(transform_fn=script.transform, module_name=serving.module_name)
    return _application(environ, start_response)


def serving_entrypoint() -> None:
    """Start the server."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    server.start(env.ServingEnv().framework_module)


if __name__ == "__main__":
    serving_entrypoint()
