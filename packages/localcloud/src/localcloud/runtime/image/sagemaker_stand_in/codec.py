"""Conversion of NumPy arrays to and from JSON, CSV and NPY, as in the toolkits' default handlers."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np

JSON, CSV, NPY = "application/json", "text/csv", "application/x-npy"
OCTET_STREAM, ANY = "application/octet-stream", "*/*"
UTF8_TYPES = [JSON, CSV]


class UnsupportedFormatError(Exception):
    """No default handler reads or writes the content type."""

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type
        super().__init__(
            f"Content type {content_type} is not supported by this framework. Please implement input_fn to "
            "deserialize the request data or an output_fn to serialize the response."
        )


def _from_json(data: str | bytes) -> Any:
    return np.array(json.loads(data))


def _from_csv(data: str | bytes) -> Any:
    text = data.decode() if isinstance(data, bytes) else data
    return np.genfromtxt(io.StringIO(text), dtype=None, delimiter=",", encoding=None)


def _from_npy(data: str | bytes) -> Any:
    return np.load(io.BytesIO(data if isinstance(data, bytes) else data.encode("latin-1")), allow_pickle=False)


def _to_json(value: Any) -> str:
    return json.dumps(value, default=lambda item: item.tolist())


def _to_csv(value: Any) -> str:
    stream = io.StringIO()
    np.savetxt(stream, np.asarray(value), delimiter=",", fmt="%s")
    return stream.getvalue()


def _to_npy(value: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value), allow_pickle=False)
    return buffer.getvalue()


_DECODERS: dict[str, Callable[[str | bytes], Any]] = {JSON: _from_json, CSV: _from_csv, NPY: _from_npy}
_ENCODERS: dict[str, Callable[[Any], str | bytes]] = {JSON: _to_json, CSV: _to_csv, NPY: _to_npy}


def media_type(content_type: str) -> str:
    """Return the media type without parameters: `text/csv; charset=utf-8` → `text/csv`."""
    return content_type.partition(";")[0].strip().lower()


def decode(data: str | bytes, content_type: str) -> Any:
    """Decode a body to an array.

    Raises:
        UnsupportedFormatError: the content type is not JSON, CSV or NPY.
    """
    decoder = _DECODERS.get(media_type(content_type))
    if decoder is None:
        raise UnsupportedFormatError(content_type)
    return decoder(data)


def encode(value: Any, content_type: str) -> str | bytes:
    """Encode an array as a body.

    Raises:
        UnsupportedFormatError: the content type is not JSON, CSV or NPY.
    """
    encoder = _ENCODERS.get(media_type(content_type))
    if encoder is None:
        raise UnsupportedFormatError(content_type)
    return encoder(value)
