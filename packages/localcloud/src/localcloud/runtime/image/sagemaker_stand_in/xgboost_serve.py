"""Default handlers of the XGBoost container, and the built-in algorithm's model for requests without a script."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import xgboost as xgb

from . import codec
from .handlers import Answer, Defaults
from .xgboost_data import decode_payload


def _predict(data: Any, model: Any) -> Any:
    return model.predict(data, validate_features=False)


DEFAULTS = Defaults(
    decode_payload, _predict, lambda prediction, accept: (codec.encode(prediction.tolist(), accept), accept)
)


class AlgorithmModel:
    """A model that the built-in algorithm trained: it reads CSV or LIBSVM, and returns one score per line, or JSON."""

    def __init__(self, model_dir: str) -> None:
        files = [path for path in sorted(Path(model_dir).iterdir()) if path.is_file()]
        named = [path for path in files if path.name == "xgboost-model"] or files
        if not named:
            raise FileNotFoundError(f"no model file in {model_dir}")
        # XGBoost takes the format from a file's extension, which is missing, or from the bytes. Pickles are not loaded.
        self._booster = xgb.Booster(model_file=bytearray(named[0].read_bytes()))
        self._booster.set_param("nthread", 1)
        best = self._booster.attr("best_iteration")
        self._range = (0, int(best) + 1) if best is not None else (0, 0)

    def answer(self, body: bytes, content_type: str, accept: str | None) -> Answer:
        """Answer as the container does: 415 for data that cannot be parsed, 400 for data that do not fit the model."""
        if not body:
            return Answer(204, b"", "text/csv")
        try:
            matrix = decode_payload(body, content_type)
        except (ValueError, codec.UnsupportedFormatError) as error:
            text = f"Loading {content_type} data failed with Exception, please ensure data is in that format: {error}"
            return Answer(415, text.encode(), "text/plain")
        expected = self._booster.num_features()
        if (matrix.num_col() != expected) if "csv" in content_type else (matrix.num_col() > expected):
            text = (
                f"Unable to evaluate payload provided: Feature size of {content_type} inference data "
                f"{matrix.num_col()} is not consistent with feature size of trained model {expected}."
            )
            return Answer(400, text.encode(), "text/plain")
        scores = self._booster.predict(matrix, iteration_range=self._range, validate_features=False).tolist()
        if accept and codec.media_type(accept) == codec.JSON:
            text = json.dumps({"predictions": [{"score": score} for score in scores]})
            return Answer(200, text.encode(), codec.JSON)
        return Answer(200, "".join(f"{score}\n" for score in scores).encode(), "text/csv; charset=utf-8")
