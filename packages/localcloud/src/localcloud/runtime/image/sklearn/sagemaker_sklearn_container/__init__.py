"""Glue between SageMaker's toolkits and scikit-learn, in place of aws/sagemaker-scikit-learn-container."""
