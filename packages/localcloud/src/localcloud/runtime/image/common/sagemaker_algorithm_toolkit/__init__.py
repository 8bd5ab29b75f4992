"""Errors of SageMaker's built-in algorithms."""
