"""The only place that imports ministack (1.5.33, pinned): what we add to it, change in it, and demand of it.

Import `environment` first and call `settle`; the other modules import ministack, which reads its settings at import.
"""
