"""The only package that imports ministack (1.5.33, pinned): what the local cloud adds to it, changes and relies on.

Import `environment` first and call `configure`: the other modules import ministack, which reads its settings once.
"""
