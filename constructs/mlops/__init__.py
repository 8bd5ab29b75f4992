"""What Evergreen's stacks are made of.

`constructs/` itself has no `__init__.py`: the folder joins the installed `constructs` package (constructs/README.md).
"""
