"""The glue between AWS's toolkit and the framework, which is not on PyPI: script mode only."""
