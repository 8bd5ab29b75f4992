"""What the delivery pipeline's builds run: leases around a stage's deployment, and trainings after the last one.

`python -m delivery lease take|give` and `python -m delivery train`. It meets the stacks and the functions through AWS's
APIs and the configuration only (docs/reference/contracts.md, "Delivery").
It needs boto3, pydantic and PyYAML, but neither the CDK nor the SageMaker SDK.
"""
