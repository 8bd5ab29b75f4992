"""The constructs of Evergreen's stacks, by capability.

`constructs/` itself has no `__init__.py`: the folder joins the installed `constructs` package (constructs/README.md).
"""
