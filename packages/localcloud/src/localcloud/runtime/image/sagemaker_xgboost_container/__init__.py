"""Names that XGBoost scripts import from aws/sagemaker-xgboost-container."""
