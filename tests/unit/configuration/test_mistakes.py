"""Every mistake in a configuration file is reported in one line: file, key path, value, what would be right."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from configuration import ConfigurationError, load

Edit = Callable[[str, str], None]
MODEL = "models/flight_delays/model.yaml"
SOURCE = "source: {codecommit: evergreen, branch: main}"


def mistakes(tree: Path) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(tree)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("owner:", "ownr:", 'ownr: "flight-operations": unknown key; did you mean "owner"?'),
        ("seed: 20130101", "zebra: 1\n  seed: 1", "training.zebra: 1: unknown key; known here: holdout_days, "),
        ("max_runtime_minutes: 30\n\ntraining", "max_runtime_minutes: x\n\ntraining",
         'processing.max_runtime_minutes: "x": should be a whole number'),
        ("seed: 20130101", 'seed: "20130101"', 'training.seed: "20130101": should be a whole number'),
        ("nullable: true}          # °F\n    - {name: dewp", 'nullable: "no"}\n    - {name: dewp',
         'data.columns[7].nullable: "no": should be true or false'),
        ("target: late\n", "", "target: required, but missing"),
        ("name: flight-delays", "name: Flight Delays", 'name: "Flight Delays": should be lower-case words'),
        ("name: flight-delays", "name: flights", 'name: "flights": should be "flight-delays", as its folder says'),
        ("target: late", "target: temp", 'target: "temp": should be a column that is not among data.columns'),
        ("{name: dewp", "{name: temp", "data.columns: "),
        ("prefix: raw/", "prefix: raw", 'data.prefix: "raw": should be lower-case folders that end with a slash'),
        ("prefix: raw/", "prefix: capture/", 'data.prefix: "capture/": should be another folder'),
        ("version: 3.2-0", "version: 1.7-1", "framework.version: \"1.7-1\": should be '3.2-0'"),
        ("holdout_days: 14", "holdout_days: 90", "training.holdout_days: 90: should be less than window_days, which"),
        ("subsample: 0.8", "Seed: 1", "training.hyperparameters: "),
        ("subsample: 0.8", "subsample: [1]", "training.hyperparameters.subsample: [1]: should be a number, text, true"),
        ("metric: auc", "metric: rmse", 'gate.metric: "rmse": should be one of auc, accuracy'),
        ("minimum: 0.6", "minimum: 60", "gate.minimum: 60.0: should be between 0 and 1, as auc is"),
        ("minimum: 0.6", "minimum: .nan", "gate.minimum: NaN: should be a finite number"),
        ("  prod:\n", "  production:\n", "serving.production: no such stage; evergreen.yaml has prod"),
        ("  prod:\n", "  production:\n", "serving.prod: required: how stage prod of evergreen.yaml serves the model"),
        ("profile: realtime", "profile: batch", "serving.prod: \"batch\": should be one of 'realtime', 'serverless'"),
        ("    profile: realtime\n", "", "serving.prod: required: profile"),
        ("min: 2, max: 4", "min: 1, max: 4", "serving.prod.instances.min: 1: should be at least 2: a canary"),
        ("min: 2, max: 4", "min: 4, max: 2", "serving.prod.instances.max: 2: should be at least min, which is 4"),
        ("canary_percent: 50", "canary_percent: 80",
         "serving.prod.deployment.canary_percent: 80: should be less than or equal to 50"),
        ("strategy: canary, canary_percent: 50", "strategy: linear, step_percent: 5",
         "serving.prod.deployment.step_percent: 5: should be greater than or equal to 10"),
        ("monitoring:\n", '    pin: {version: 3, until: "soon", reason: audit}\n\nmonitoring:\n',
         'serving.prod.pin.until: "soon": should be a date, such as 2026-12-31'),
        ("monitoring:\n", "    pin: {version: 0, until: 2026-12-31, reason: audit}\n\nmonitoring:\n",
         "serving.prod.pin.version: 0: should be greater than or equal to 1"),
        ("monitoring:\n", "    verification: {tolerance: -1}\n\nmonitoring:\n",
         "serving.prod.verification.tolerance: -1: should be greater than or equal to 0"),
        ("bake_minutes: 10", "bake_minutes: 2",
         "serving.prod.deployment.bake_minutes: 2: should be at least 3: a bake shorter than period × evaluation"),
        ("strategy: canary, canary_percent: 50, bake_minutes: 10",
         "strategy: linear, step_percent: 10, bake_minutes: 60",
         "serving.prod.deployment.bake_minutes: 60: should be less: the deployment would take up to 41400 s"),
        ("bake_minutes: 10", "bake_minutes: 50",
         "serving.prod.deployment.bake_minutes: 50: should be less: the deployment would take up to "),
        ("bake_minutes: 10", "bake_minutes: 61", "serving.prod.deployment.bake_minutes: 61: should be less than or"),
        ("capture_percent: 100", "capture_percent: 100\n    startup_seconds: 30",
         "serving.prod.startup_seconds: 30: should be greater than or equal to 60"),
        ("capture_percent: 100", "capture_percent: 100\n    startup_seconds: 3000",
         "serving.prod.startup_seconds: 3000: should be less: the deployment would take up to 7800 s"),
        ("capture_percent: 100", "capture_percent: 101", "serving.prod.capture_percent: 101: should be less than or"),
        ("ml.m5.large", "ml.m7g.large", 'serving.prod.instance_type: "ml.m7g.large": should be an x86 instance type'),
        ("ml.m5.large", "m5.large", 'serving.prod.instance_type: "m5.large": should be an instance type that'),
        ("ml.m5.large", "ml.t3.medium",
         'serving.prod.instance_type: "ml.t3.medium": should be an instance type that SageMaker offers for serving'),
        ("  instance_type: ml.m5.xlarge\n  volume_gb: 20", "  instance_type: ml.m5.3xlarge\n  volume_gb: 20",
         'monitoring.instance_type: "ml.m5.3xlarge": should be an instance type that SageMaker offers for '),
        ("period_seconds: 60", "period_seconds: 90", "serving.prod.alarms.period_seconds: 90: should be a multiple"),
        ("window_hours: 168", "window_hours: 12",
         "monitoring.window_hours: 12: should be at least schedule_hours, which is 24"),
        ("max_runtime_minutes: 50", "max_runtime_minutes: 1440", "monitoring.max_runtime_minutes: 1440: should be"),
        ("schedule_hours: 24", "schedule_hours: 5", "monitoring.schedule_hours: 5: should be 1, 2, 3"),
        ("{name: origin, values", "{name: airport, values",
         "monitoring.bias.facets: "),
        ("{name: origin, values: [JFK]}", "{name: distance, values: [far]}", "monitoring.bias.facets: "),
        ("    facets:\n", "    positive: [late]\n    facets:\n", 'monitoring.bias.positive: ["late"]: should be ["1"]'),
        ("critical: [temp, dewp]", "critical: [temperature]",
         'monitoring.data_quality.critical: ["temperature"]: should be features only, not \'temperature\': carrier'),
        ("label_delay_hours: 48", "label_delay_hours: 700",
         "monitoring.model_quality.label_delay_hours: 700: should be at most 552"),
        ("capture_percent: 100", "capture_percent: 0", "serving.prod.capture_percent: 0: should be more than 0"),
        ("drifted: 3", "drifted: 7", "retraining.drifted: 7: should be at most of_last, which is 6"),
        ("cooldown_cap_hours: 336", "cooldown_cap_hours: 12", "retraining.cooldown_cap_hours: 12: should be at least"),
        ("cooldown_hours: 168", "recent_days: 14", "retraining.recent_days: 14: should be more than training.holdout"),
        ("gate:\n", "gate: {\n", "line 54: expected ',' or '}', but got ':'"),
        ("target: late", "target: late\ntarget: later", "line 7: key 'target' occurs twice"),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_file_place_value_and_what_is_right(
    tree: Path, edit: Edit, old: str, new: str, line: str
) -> None:
    edit(old, new)
    assert [told for told in mistakes(tree) if told.startswith(f"{MODEL}: {line}")], mistakes(tree)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("name: evergreen", "name: Ever-Green", 'name: "Ever-Green": should be one lower-case word'),
        ("name: evergreen", "name: awsgreen", 'name: "awsgreen": should be a name that does not start with aws or ssm'),
        ("name: evergreen", "name: evergreenevergreen", "name: "),
        ("account: null", "account: 012345670123", "stages[0].account: 1402433619: should be text; put it in quotes"),
        ("account: null", 'account: "123"', 'stages[0].account: "123": should be twelve digits in quotes'),
        ("region: us-east-1", "region: us-east", 'stages[0].region: "us-east": should be an AWS region'),
        ("region: us-east-1", "region: xx-north-1", 'stages[0].region: "xx-north-1": should be a region where AWS'),
        ("alert_emails: []", "alert_emails: [nobody]", 'alert_emails[0]: "nobody": should be an e-mail address'),
        ("log_retention_days: 90", "log_retention_days: 91", "log_retention_days: 91: should be 7, 14, 30"),
        ("log_retention_days: 90", "monitor: closed", 'monitor: "closed": unknown key; known here: '),
        (
            "model_monitor: available",
            "model_monitor: maybe",
            "stages[0].model_monitor: \"maybe\": should be 'available'",
        ),
        (
            "stages:\n",
            "stages:\n  - {name: prod, account: null, region: us-east-1}\n",
            'stages[1].name: "prod": should be another name than the stages before have',
        ),
        (
            "stages:\n",
            'stages:\n  - {name: test, account: "111111111111", region: us-east-1}\n',
            "stages[1].account: null: should be given, as another stage's is",
        ),
        (
            "stages:\n",
            "stages:\n  - {name: test, account: null, region: eu-west-1}\n",
            'stages[1].region: "us-east-1": should be eu-west-1, as the first stage\'s',
        ),
        (
            "model_monitor: available",
            "release: {approval: twice, four_eyes: 1}",
            "stages[0].release.approval: \"twice\": should be 'registry' or 'life-cycle'",
        ),
        (
            "model_monitor: available",
            "release: {approval: twice, four_eyes: 1}",
            "stages[0].release.four_eyes: 1: should be true or false",
        ),
        (SOURCE, "test: make test", "delivery.source: required"),
        (SOURCE, "source: {branch: main}", "delivery.source.connection_arn: null: should be given, together with the"),
        (
            SOURCE,
            "source: {codecommit: evergreen, repository: owner/name}",
            'delivery.source.repository: "owner/name": should be left out: codecommit says where the code is',
        ),
        (
            SOURCE,
            "source: {codecommit: ever/green}",
            'delivery.source.codecommit: "ever/green": should be a CodeCommit',
        ),
        (SOURCE, "source: {connection_arn: github}", 'delivery.source.connection_arn: "github": should be a connect'),
        (
            SOURCE,
            "source: {codecommit: evergreen, branch: 'ma*'}",
            'delivery.source.branch: "ma*": should be one branch, such as main',
        ),
        (SOURCE, f"{SOURCE}\n  paths: {{exclude: ['docs/**']}}", "delivery.paths: "),
        (SOURCE, f'{SOURCE}\n  test: ""', 'delivery.test: "": should be one command in one line'),
    ],
)
def test_a_mistake_in_evergreen_yaml_is_reported_as_well(tree: Path, old: str, new: str, line: str) -> None:
    path = tree / "evergreen.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    assert [told for told in mistakes(tree) if told.startswith(f"evergreen.yaml: {line}")], mistakes(tree)


def test_all_mistakes_of_all_files_are_reported_at_once(tree: Path, edit: Edit) -> None:
    edit("\ntraining:\n", "\ntrainig:\n")
    edit("canary_percent: 50, bake_minutes: 10", "canary_percnt: 50, bake_minutes: 1")
    edit("min: 2, max: 4", "min: 1, max: 4")
    edit("metric: auc", "metric: rmse")
    (tree / "models" / "flight_delays" / "evaluate.py").unlink()
    other = tree / "models" / "other"
    other.mkdir()
    (other / "model.yaml").write_text("name: [\n", encoding="utf-8")
    (tree / "evergreen.yaml").write_text("name: evergreen\nstages: {}\n", encoding="utf-8")
    told = "\n".join(mistakes(tree))
    for part in (
        "evergreen.yaml: stages: {}: should be a list",
        "models/flight_delays/evaluate.py: missing",
        'trainig: {"instance_type": "ml.m5.xlarge", "volume_gb": 30, "max_r…: unknown key; did you mean "training"?',
        'canary_percnt: 50: unknown key; did you mean "canary_percent"?',
        "deployment.bake_minutes: 1: should be at least 3",
        "instances.min: 1: should be at least 2",
        'gate.metric: "rmse": should be one of',
        "models/other/model.yaml: line 2: ",
        "models/other/train.py: missing",
    ):
        assert part in told


def test_a_name_too_long_for_its_endpoint_is_refused(tree: Path, edit: Edit) -> None:
    name = "flight-delays-of-the-north-and-the-south"
    (tree / "models" / "flight_delays").rename(tree / "models" / name.replace("-", "_"))
    path = tree / "models" / name.replace("-", "_") / "model.yaml"
    text = path.read_text(encoding="utf-8").replace("name: flight-delays", f"name: {name}")
    path.write_text(text.replace("  prod:\n", "  productioneurope:\n"), encoding="utf-8")
    evergreen = (tree / "evergreen.yaml").read_text(encoding="utf-8")
    (tree / "evergreen.yaml").write_text(evergreen.replace("name: prod", "name: productioneurope"), encoding="utf-8")
    assert mistakes(tree) == [
        f'models/{name.replace("-", "_")}/model.yaml: name: "{name}": should be 4 shorter: the endpoint\'s name '
        f"evergreen-{name}-productioneurope may have 63 characters"
    ]


def test_a_serverless_stage_cannot_be_monitored(tree: Path) -> None:
    path = tree / "models" / "flight_delays" / "model.yaml"
    text = path.read_text(encoding="utf-8")
    before, _, after = text.partition("    profile: realtime\n")
    served = "    profile: serverless\n    memory_mb: 2048\n    max_concurrency: 5\n\n"
    path.write_text(before + served + after[after.index("monitoring:") :], encoding="utf-8")
    (told,) = mistakes(tree)
    assert told.startswith(f'{MODEL}: serving.prod.profile: "serverless": should be realtime, or monitoring left out')


def test_a_name_too_long_for_its_monitoring_schedules_is_refused(tree: Path, edit: Edit) -> None:
    name = "delays-of-the-flights-out-of-new-york"
    (tree / "models" / "flight_delays").rename(tree / "models" / name.replace("-", "_"))
    path = tree / "models" / name.replace("-", "_") / "model.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("name: flight-delays", f"name: {name}"), encoding="utf-8")
    assert mistakes(tree) == [
        f'models/{path.parent.name}/model.yaml: name: "{name}": should be 4 shorter: the names of its monitoring '
        "schedules may have 63 characters"
    ]


def test_the_app_ends_with_code_2_and_no_traceback(root: Path, tree: Path, edit: Edit) -> None:
    edit("canary_percent: 50", "canary_percent: 80")
    (tree / "app.py").write_text((root / "app.py").read_text(encoding="utf-8"), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "app.py"],
        cwd=tree,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert run.stderr == f"{MODEL}: serving.prod.deployment.canary_percent: 80: should be less than or equal to 50\n"
    assert run.stdout == ""


def test_a_second_model_needs_a_folder_and_nothing_else(tree: Path, edit: Edit) -> None:
    source = tree / "models" / "flight_delays"
    copy = tree / "models" / "bus_delays"
    copy.mkdir()
    for file in source.iterdir():
        text = file.read_text(encoding="utf-8")
        (copy / file.name).write_text(text.replace("name: flight-delays", "name: bus-delays"), encoding="utf-8")
    configuration = load(tree)
    assert [model.name for model in configuration.models] == ["bus-delays", "flight-delays"]
    assert configuration.folder_of(configuration.models[0]) == copy


TWO_STAGES = """
name: evergreen
stages:
  - {name: staging, account: null, region: us-east-1}
  - {name: prod, account: null, region: us-east-1}
"""
SERVERLESS = """serving:
  staging:
    profile: serverless
    memory_mb: 2048
    max_concurrency: 5
"""


def test_only_the_last_stage_has_to_capture_what_is_monitored(tree: Path, edit: Edit) -> None:
    (tree / "evergreen.yaml").write_text(TWO_STAGES, encoding="utf-8")
    edit("serving:\n", SERVERLESS)
    application = load(tree).application
    assert (application.stage.name, application.before(application.stage)) == ("prod", application.stages[0])
    assert (application.after(application.stages[0]), application.after(application.stage)) == (application.stage, None)
