"""Default handlers of the scikit-learn container; there is no default `model_fn`, each script loads its model."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import codec
from .handlers import Defaults


def _input(data: str | bytes, content_type: str) -> Any:
    array = codec.decode(data, content_type)
    return array.astype(np.float32) if content_type in codec.UTF8_TYPES else array


def _predict(data: Any, model: Any) -> Any:
    return model.predict(data)


DEFAULTS = Defaults(_input, _predict, lambda prediction, accept: (codec.encode(prediction, accept), accept))
