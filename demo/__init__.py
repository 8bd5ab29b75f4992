"""The story that `make demo` tells, by AWS's own APIs and command lines. It starts the local cloud and knows nothing of its inside."""
