"""What the delivery pipeline's builds run: leases around a stage's deployment, and trainings after the last one.

`python -m delivery lease take|give` and `python -m delivery train`. It meets the stacks and the functions through AWS's
APIs and the configuration only (docs/contracts.md, "Delivery"), and needs boto3, pydantic and PyYAML, no CDK, no SDK.
"""
