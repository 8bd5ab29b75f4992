"""The pipeline: its parameters, its steps and its gate.

Imports the SageMaker SDK, which takes seconds: only the compiler's subprocess does so (`python -m pipelines.definition`
reads models from standard input and writes their definitions to standard output).
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from sagemaker.core.workflow.conditions import (
    ConditionEquals,
    ConditionGreaterThan,
    ConditionGreaterThanOrEqualTo,
    ConditionLessThanOrEqualTo,
    ConditionOr,
)
from sagemaker.core.workflow.execution_variables import ExecutionVariables
from sagemaker.core.workflow.functions import Join
from sagemaker.core.workflow.parameters import Parameter, ParameterFloat, ParameterInteger, ParameterString
from sagemaker.mlops.workflow.condition_step import ConditionStep
from sagemaker.mlops.workflow.fail_step import FailStep
from sagemaker.mlops.workflow.pipeline import Pipeline
from sagemaker.mlops.workflow.steps import StepTypeEnum

from configuration import Model
from configuration.images import SERVING_ENVIRONMENT
from pipelines.jobs import CONTENT_TYPES, RECORD_ENTRYPOINT, RESPONSE_TYPES, Requests
from pipelines.names import BASELINES, DEPLOY_TIME_PARAMETERS, NO_CHAMPION, SHARED_CACHE, UNKNOWN_AUTHOR
from pipelines.step import RequestStep

# ModelPackageDescription holds 1,024 characters; the verdict precedes the description.
DESCRIPTION_LENGTH = 600
# A processing job's environment holds values of 256 characters.
ENVIRONMENT_LENGTH = 256


class OfflineSession:
    """The session that `Pipeline` requires. It cannot call AWS."""

    boto_region_name = None
    local_mode = False

    @property
    def boto_session(self) -> OfflineSession:
        """Return itself: the SDK asks it for a Scheduler client, which compiling does not use."""
        return self

    def client(self, _service: str) -> None:
        """Return no client."""


def parameters(model: Model) -> dict[str, Parameter]:
    """Return the parameters of a run, with the model's values as defaults, and those that the stack fills in."""
    training, gate = model.training, model.gate
    listed = [
        ParameterString("CommitId", "unknown"),
        ParameterString("Author", UNKNOWN_AUTHOR),
        ParameterString("Trigger", "manual"),
        ParameterString("Evidence", "started by hand"),
        ParameterString("CacheScope", SHARED_CACHE),
        ParameterString("WindowStart", "latest"),
        ParameterString("WindowEnd", "latest"),
        ParameterInteger("WindowDays", training.window_days),
        ParameterInteger("HoldoutDays", training.holdout_days),
        ParameterInteger("Seed", training.seed),
        ParameterFloat("Minimum", float(gate.minimum)),
        ParameterFloat("MinImprovement", float(gate.min_improvement)),
        ParameterString("ProcessingInstanceType", model.processing.instance_type),
        ParameterString("TrainingInstanceType", training.instance_type),
        *(hyperparameter(name, value) for name, value in training.hyperparameters.items()),
        *(ParameterString(name, f"${{{name}}}") for name in DEPLOY_TIME_PARAMETERS),
    ]
    return {parameter.name: parameter for parameter in listed}


def hyperparameter(name: str, value: bool | int | float | str) -> Parameter:
    """Return the pipeline parameter of a hyperparameter, with the type of its value in model.yaml."""
    if isinstance(value, bool):
        # Services write a Boolean as text in different ways. These two words are JSON.
        return ParameterString(name, json.dumps(value), enum_values=["true", "false"])
    if isinstance(value, int):
        return ParameterInteger(name, value)
    if isinstance(value, float):
        return ParameterFloat(name, value)
    return ParameterString(name, value)


