"""The validated content of `evergreen.yaml` and `models/*/model.yaml`."""

from configuration.application import Application, ReleasePolicy, Stage
from configuration.delivery import Delivery, Paths, Source
from configuration.load import Configuration, load, load_application
from configuration.model import METRICS, SCRIPTS, Column, Data, Framework, Gate, Model, Processing, Training
from configuration.monitoring import Bias, DataQuality, Explainability, Facet, ModelQuality, Monitoring, Retraining
from configuration.problems import ConfigurationError, Problem
from configuration.serving import (
    Alarms,
    AllAtOnce,
    Canary,
    Deployment,
    Linear,
    Pin,
    Realtime,
    Serverless,
    Serving,
    Verification,
)

__all__ = [
    "METRICS",
    "SCRIPTS",
    "Alarms",
    "AllAtOnce",
    "Application",
    "Bias",
    "Canary",
    "Column",
    "Configuration",
    "ConfigurationError",
    "Data",
    "DataQuality",
    "Delivery",
    "Deployment",
    "Explainability",
    "Facet",
    "Framework",
    "Gate",
    "Linear",
    "Model",
    "ModelQuality",
    "Monitoring",
    "Paths",
    "Pin",
    "Problem",
    "Processing",
    "Realtime",
    "ReleasePolicy",
    "Retraining",
    "Serverless",
    "Serving",
    "Source",
    "Stage",
    "Training",
    "Verification",
    "load",
    "load_application",
]
