"""Commands of the delivery pipeline: leases around a stage's deployment, and trainings after the last stage.

They use AWS's APIs and the configuration only (docs/reference/contracts.md, "Delivery"). They need boto3, pydantic,
PyYAML, rich and Typer, but no CDK and no SageMaker SDK.
"""
