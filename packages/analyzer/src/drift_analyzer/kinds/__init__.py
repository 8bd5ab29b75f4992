"""The kinds that need labels or the model, as container jobs: model quality, bias, explainability."""

from pathlib import Path

from drift_analyzer.kinds.job import Job, Outcome


def run(analysis: str, job: Job, opt: Path) -> Outcome:
    """Run one kind. Raises ValueError on one that is not known."""
    match analysis:
        case "MODEL_QUALITY":
            from drift_analyzer.kinds import model_quality

            return model_quality.run(job)
        case "MODEL_BIAS" | "BIAS":
            from drift_analyzer.kinds import model_bias

            return model_bias.run(job, opt)
        case "MODEL_EXPLAINABILITY" | "EXPLAINABILITY":
            from drift_analyzer.kinds import model_explainability

            return model_explainability.run(job, opt)
    raise ValueError(
        f"analysis_type is DATA_QUALITY, MODEL_QUALITY, MODEL_BIAS or MODEL_EXPLAINABILITY, got {analysis!r}"
    )
