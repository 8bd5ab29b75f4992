"""The story that `make demo` tells, by AWS's own APIs and command lines, and of the local cloud by its commands."""
