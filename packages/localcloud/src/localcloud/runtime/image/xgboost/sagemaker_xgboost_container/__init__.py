"""Glue between SageMaker's toolkit and XGBoost, in place of aws/sagemaker-xgboost-container."""
