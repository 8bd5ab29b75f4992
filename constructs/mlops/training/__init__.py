"""A model's package group, SageMaker Pipeline and roles."""
