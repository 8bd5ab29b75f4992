"""Monitoring jobs: one module for each analysis type of the container contract."""

from pathlib import Path

from drift_analyzer.container_environment import ContainerEnvironment
from drift_analyzer.jobs.job import JobResult


def run(environment: ContainerEnvironment, opt: Path, workers: int = 1) -> JobResult:
    """Run the job that the environment's `analysis_type` names.

    Raises:
        ValueError: The analysis type is unknown, or the inputs cannot be analyzed.
    """
    match environment.analysis_type:
        case "DATA_QUALITY":
            from drift_analyzer.jobs import data_quality

            return data_quality.run(environment, workers)
        case "MODEL_QUALITY":
            from drift_analyzer.jobs import model_quality

            return model_quality.run(environment)
        case "MODEL_BIAS" | "BIAS":
            from drift_analyzer.jobs import model_bias

            return model_bias.run(environment, opt)
        case "MODEL_EXPLAINABILITY" | "EXPLAINABILITY":
            from drift_analyzer.jobs import model_explainability

            return model_explainability.run(environment, opt)
    raise ValueError(
        "analysis_type is DATA_QUALITY, MODEL_QUALITY, MODEL_BIAS or MODEL_EXPLAINABILITY, "
        f"got {environment.analysis_type!r}"
    )
