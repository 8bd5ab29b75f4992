"""The names that XGBoost scripts import from aws/sagemaker-xgboost-container."""
