"""The Lambda layer with the analyzer, numpy and orjson for arm64, locked by hash and built without Docker."""
