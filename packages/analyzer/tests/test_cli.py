"""The command line: results for people and programs, and one line for a mistake."""

import json
from pathlib import Path

import pytest

import drift_analyzer
from drift_analyzer.cli import main


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Return a folder with the example data and their baseline."""
    assert main(["example", str(tmp_path)]) == 0
    reference = ["baseline", str(tmp_path / "reference.csv"), "--output", str(tmp_path / "baseline")]
    assert main([*reference, "--critical", "temperature"]) == 0
    capsys.readouterr()
    return tmp_path


def analyze(home: Path, *options: str) -> int:
    folders = ["--baseline", str(home / "baseline"), "--output", str(home / "analysis")]
    return main(["analyze", str(home / "capture"), *folders, *options])


def test_the_verdict_is_printed_and_the_files_are_written(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(home, "--window", "1h", "--workers", "2") == 0
    first, violation, last = capsys.readouterr().out.splitlines()
    assert first == "Drift: critical features drifted: temperature (600 rows, 0 bad records)"
    assert violation.startswith("  temperature: Baseline drift distance: ")
    assert last == f"alarm: yes · files: {home / 'analysis'}"
    page = (home / "analysis" / "report.html").read_text()
    assert "<h1>Data drift</h1>" in page
    assert "<script" not in page
    assert "http" not in page, "the page needs nothing from elsewhere"


def test_a_program_reads_the_verdict_as_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert analyze(home, "--window", "1h", "--no-report", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    written = json.loads((home / "analysis" / "verdict.json").read_text())
    assert printed == written | {"output": str(home / "analysis")}
    assert [window["status"] for window in printed["windows"]] == ["Ok", "Drift", "Drift"]
    assert not (home / "analysis" / "report.html").exists()
    assert main(["baseline", str(home / "reference.csv"), "--output", str(home / "other"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"rows": 5000, "features": 3, "output": str(home / "other")}


@pytest.mark.parametrize(("end", "code"), [("2026-02-14T16:00:00Z", 0), ("2026-02-14T17:00:00Z", 1)])
def test_drift_fails_a_script_that_asks_for_it(home: Path, end: str, code: int) -> None:
    assert analyze(home, "--window", "1h", "--end", end, "--fail-on-drift") == code


def test_importances_and_dropped_columns_reach_the_baseline(home: Path) -> None:
    weights = home / "weights.json"
    weights.write_text('{"humidity": 0.25}')
    options = ["--output", str(home / "b"), "--drop", "site", "--importances", str(weights)]
    assert main(["baseline", str(home / "reference.csv"), *options]) == 0
    baseline = drift_analyzer.load_baseline(home / "b")
    assert {feature.name: feature.importance for feature in baseline.features} == {"temperature": 1, "humidity": 0.25}


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"drift-analyzer {drift_analyzer.__version__}\n"


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("", "required: command"),
        ("analyse", "invalid choice: 'analyse'"),
        ("baseline {home}/reference.csv --output {home}/b --format avro", "invalid choice: 'avro'"),
        ("baseline {home}/nothing.csv --output {home}/b", "nothing.csv is neither a file nor a folder"),
        ("baseline {home}/binary.csv --output {home}/b", "binary.csv is not CSV in UTF-8"),
        ("baseline {home}/uneven.csv --output {home}/b", "uneven.csv:3: 1 columns, expected 2"),
        ("baseline {home}/reference.csv --output {home}/b --drop wind", "no such column: wind"),
        ("baseline {home}/reference.csv --output {home}/b --critical wind", "not a feature: wind"),
        (
            "baseline {home}/reference.csv --output {home}/b --importances {home}/list.json",
            "not a JSON object of numbers",
        ),
        ("baseline {home}/reference.csv --output {home}/reference.csv", "File exists"),
        ("analyze {home}/capture --output {home}/a", "required: --baseline"),
        ("analyze {home}/capture --output {home}/a --baseline {home}", "statistics.json: No such file"),
        ("analyze {home}/capture --output {home}/a --baseline {home}/list", "statistics.json is not a JSON object"),
        ("analyze {home}/capture --output {home}/a --baseline {home}/baseline --window 1y", "got '1y'"),
        ("analyze {home}/capture --output {home}/a --baseline {home}/baseline --start noon", "got 'noon'"),
        ("analyze {home}/capture --output {home}/a --baseline {home}/baseline --share 2", "got '2'"),
        ("analyze {home}/capture --output {home}/a --baseline {home}/baseline --workers 0", "got '0'"),
        ("analyze {home}/empty --output {home}/a --baseline {home}/baseline", "holds no file *.jsonl"),
    ],
)
def test_a_mistake_is_one_line_with_the_value_and_exit_code_2(
    home: Path, capsys: pytest.CaptureFixture[str], command: str, reason: str
) -> None:
    (home / "binary.csv").write_bytes(b"a,b\n\xff\xfe,1\n")
    (home / "uneven.csv").write_text("a,b\n1,2\n3\n")
    (home / "list.json").write_text("[1]")
    (home / "empty").mkdir()
    (home / "list").mkdir()
    (home / "list" / "statistics.json").write_text("[1]")
    try:
        code: object = main([argument.replace("{home}", str(home)) for argument in command.split()])
    except SystemExit as ended:
        code = ended.code
    shown = capsys.readouterr()
    assert (code, shown.out) == (2, "")
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("drift-analyzer")
    assert reason in shown.err
