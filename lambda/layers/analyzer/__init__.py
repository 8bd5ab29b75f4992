"""The Lambda layer: numpy and orjson for arm64, locked by hash, built without Docker."""
