"""Serve a script by the toolkit: a WSGI application around the script's handlers."""

import importlib
from functools import cache
from typing import Any

from sagemaker_containers.beta.framework import env, transformer, worker


@cache
def _application() -> Any:
    serving = env.ServingEnv()
    script = importlib.import_module(serving.module_name)
    handlers = transformer.Transformer(
        model_fn=script.model_fn, input_fn=script.input_fn, predict_fn=script.predict_fn, output_fn=script.output_fn
    )
    handlers.initialize()
    return worker.Worker(transform_fn=handlers.transform, module_name=serving.module_name)


def main(environ: Any, start_response: Any) -> Any:
    """Answer a request."""
    return _application()(environ, start_response)