def build(model: Model) -> Pipeline:
    """Return the model's pipeline."""
    p = parameters(model)
    requests = Requests(model, p)
    snapshot = snapshot_step(requests)
    code = ("code", snapshot.value("code_uri"), "S3Prefix")
    holdout = ("holdout", snapshot.value("holdout_manifest_uri"), "ManifestFile")
    preprocess = RequestStep(
        "Preprocess",
        StepTypeEnum.PROCESSING,
        requests.script(
            "Preprocess",
            program="preprocess.py",
            inputs=[code, ("train", snapshot.value("train_manifest_uri"), "ManifestFile"), holdout],
            outputs=["train", "holdout", "payload"],
        ),
        description="Turn raw objects into labelled rows",
        cached=True,
    )
    train = RequestStep(
        "Train",
        StepTypeEnum.TRAINING,
        requests.training("Train", train=preprocess.output_uri("train"), code=snapshot.value("code_uri")),
        description="Train the challenger",
        cached=True,
    )
    artifact = train.properties.ModelArtifacts.S3ModelArtifacts
    evaluate = RequestStep(
        "Evaluate",
        StepTypeEnum.PROCESSING,
        requests.script(
            "Evaluate",
            program="evaluate.py",
            arguments=["--metric", model.gate.metric, "--champion", snapshot.value("champion_package_arn")],
            inputs=[
                code,
                ("model", artifact, "S3Prefix"),
                ("champion", snapshot.value("champion_uri"), "S3Prefix"),
                ("payload", preprocess.output_uri("payload"), "S3Prefix"),
                holdout,
            ],
            outputs=["evaluation"],
        ),
        description="Score challenger and champion on the same holdout",
        result="evaluation",
        cached=True,
    )
    files = baseline_files(model)
    baseline = baseline_step(requests, snapshot, artifact) if files else None
    record = record_step(requests, snapshot, preprocess, artifact, evaluate, baseline)
    register = RequestStep(
        "Register",
        StepTypeEnum.REGISTER_MODEL,
        requests.package(
            artifact=artifact,
            description=Join(on=". ", values=[evaluate.value("verdict"), model.description[:DESCRIPTION_LENGTH]]),
            metadata={name: record.value(name) for name in ("record_uri", "record_sha256", "release_code", "trigger")},
            evaluation=record.value("evaluation_uri"),
            payload=record.value("sample_payload_uri"),
            code=snapshot.value("code_uri"),
            baselines={file: record.value(baseline_key(file)) for file in files},
            card=record.value("model_card"),
        ),
        description="Register the challenger, for a person to approve",
    )
    refused = FailStep("Refused", refusal(model, p, evaluate), description="Say why the challenger is not registered")
    gate = ConditionStep(
        "Gate",
        conditions=[good_enough(model, p, evaluate), better(p, snapshot, evaluate)],
        if_steps=[*([baseline] if baseline else []), record, register],
        else_steps=[refused],
        description="Good enough, and better than the champion",
    )
    return Pipeline(
        name=model.name,
        parameters=list(p.values()),
        steps=[snapshot, preprocess, train, evaluate, gate],
        # No experiment or trial for each run: the registration record documents it.
        pipeline_experiment_config=None,
        sagemaker_session=OfflineSession(),
    )


def snapshot_step(requests: Requests) -> RequestStep:
    """Return the step that fixes the dataset, the code and the champion. It is not cached: it reads current state."""
    model, p = requests.model, requests.parameters
    environment = {
        "MODEL": model.name,
        "RAW_PREFIX": model.raw_prefix,
        "DATA_BUCKET": p["DataBucket"],
        "ARTIFACT_BUCKET": p["ArtifactBucket"],
        "CODE_URI": p["CodeUri"],
        "RELEASE_PARAMETER": p["ReleaseParameter"],
        "WINDOW_START": p["WindowStart"],
        "WINDOW_END": p["WindowEnd"],
        "WINDOW_DAYS": p["WindowDays"].to_string(),
        "HOLDOUT_DAYS": p["HoldoutDays"].to_string(),
        "TRIGGER": p["Trigger"],
    }
    request = requests.tool("Snapshot", script=p["SnapshotScriptUri"], environment=environment, output="snapshot")
    return RequestStep(
        "Snapshot",
        StepTypeEnum.PROCESSING,
        request,
        description="Fix the dataset, the code and the champion of this run",
        result="snapshot",
    )


def baseline_files(model: Model) -> list[str]:
    """Return the files of the baselines that the model's monitors need."""
    asked = model.monitoring
    return [file for kind, files in BASELINES.items() if asked and getattr(asked, kind) for file in files]


def baseline_key(file: str) -> str:
    """Return a baseline's key in the record step's result: a JSON path has neither slash nor dot in a key."""
    return re.sub(r"[^a-z]", "_", file.removesuffix(".json")) + "_uri"


def baseline_step(requests: Requests, snapshot: RequestStep, artifact: Any) -> RequestStep:
    """Return the step that writes the baselines of a challenger that has passed the gate."""
    request = requests.baseline(
        "Baseline",
        inputs=[
            ("model", artifact, "S3Prefix"),
            ("train", snapshot.value("train_manifest_uri"), "ManifestFile"),
            ("holdout", snapshot.value("holdout_manifest_uri"), "ManifestFile"),
        ],
        output="baselines",
    )
    return RequestStep(
        "Baseline", StepTypeEnum.PROCESSING, request, description="Write the baselines that monitors compare with"
    )


