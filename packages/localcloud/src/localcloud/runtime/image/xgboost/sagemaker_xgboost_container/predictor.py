"""The built-in algorithm's server.

Source: SageMaker Developer Guide, "Common data formats for inference"; aws/sagemaker-xgboost-container.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import flask
import numpy as np
import xgboost as xgb
from sagemaker_containers.beta.framework import encoders

from sagemaker_xgboost_container import encoder
from sagemaker_xgboost_container.data_utils import CSV, LIBSVM, get_content_type

_ACCEPTED = ("application/json", "application/jsonlines", "application/x-recordio-protobuf", "text/csv")
_VOTED = ("multi:softmax", "binary:hinge")
_LABEL, _LABELS, _SCORE = "predicted_label", "labels", "predicted_score"
_PROBABILITY, _PROBABILITIES, _RAW, _RAWS = "probability", "probabilities", "raw_score", "raw_scores"
_CLASSES = (_LABEL, _LABELS, _RAW, _RAWS)
_SELECTABLE = {
    **dict.fromkeys(["reg:squarederror", "reg:logistic", "reg:gamma", "reg:absoluteerror", "reg:tweedie"], (_SCORE,)),
    **dict.fromkeys(["binary:logistic", "multi:softprob"], (*_CLASSES, _PROBABILITY, _PROBABILITIES)),
    **dict.fromkeys(["binary:logitraw", "binary:hinge", "multi:softmax"], _CLASSES),
}
log = logging.getLogger(__name__)
application = flask.Flask(__name__)
application.config["MAX_CONTENT_LENGTH"] = int(os.getenv("MAX_CONTENT_LENGTH", str(6 * 1024**2)))


class Model:
    """All boosters of the model's folder; several answer together, unless SAGEMAKER_INFERENCE_ENSEMBLE is false."""

    def __init__(self, folder: str) -> None:
        paths = sorted(entry.path for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith("."))
        if os.environ.get("SAGEMAKER_INFERENCE_ENSEMBLE", "true") != "true":
            paths = paths[:1]
        if not paths:
            raise RuntimeError(f"no model file in {folder}")
        self._boosters, self._pickled = zip(*(_load(path) for path in paths))  # noqa: B905 (older Pythons)
        settings = json.loads(self._boosters[0].save_config())["learner"]
        self.objective: str = settings["objective"]["name"]
        self.classes = int(settings["learner_model_param"].get("num_class", 0))

    def predict(self, rows: Any, kind: str) -> Any:
        """Return the prediction, of several boosters the mean, or the vote where they predict classes."""
        first = self._boosters[0]
        if self._pickled[0]:
            _check_size(rows.num_col(), first.num_features(), kind)
        answers = [_predict(booster, rows) for booster in self._boosters]
        if len(answers) == 1:
            return answers[0]
        if self.objective in _VOTED:
            from scipy import stats

            return np.ravel(stats.mode(np.array(answers), axis=0)[0])
        return np.mean(answers, axis=0)


def _load(path: str) -> tuple[Any, bool]:
    """Return a booster, and whether its file is a pickle, as XGBoost 1.2 and older write it."""
    try:
        with open(path, "rb") as file:
            booster, pickled = pickle.load(file), True
    except Exception as no_pickle:
        try:
            booster, pickled = xgb.Booster(), False
            booster.load_model(path)
        except Exception as error:
            raise RuntimeError(
                f"Model {path} cannot be loaded:\nPickle load error={no_pickle}\nXGB load model error={error}"
            ) from error
    booster.set_param("nthread", 1)
    return booster, pickled


def _check_size(found: int, expected: int, kind: str) -> None:
    if kind == LIBSVM and found > expected + 1:
        raise ValueError(
            f"Feature size of libsvm inference data {found} is larger than feature size of trained model {expected}."
        )
    if kind == CSV and found not in (expected, expected - 1):
        raise ValueError(
            f"Feature size of csv inference data {found} is not consistent with feature size of trained model "
            f"{expected}."
        )


def _predict(booster: Any, rows: Any) -> Any:
    best = int(getattr(booster, "best_ntree_limit", 0) or 0)
    if best and hasattr(booster, "inplace_predict") and xgb.__version__.startswith("1."):
        return booster.predict(rows, ntree_limit=best, validate_features=False)
    return booster.predict(rows, validate_features=False)


@cache
def model() -> Model:
    """Load the model, once in each worker process."""
    return Model(os.environ["SM_MODEL_DIR"])


def ping() -> Any:
    """Answer once the model is loaded."""
    model()
    return flask.Response(status=200)


def execution_parameters() -> Any:
    """Return how SageMaker should batch a transform job's requests."""
    return {
        "MaxConcurrentTransforms": os.cpu_count(),
        "BatchStrategy": "MULTI_RECORD",
        "MaxPayloadInMB": application.config["MAX_CONTENT_LENGTH"] // 1024**2,
    }


