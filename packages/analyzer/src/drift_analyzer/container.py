"""The container entry point: `python -m drift_analyzer.container`.

Run one monitoring job under Model Monitor's published contract. The job reads its environment and the inputs under
/opt/ml/processing. It writes the JSON files and the report to `output_path`, metrics to
/opt/ml/output/metrics/cloudwatch, and the exit message to /opt/ml/output/message.

Source: AWS, "Container contract inputs" and "Container contract outputs" (Amazon SageMaker Developer Guide).
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from drift_analyzer import cloudwatch_metrics, jobs
from drift_analyzer.container_environment import ContainerEnvironment

_OWN_FILES = ("verdict.json", "report.html", "bad_records.jsonl")
MAX_MESSAGE = 1024
"""Bytes of the exit message that SageMaker keeps."""


def run(environment: ContainerEnvironment, opt: Path, workers: int = 1) -> str:
    """Run the job and return its exit message.

    Args:
        environment: The job's variables.
        opt: /opt/ml.
        workers: Processes that read captured files. A Lambda function has no shared memory for a pool, so it passes 1.

    Raises:
        ValueError: The inputs cannot be analyzed; the message names what is wrong.
        OSError: A file cannot be read or written.
    """
    result = jobs.run(environment, opt, workers)
    if "monitor_mode" not in environment.values:
        # Without that addition to the contract the request is one to AWS's image, which writes none of these files.
        for name in _OWN_FILES:
            (environment.output_path / name).unlink(missing_ok=True)
    if environment.publish and result.metrics:
        folder = opt / "output" / "metrics" / "cloudwatch"
        folder.mkdir(parents=True, exist_ok=True)
        target = cloudwatch_metrics.target(result.namespace, environment.endpoint, environment.schedule)
        (folder / "cloudwatch_metrics.jsonl").write_bytes(cloudwatch_metrics.json_lines(result.metrics, target))
    if result.violations:
        return f"CompletedWithViolations: Job completed successfully with {result.violations} violations."
    return "Completed: Job completed successfully with no violations."


def main(values: Mapping[str, str] | None = None, opt: Path = Path("/opt/ml")) -> int:
    """Run under the container contract.

    Returns:
        0 with or without violations; 1 where the job failed, with the reason in the exit message.
    """
    code = 0
    try:
        environment = ContainerEnvironment.read(os.environ if values is None else values)
        message = run(environment, opt, os.cpu_count() or 1)
    except (ValueError, KeyError, OSError) as error:
        code, message = 1, f"Error: {error}"
    path = opt / "output" / "message"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(message.encode()[:MAX_MESSAGE])
    (sys.stderr if code else sys.stdout).write(message + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