def record_step(
    requests: Requests,
    snapshot: RequestStep,
    preprocess: RequestStep,
    artifact: Any,
    evaluate: RequestStep,
    baseline: RequestStep | None,
) -> RequestStep:
    """Return the step that writes the registration record. It is not cached: a record belongs to one execution."""
    model, p = requests.model, requests.parameters
    environment = {
        "MODEL": model.name,
        "DATA_BUCKET": p["DataBucket"],
        "ARTIFACT_BUCKET": p["ArtifactBucket"],
        "EXECUTION_ID": ExecutionVariables.PIPELINE_EXECUTION_ID,
        "EXECUTION_ARN": ExecutionVariables.PIPELINE_EXECUTION_ARN,
        "COMMIT_ID": p["CommitId"],
        "AUTHOR": p["Author"],
        "TRIGGER": p["Trigger"],
        "EVIDENCE": p["Evidence"],
        "SEED": p["Seed"].to_string(),
        "MANIFEST_URI": snapshot.value("manifest_uri"),
        "MANIFEST_SHA256": snapshot.value("manifest_sha256"),
        "CODE_URI": snapshot.value("code_uri"),
        "CODE_SHA256": snapshot.value("code_sha256"),
        "CHAMPION": snapshot.value("champion_package_arn"),
        "ARTIFACT_URI": artifact,
        "EVALUATION_URI": Join(on="/", values=[evaluate.output_uri("evaluation"), "evaluation.json"]),
        "PAYLOAD_URI": Join(on="/", values=[preprocess.output_uri("payload"), "payload.csv"]),
        "BASELINES_URI": baseline.output_uri("baselines") if baseline else "none",
        "BASELINES": ",".join(baseline_files(model)) or "none",
        "DESCRIPTION": model.description[:ENVIRONMENT_LENGTH],
        "OWNER": model.owner[:ENVIRONMENT_LENGTH],
        "IMAGE": p["ImageUri"],
        "ENVIRONMENT": json.dumps(SERVING_ENVIRONMENT),
        "CONTENT_TYPES": json.dumps(CONTENT_TYPES),
        "RESPONSE_TYPES": json.dumps(RESPONSE_TYPES),
        **{f"PARAMETER_{name}": p[name].to_string() for name in model.training.hyperparameters},
    }
    request = requests.tool(
        "Record", script=p["RecordScriptUri"], environment=environment, output="record", entrypoint=RECORD_ENTRYPOINT
    )
    return RequestStep(
        "Record",
        StepTypeEnum.PROCESSING,
        request,
        description="Write the registration record",
        result="record",
    )


def good_enough(model: Model, p: dict[str, Parameter], evaluate: RequestStep) -> Any:
    """Return the condition that the metric reaches the minimum, an upper bound if lower is better."""
    comparison = ConditionGreaterThanOrEqualTo if model.gate.direction == "maximize" else ConditionLessThanOrEqualTo
    return comparison(left=evaluate.value(f"metrics.{model.gate.metric}"), right=p["Minimum"])


def better(p: dict[str, Parameter], snapshot: RequestStep, evaluate: RequestStep) -> Any:
    """Return the condition that there is no champion, or that the challenger is better by more than the margin."""
    return ConditionOr(
        conditions=[
            ConditionEquals(left=snapshot.value("champion_package_arn"), right=NO_CHAMPION),
            ConditionGreaterThan(left=evaluate.value("improvement"), right=p["MinImprovement"]),
        ]
    )


def refusal(model: Model, p: dict[str, Parameter], evaluate: RequestStep) -> Any:
    """Return the failure reason of an execution whose challenger is not registered."""
    bound = "at least" if model.gate.direction == "maximize" else "at most"
    return Join(
        on=" ",
        values=[
            "Not registered:",
            evaluate.value("verdict"),
            f"(wanted: {model.gate.metric} {bound}",
            p["Minimum"].to_string(),
            "and, where there is a champion, better than it by more than",
            p["MinImprovement"].to_string(),
            "in the metric's unit)",
        ],
    )


def definition(model: Model) -> str:
    """Return the definition as JSON, with `${Name}` for each value that the stack fills in and no other `${`."""
    names = "|".join(DEPLOY_TIME_PARAMETERS)
    # The SDK writes null for the experiment and the MLflow server, which are absent; the schema does not allow null.
    document = {key: value for key, value in json.loads(build(model).definition()).items() if value is not None}
    compiled = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return re.sub(rf"\$\{{(?!(?:{names})\}})", "${!", compiled)


if __name__ == "__main__":
    models = [Model.model_validate_json(json.dumps(document)) for document in json.load(sys.stdin)]
    # The SDK may print to standard output while it compiles. So the definitions are printed last, on one line.
    definitions = [definition(model) for model in models]
    sys.stdout.write("\n" + json.dumps(definitions))
