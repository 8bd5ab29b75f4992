"""Script mode: hyperparameters, code and channels as in SageMaker's training toolkit.

Source: the README of aws/sagemaker-training-toolkit ("Important environment variables") and its behaviour.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from localcloud.runtime.program import HOST, Program, UnsupportedRequest
from localcloud.runtime.sandbox import IMAGE_ROOT, OPT_ML, Sandbox
from localcloud.runtime.transfer import Transfer, unpack

CODE = "/opt/ml/code"
_ERROR_LINE = re.compile(r"^\s*([A-Za-z_][\w.]*(Error|Exception|Warning|Exit|Interrupt)\b.*)")


class ScriptError(Exception):
    """The toolkit fails; the message is the text that it writes to `/opt/ml/output/failure`."""


def decode(hyperparameters: Mapping[str, str]) -> dict[str, Any]:
    """Decode hyperparameters, which are JSON or plain strings."""
    decoded = {}
    for name, text in hyperparameters.items():
        try:
            decoded[name] = json.loads(text)
        except ValueError:
            decoded[name] = text
    return decoded


def command_line(hyperparameters: Mapping[str, Any]) -> list[str]:
    """Return hyperparameters as arguments: `{"max_depth": 5, "a": "x"}` → `["-a", "x", "--max_depth", "5"]`."""
    words = []
    for name in sorted(hyperparameters):
        value = hyperparameters[name]
        text = ",".join(f"{key}={value[key]}" for key in sorted(value)) if isinstance(value, dict) else str(value)
        words += [f"{'--' if len(name) > 1 else '-'}{name}", text]
    return words


def environment_variables(
    request: Mapping[str, Any], hyperparameters: Mapping[str, Any], resources: Mapping[str, Any], sandbox: Sandbox
) -> dict[str, str]:
    """Return the `SM_*` variables; their paths are the container's, or the host's where it has no namespace."""
    user = {name: value for name, value in hyperparameters.items() if not name.startswith("sagemaker_")}
    own = {name: value for name, value in hyperparameters.items() if name.startswith("sagemaker_")}
    channels = {channel["ChannelName"]: channel for channel in request.get("InputDataConfig", ())}
    program = str(own.get("sagemaker_program", ""))
    paths = {
        "input_dir": "/opt/ml/input",
        "input_config_dir": "/opt/ml/input/config",
        "output_dir": "/opt/ml/output",
        "output_data_dir": "/opt/ml/output/data",
        "output_intermediate_dir": "/opt/ml/output/intermediate",
        "model_dir": "/opt/ml/model",
    }
    values: dict[str, Any] = {
        **{name: sandbox.inside(path) for name, path in paths.items()},
        "current_host": HOST,
        "hosts": [HOST],
        "current_instance_type": resources["current_instance_type"],
        "current_instance_group": resources["current_group_name"],
        "current_instance_group_hosts": [HOST],
        "instance_groups": [resources["current_group_name"]],
        "instance_groups_dict": {resources["current_group_name"]: resources["instance_groups"][0]},
        "is_hetero": False,
        "num_gpus": 0,
        "num_neurons": 0,
        "num_cpus": os.cpu_count() or 1,
        "network_interface_name": resources["network_interface_name"],
        "log_level": own.get("sagemaker_container_log_level", 20),
        "module_name": program.removesuffix(".py"),
        "module_dir": str(own.get("sagemaker_submit_directory", CODE)),
        "user_entry_point": program,
        "input_data_config": input_data_config(request),
        "resource_config": resources,
        "channels": sorted(channels),
        "hps": user,
        "framework_params": own,
        "framework_module": "",
        "user_args": command_line(user),
    }
    training = {
        "additional_framework_parameters": own,
        "channel_input_dirs": {name: sandbox.inside(f"/opt/ml/input/data/{name}") for name in channels},
        "hyperparameters": user,
        "is_master": True,
        "master_hostname": HOST,
        "job_name": request["TrainingJobName"],
        "resource_config": resources,
        **{
            name: values[name]
            for name in (
                *paths, "current_host", "hosts", "input_data_config", "log_level", "module_dir", "module_name",
                "network_interface_name", "num_cpus", "num_gpus", "user_entry_point", "is_hetero",
            )
        },
    }  # fmt: skip
    variables = {f"SM_{name.upper()}": _text(value) for name, value in values.items()}
    variables["SM_TRAINING_ENV"] = _text(training)
    for name in channels:
        variables[f"SM_CHANNEL_{name.upper()}"] = sandbox.inside(f"/opt/ml/input/data/{name}")
    for name, value in user.items():
        variables[f"SM_HP_{name.upper()}"] = _text(value)
    return variables


def input_data_config(request: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return `/opt/ml/input/config/inputdataconfig.json`."""
    config = {}
    for channel in request.get("InputDataConfig", ()):
        source = channel["DataSource"]["S3DataSource"]
        entry = {
            "TrainingInputMode": "File",
            "S3DistributionType": source.get("S3DataDistributionType", "FullyReplicated"),
            "RecordWrapperType": channel.get("RecordWrapperType", "None"),
        }
        if "ContentType" in channel:
            entry["ContentType"] = channel["ContentType"]
        config[channel["ChannelName"]] = entry
    return config


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def fetch_code(directory: str, sandbox: Sandbox, transfer: Transfer, *, isolated: bool) -> None:
    """Copy the user's code to `/opt/ml/code`, from a tar.gz in S3, a directory, or an archive in the container."""
    code = sandbox.host_path(CODE)
    if directory.startswith("s3://"):
        if isolated:
            raise UnsupportedRequest(
                f"ClientError: a network-isolated container cannot fetch sagemaker_submit_directory {directory}; "
                "pass the code as an input channel"
            )
        archive = sandbox.root / "sourcedir.tar.gz"
        transfer.download_file(directory, archive)
        unpack(archive, code, directory)
        return
    inside = os.path.normpath(directory)
    source = (
        sandbox.host_path(inside) if inside.startswith(f"{OPT_ML}/") else None
    )  # only there the container has files
    if source is None or not source.exists():
        raise ScriptError(f"ClientError: sagemaker_submit_directory {directory} is not an S3 URI, directory or archive")
    if source.is_file():
        unpack(source, code, directory)
    elif source.resolve() != code.resolve():
        shutil.copytree(source, code, dirs_exist_ok=True)


