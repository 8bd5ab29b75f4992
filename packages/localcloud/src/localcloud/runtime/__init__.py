"""Containers without Docker: SageMaker's jobs and model servers as supervised processes of this machine."""