def invocations() -> Any:
    """Answer one request: 415 for data that cannot be read, 400 for data that do not fit the model, 406 by Accept."""
    body = flask.request.data
    if not body:
        return flask.Response(status=204)
    steps: list[tuple[int, str, Callable[[], Any]]] = [
        (415, "", lambda: _parse(body, flask.request.content_type)),
        (500, "Unable to load model: ", model),
        (400, "Unable to evaluate payload provided: ", lambda: model().predict(*rows)),
        (406, "", _accept),
    ]
    results = []
    for status, prefix, step in steps:
        try:
            results.append(step())
        except Exception as error:
            log.exception("the request is answered with %s", status)
            return flask.Response(f"{prefix}{error}", status)
        rows = results[0]
    predictions, accept = results[2:]
    if "SAGEMAKER_INFERENCE_OUTPUT" not in os.environ:
        return flask.Response(_encode(predictions.tolist(), accept), mimetype=accept)
    try:
        return flask.Response(_encode_selected(predictions, accept), mimetype=accept)
    except Exception as error:
        log.exception("the selected output cannot be given")
        return flask.Response(str(error), 500)


def _parse(body: bytes, content_type: str | None) -> tuple[Any, str]:
    kind = get_content_type(content_type)
    readers: dict[str, Callable[[str], Any]] = {
        CSV: partial(encoder.csv_to_dmatrix, dtype=float),
        LIBSVM: _sparse,
    }
    if kind not in readers:
        raise RuntimeError(f"Content-type {content_type} is not supported.")
    try:
        return readers[kind](body.strip().decode("utf-8")), kind
    except Exception as error:
        raise RuntimeError(
            f"Loading {kind} data failed with Exception, please ensure data is in {kind} format:\n "
            f"{type(error)}\n {error}"
        ) from error


def _sparse(text: str) -> Any:
    """Return LIBSVM rows in which what is left out is missing; indices that begin at one are shifted to zero."""
    from scipy.sparse import csr_matrix

    cells = [
        (row, int(index), float(value))
        for row, line in enumerate(text.split("\n"))
        for index, _, value in (item.partition(":") for item in line.split(" ") if ":" in item)
    ]
    rows, columns, values = (np.array([cell[part] for cell in cells]) for part in range(3))
    offset = 1 if cells and columns.min() >= 1 else 0
    return xgb.DMatrix(csr_matrix((values, (rows, columns - offset))))


def _accept() -> str:
    accept = str(flask.request.headers.get("accept", "")).partition(";")[0].strip().lower()
    if accept in ("", "*/*"):
        return os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "text/csv")
    if accept not in _ACCEPTED:
        raise ValueError(
            f"Accept type {accept} is not supported. Please use supported accept types: {list(_ACCEPTED)}."
        )
    return accept


def _encode(predictions: list[Any], accept: str) -> Any:
    if os.environ.get("SAGEMAKER_BATCH"):
        return "".join(f"{prediction}\n" for prediction in predictions)
    if accept == "application/json":
        return json.dumps({"predictions": [{"score": prediction} for prediction in predictions]})
    return encoders.encode(predictions, accept)


def _encode_selected(predictions: Any, accept: str) -> Any:
    """Return what SAGEMAKER_INFERENCE_OUTPUT names of each prediction."""
    names = os.environ["SAGEMAKER_INFERENCE_OUTPUT"].replace(" ", "").lower().split(",")
    objective = model().objective
    if objective not in _SELECTABLE:
        raise ValueError(f"Objective `{objective}` unsupported for selectable inference predictions.")
    wrong = sorted(set(names) - set(_SELECTABLE[objective]))
    if wrong:
        log.warning(
            "Selected key(s) %s incompatible for objective '%s'. Please use list of compatible selectable inference "
            "predictions: %s", wrong, objective, list(_SELECTABLE[objective]),
        )  # fmt: skip
    rows = [
        {name: np.nan if name in wrong else _selected(name, prediction, objective) for name in names}
        for prediction in predictions
    ]
    if accept == "application/json":
        return json.dumps({"predictions": rows})
    if accept == "application/jsonlines":
        return encoder.json_to_jsonlines({"predictions": rows})
    if accept == "text/csv":
        lines = [",".join(f'"{v}"' if isinstance(v, list) else str(v) for v in row.values()) for row in rows]
        return "\n".join(lines) + ("\n" if os.environ.get("SAGEMAKER_BATCH") else "")
    raise RuntimeError(f"Cannot encode selected predictions into accept type '{accept}'.")


def _selected(name: str, prediction: Any, objective: str) -> Any:
    several = objective == "multi:softprob"
    if name == _LABELS:
        return [0, 1] if objective.startswith("binary:") else list(range(model().classes))
    if name == _LABEL:
        if several:
            return int(np.argmax(prediction))
        limit = {"binary:logistic": 0.5, "binary:logitraw": 0.0}.get(objective)
        return prediction.item() if limit is None else int(prediction > limit)
    if name in (_PROBABILITIES, _RAWS):
        return prediction.tolist() if several else [1.0 - prediction.item(), prediction.item()]
    return max(prediction).item() if several else prediction.item()


application.add_url_rule("/ping", view_func=ping)
application.add_url_rule("/execution-parameters", view_func=execution_parameters)
application.add_url_rule("/invocations", view_func=invocations, methods=["POST"])
