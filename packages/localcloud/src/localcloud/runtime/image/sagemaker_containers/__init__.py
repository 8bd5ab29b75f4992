"""Names that older inference scripts import from aws/sagemaker-containers."""
