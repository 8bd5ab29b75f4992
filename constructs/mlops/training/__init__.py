"""Define a model's roles, code and SageMaker Pipeline."""
