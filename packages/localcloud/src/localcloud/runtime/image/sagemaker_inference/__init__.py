"""Names that inference scripts import from aws/sagemaker-inference-toolkit."""
