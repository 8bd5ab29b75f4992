"""Monitors use the baselines of the deployed release, and alarms are the same on both engines."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_ssm as ssm
from aws_cdk.assertions import Template

from configuration import Configuration
from constructs.mlops.monitoring.monitors import baseline_settings

STACK = "evergreen-monitoring-flight-delays-prod"
DEFINITIONS = {
    "DataQuality": sagemaker.CfnDataQualityJobDefinition.CFN_RESOURCE_TYPE_NAME,
    "ModelQuality": sagemaker.CfnModelQualityJobDefinition.CFN_RESOURCE_TYPE_NAME,
    "ModelBias": sagemaker.CfnModelBiasJobDefinition.CFN_RESOURCE_TYPE_NAME,
}


@dataclass(frozen=True)
class Engines:
    """The same model's monitoring stack on both engines."""

    available: Template
    closed: Template


@pytest.fixture(scope="module")
def engines(
    configuration: Configuration,
    template: Callable[[str], dict[str, object]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Engines:
    from stacks import build

    stage = configuration.application.stage.model_copy(update={"model_monitor": "closed"})
    application = configuration.application.model_copy(update={"stages": (stage,)})
    outdir = tmp_path_factory.mktemp("closed")
    build(replace(configuration, application=application), str(outdir)).synth()
    closed = json.loads((outdir / f"{STACK}.template.json").read_text(encoding="utf-8"))
    return Engines(Template.from_json(template(STACK)), Template.from_json(closed))


def test_the_baseline_step_knows_how_many_rows_a_window_has(configuration: Configuration) -> None:
    (model,) = configuration.models
    assert model.monitoring
    share = json.loads(baseline_settings(model))["window_share"]
    assert share == model.monitoring.window_hours / (24 * model.training.holdout_days) / 2


def alarms(template: Template) -> dict[str, Any]:
    found = template.find_resources(cloudwatch.CfnAlarm.CFN_RESOURCE_TYPE_NAME).values()
    return {alarm["Properties"]["AlarmName"]: alarm["Properties"] for alarm in found}


def messages(template: Template) -> Iterator[dict[str, Any]]:
    """Yield the messages of the schedules to the function, with references as text."""
    for schedule in template.find_resources(scheduler.CfnSchedule.CFN_RESOURCE_TYPE_NAME).values():
        text = schedule["Properties"]["Target"]["Input"]
        if isinstance(text, dict):
            text = "".join(part if isinstance(part, str) else "reference" for part in text["Fn::Join"][1])
        yield json.loads(text)["monitor"]


def test_alarms_are_the_same_on_either_engine(engines: Engines) -> None:
    assert alarms(engines.available) == alarms(engines.closed)
    names = set(alarms(engines.closed))
    for kind in ("data-quality", "model-quality", "bias", "explainability"):
        for what in ("drift", "heartbeat"):
            assert f"evergreen-flight-delays-prod-{kind}-{what}" in names
    assert {"evergreen-flight-delays-prod-data-quality-broken", "evergreen-flight-delays-prod-captured-broken"} <= names


def test_drift_alarm_needs_two_of_three_windows_and_ignores_missing_data(engines: Engines) -> None:
    for name, alarm in alarms(engines.available).items():
        if name.endswith("-drift"):
            weekly = name.endswith("-explainability-drift")
            assert (alarm["DatapointsToAlarm"], alarm["EvaluationPeriods"]) == ((1, 1) if weekly else (2, 3))
            assert alarm["TreatMissingData"] == "ignore"
        assert len(alarm["AlarmActions"]) == 1


def test_heartbeat_alarm_requires_a_run_where_there_was_traffic(engines: Engines) -> None:
    for name, alarm in alarms(engines.available).items():
        if name.endswith("-heartbeat"):
            (expression,) = [metric for metric in alarm["Metrics"] if metric.get("Expression")]
            assert expression["Expression"] == "IF(FILL(requests, 0) > 0, FILL(runs, 0), 1)"
            runs = next(metric for metric in alarm["Metrics"] if metric["Id"] == "runs")
            dimensions = {one["Name"]: one["Value"] for one in runs["MetricStat"]["Metric"]["Dimensions"]}
            assert dimensions["MonitoringSchedule"] == name.removesuffix("-heartbeat")


def test_heartbeat_alarm_waits_for_the_first_window_that_can_be_judged(engines: Engines) -> None:
    found = {name: alarm for name, alarm in alarms(engines.available).items() if name.endswith("-heartbeat")}
    periods = {name.split("-prod-")[1].removesuffix("-heartbeat"): a["EvaluationPeriods"] for name, a in found.items()}
    # Labels take two days; a weekly run falls into the day after its week.
    assert periods == {"data-quality": 2, "model-quality": 4, "bias": 4, "explainability": 7}
    for alarm in found.values():
        assert alarm["DatapointsToAlarm"] == alarm["EvaluationPeriods"]
        assert {one["MetricStat"]["Period"] for one in alarm["Metrics"] if "MetricStat" in one} == {86_400}


def test_release_replaces_job_definitions_and_updates_schedules(engines: Engines) -> None:
    schedules = engines.available.find_resources(sagemaker.CfnMonitoringSchedule.CFN_RESOURCE_TYPE_NAME)
    assert {s["Properties"]["MonitoringScheduleConfig"]["MonitoringType"] for s in schedules.values()} == set(
        DEFINITIONS
    )
    for kind in DEFINITIONS.values():
        ((logical_id, definition),) = engines.available.find_resources(kind).items()
        assert logical_id.startswith("evergreen")
        assert "JobDefinitionName" not in definition["Properties"]
        assert definition["Condition"] == "Released"
        assert definition["Properties"]["NetworkConfig"] == {
            "EnableInterContainerTrafficEncryption": True,
            "EnableNetworkIsolation": True,
        }
        names = [s["Properties"]["MonitoringScheduleConfig"]["MonitoringJobDefinitionName"] for s in schedules.values()]
        assert {"Fn::GetAtt": [logical_id, "JobDefinitionName"]} in names
    assert all(schedule["Condition"] == "Released" for schedule in schedules.values())


def test_baselines_belong_to_the_deployed_release(engines: Engines) -> None:
    for kind in DEFINITIONS.values():
        (definition,) = engines.available.find_resources(kind).values()
        (config,) = [value for name, value in definition["Properties"].items() if name.endswith("BaselineConfig")]
        for resource in config.values():
            parts = resource["S3Uri"]["Fn::Join"][1]
            assert {"Fn::Select": [0, {"Fn::Split": ["|", {"Ref": release_parameter(engines.available)}]}]} in parts
            assert "/baselines/" in parts[-1]


def release_parameter(template: Template) -> str:
    (name,) = [name for name in template.find_parameters("*") if name.startswith("Release")]
    return str(name)


def test_quality_windows_end_before_the_label_delay(engines: Engines) -> None:
    (definition,) = engines.available.find_resources("AWS::SageMaker::ModelQualityJobDefinition").values()
    endpoint = definition["Properties"]["ModelQualityJobInput"]["EndpointInput"]
    assert (endpoint["StartTimeOffset"], endpoint["EndTimeOffset"]) == ("-PT216H", "-PT48H")
    (quality,) = [one for one in messages(engines.closed) if one["kind"] == "model_quality"]
    assert (quality["window_hours"], quality["label_delay_hours"]) == (168, 48)


def test_builtin_engine_runs_all_kinds_on_the_managed_schedule(engines: Engines) -> None:
    assert not engines.closed.find_resources(sagemaker.CfnMonitoringSchedule.CFN_RESOURCE_TYPE_NAME)
    assert {one["kind"] for one in messages(engines.closed)} == {
        "data_quality",
        "model_quality",
        "bias",
        "explainability",
    }
    managed = engines.available.find_resources(sagemaker.CfnMonitoringSchedule.CFN_RESOURCE_TYPE_NAME)
    crons = {
        s["Properties"]["MonitoringScheduleConfig"]["ScheduleConfig"]["ScheduleExpression"] for s in managed.values()
    }
    ours = engines.closed.find_resources(scheduler.CfnSchedule.CFN_RESOURCE_TYPE_NAME)
    expressions = {schedule["Properties"]["ScheduleExpression"] for schedule in ours.values()}
    assert crons == {"cron(0 0 ? * * *)"}
    assert expressions == crons | {"cron(0 0 ? * THU *)"}, "attributions are judged once a week"


def test_no_alarm_exceeds_the_evaluation_range_of_cloudwatch(engines: Engines) -> None:
    for template in (engines.available, engines.closed):
        for alarm in template.find_resources(cloudwatch.CfnAlarm.CFN_RESOURCE_TYPE_NAME).values():
            properties = alarm["Properties"]
            stats = [one["MetricStat"] for one in properties.get("Metrics", []) if "MetricStat" in one]
            period = max([properties.get("Period", 0), *(stat["Period"] for stat in stats)])
            assert 0 < period * properties["EvaluationPeriods"] <= 7 * 86400, properties["AlarmName"]
            assert 1 <= properties["DatapointsToAlarm"] <= properties["EvaluationPeriods"]


def test_explanation_jobs_are_isolated_and_use_the_models_image(engines: Engines) -> None:
    for template in (engines.available, engines.closed):
        (job,) = [one["job"] for one in messages(template) if one["kind"] == "explainability"]
        assert job["NetworkConfig"] == {"EnableInterContainerTrafficEncryption": True, "EnableNetworkIsolation": True}
        assert "sagemaker-xgboost:" in job["AppSpecification"]["ImageUri"]
        assert all(len(value) <= 256 for value in job["Environment"].values())


def test_captured_windows_have_the_length_of_the_schedule(engines: Engines) -> None:
    (policy,) = engines.available.find_resources(ssm.CfnParameter.CFN_RESOURCE_TYPE_NAME).values()
    assert policy["Properties"]["Name"] == "/evergreen/flight-delays/prod/monitoring"
    (seconds,) = json.loads(policy["Properties"]["Value"]).values()
    assert alarms(engines.available)["evergreen-flight-delays-prod-captured-drift"]["Period"] == seconds == 86_400
