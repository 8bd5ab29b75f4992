"""Containers without Docker: SageMaker's jobs and model servers run as supervised processes on this machine."""