def check_requirements(code: Path) -> None:
    """Check that the environment satisfies `requirements.txt`, because nothing is installed here.

    Raises:
        ScriptError: requirements are not satisfied or cannot be checked; the message names them.
    """
    path = code / "requirements.txt"
    if not path.exists():
        return
    problems = []
    for raw in path.read_text().splitlines():
        line = re.sub(r"(^|\s)#.*", "", raw).split(" --hash")[0].strip()
        if not line:
            continue
        try:
            wanted = Requirement(line)
        except InvalidRequirement:
            problems.append(f"{line!r} cannot be checked here")
            continue
        if wanted.marker is not None and not wanted.marker.evaluate():
            continue
        try:
            found = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{line} is not installed")
            continue
        if not wanted.specifier.contains(found, prereleases=True):
            problems.append(f"{line} is required, {found} is installed")
    if problems:
        raise ScriptError(
            "InstallRequirementsError: the local cloud installs nothing, and requirements.txt is not satisfied by its "
            f"environment: {'; '.join(problems)}"
        )


def script_program(program: str, arguments: Sequence[str], environment: dict[str, str], sandbox: Sandbox) -> Program:
    """Return the command that runs the user's entry point as the toolkit does."""
    code = sandbox.host_path(CODE)
    if not (code / program).is_file() or not (code / program).resolve().is_relative_to(code.resolve()):
        raise ScriptError(f"ClientError: the entry point {program!r} (sagemaker_program) is not in the submitted code")
    if (code / "setup.py").exists() and program.endswith(".py"):
        command = ["python3", "-m", program.removesuffix(".py").replace("/", "."), *arguments]
    elif program.endswith(".py"):
        command = ["python3", program, *arguments]
    else:
        (code / program).chmod(0o755)
        command = ["/bin/sh", "-c", f"./{program} {shlex.join(arguments)}"]
    shown = " ".join(command)

    def explain(exit_code: int, lines: list[str]) -> str:
        error = error_message(lines)
        return f'ExecuteUserScriptError:\nExitCode {exit_code}\nErrorMessage "{error}"\nCommand "{shown}"'

    paths = os.pathsep.join([sandbox.inside(CODE), str(IMAGE_ROOT)])
    return Program(command, environment | {"PYTHONPATH": paths}, CODE, explain)


def error_message(lines: Sequence[str]) -> str:
    """Return the last error that a program wrote: the last line of a traceback and what follows it."""
    for start in range(len(lines) - 1, -1, -1):
        if _ERROR_LINE.match(lines[start]):
            return "\n".join(lines[start:]).strip()
    return ""
