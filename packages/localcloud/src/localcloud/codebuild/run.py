"""One build, from source to artifacts: a supervised process tree in a directory of its own."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from localcloud.cloud import Cloud, RoleError
from localcloud.codebuild import artifacts, image, script
from localcloud.codebuild.artifacts import ArtifactError
from localcloud.codebuild.buildspec import BuildSpec, BuildSpecError, Files, parse
from localcloud.codebuild.records import BuildRecords
from localcloud.codebuild.reports import ReportError, Reports
from localcloud.json_api import Document
from localcloud.roles import Credentials, Roles
from localcloud.runtime import orphans
from localcloud.runtime.contract import ContainerError
from localcloud.runtime.logs import LogStream
from localcloud.runtime.sandbox import Container, Sandbox
from localcloud.source.repositories import Repositories

RUNNING = "CodeBuildRunning"  # the processes of builds, to end them after a kill
_POLL_SECONDS = 0.1
_SPEC_FILE = "buildspec.yml"
log = logging.getLogger(__name__)


class _Failed(Exception):
    """A phase failed: the build's status, and the code and message of the phase context."""

    def __init__(self, code: str, message: str, status: str = "FAILED") -> None:
        super().__init__(message)
        self.code, self.status = code, status


class BuildRun:
    """Runs a build in a thread of its own."""

    def __init__(
        self,
        cloud: Cloud,
        roles: Roles,
        records: BuildRecords,
        reports: Reports,
        repositories: Repositories,
        slots: threading.Semaphore,
        build: Mapping[str, Any],
    ) -> None:
        self._cloud, self._roles, self._records, self._reports = cloud, roles, records, reports
        self._repositories, self._slots = repositories, slots
        self.id: str = build["id"]
        self._build = build
        self._root = cloud.state_dir.resolve() / "codebuild" / "builds" / self.id.replace(":", "-")
        self._wake = threading.Event()
        self._end: str | None = None  # STOPPED, TIMED_OUT or FAULT, once the build has been ended early
        self._log_file = cloud.state_dir / "codebuild" / "logs" / f"{self.id.replace(':', '/')}.log"
        self._failed: set[str] = set()  # names of failed phases
        self._in_phase = ""
        self.thread = threading.Thread(target=self._run, name=f"build {self.id}", daemon=True)

    def stop(self, status: str = "STOPPED") -> None:
        """End the build's processes, with the build status `status`."""
        self._end = self._end or status
        self._wake.set()

    def _run(self) -> None:
        sandbox = None
        status = "FAULT"
        self._cloud.store.put(RUNNING, self.id, {"root": str(self._root), "pid": None, "start": None})
        has_slot = self._wait_for_a_slot()
        try:
            if has_slot:
                sandbox = Sandbox(self._root)
                status = self._work(sandbox)
            else:
                status = self._end or status
        except _Failed as failure:
            status = failure.status
        except Exception as error:
            log.exception("the build %s failed", self.id)
            self._records.end(self.id, "FAULT", "INTERNAL_SERVICE_ERROR", f"{type(error).__name__}: {error}")
        finally:
            if sandbox is not None:
                sandbox.remove()
            if has_slot:
                self._slots.release()
            self._cloud.store.delete(RUNNING, self.id)
            self._records.complete(self.id, status)

    def _wait_for_a_slot(self) -> bool:
        """Wait in the phase QUEUED for a slot; return False where the build was stopped first."""
        self._records.begin(self.id, "QUEUED")
        while not self._slots.acquire(timeout=_POLL_SECONDS):
            if self._end:
                self._records.end(self.id, self._end)
                return False
        self._records.end(self.id, "SUCCEEDED")
        return True

    def _work(self, sandbox: Sandbox) -> str:
        sandbox.ml.mkdir(exist_ok=True)
        directories = _BuildDirectories(sandbox)
        self._begin_phase("PROVISIONING")
        credentials = self._run_phase(self._provision, directories)
        self._records.end(self.id, "SUCCEEDED")
        self._begin_phase("DOWNLOAD_SOURCE")
        spec = self._run_phase(self._download, directories, credentials)
        variables = self._run_phase(self._variables, spec, credentials)
        self._records.end(self.id, "SUCCEEDED")
        status = self._execute(
            sandbox, directories, spec, {**self._environment(directories), **variables, **credentials}
        )
        self._collect_reports(directories, spec, credentials)
        if status == "SUCCEEDED":
            self._begin_phase("UPLOAD_ARTIFACTS")
            self._run_phase(self._upload, directories, spec, credentials)
            self._records.end(self.id, "SUCCEEDED")
        self._begin_phase("FINALIZING")
        self._records.end(self.id, "SUCCEEDED")
        return status

    def _begin_phase(self, name: str) -> None:
        if self._end:
            raise _Failed("", "", self._end)
        self._records.begin(self.id, name)

    def _run_phase(self, act: Any, *arguments: Any) -> Any:
        """Run the work of a phase, and record errors as the phase's failure."""
        try:
            return act(*arguments)
        except _Failed as failure:
            self._fail(failure.code, str(failure))
        except ArtifactError as error:
            self._fail(error.code, str(error))
        except BuildSpecError as error:
            self._fail("YAML_FILE_ERROR", f"Message: {error}")
        except RoleError as error:
            self._fail(
                "CLIENT_ERROR", f"CodeBuild is not authorized to perform: sts:AssumeRole on service role. {error}"
            )
        except ClientError as error:
            self._fail("CLIENT_ERROR", str(error))

    def _fail(self, code: str, message: str) -> None:
        self._records.end(self.id, "FAILED", code, message)
        self._write_log([f"[Container] Phase context status code: {code} Message: {message}"])
        raise _Failed(code, message)

    def _provision(self, directories: _BuildDirectories) -> Credentials:
        credentials = self._roles.assume(self._build["serviceRole"], "codebuild.amazonaws.com", self._session())
        group = self._build["logs"]["groupName"]
        arn = f"arn:aws:logs:{self._cloud.region}:{self._cloud.account}:log-group:{group}"
        for action, resource in (("logs:CreateLogStream", f"{arn}:*"), ("logs:PutLogEvents", f"{arn}:*")):
            denied = self._roles.denied(credentials, action, resource)
            if denied:
                raise _Failed(
                    "ACCESS_DENIED",
                    f"Service role {self._build['serviceRole']} does not allow AWS CodeBuild to create Amazon "
                    f"CloudWatch Logs log streams for build {self._build['arn']}. Error message: {denied}",
                )
        image.prepare(directories.home, directories.python, directories.inside(directories.python))
        return credentials

    def _session(self) -> str:
        return f"AWSCodeBuild-{self.id.rpartition(':')[2]}"

    def _download(self, directories: _BuildDirectories, credentials: Credentials) -> BuildSpec:
        self._checkout(self._build["source"], self._build.get("sourceVersion"), directories.source, credentials)
        versions = {one["sourceIdentifier"]: one for one in self._build.get("secondarySourceVersions", [])}
        for source in self._build.get("secondarySources", []):
            name = source["sourceIdentifier"]
            version = versions.get(name, {}).get("sourceVersion")
            self._checkout(source, version, directories.secondary(name), credentials)
        return parse(self._spec_text(directories))

    def _checkout(self, source: Mapping[str, Any], version: str | None, folder: Path, credentials: Credentials) -> None:
        kind = source["type"]
        if kind in ("CODEPIPELINE", "S3"):
            location = version if kind == "CODEPIPELINE" else source.get("location")
            s3 = self._roles.client("s3", credentials)
            denied = partial(self._roles.denied, credentials)
            revision = artifacts.download(s3, str(location), folder, self._repositories, denied)
            if revision and folder.name == "src":
                self._build = self._records.update(self.id, resolvedSourceVersion=revision)
        elif kind == "CODECOMMIT":
            name = str(source.get("location", "")).rstrip("/").rpartition("/")[2].removesuffix(".git")
            arn = f"arn:aws:codecommit:{self._cloud.region}:{self._cloud.account}:{name}"
            refused = self._roles.denied(credentials, "codecommit:GitPull", arn)
            if refused:
                raise ArtifactError("GIT_CLONE_FAILED", refused)
            artifacts.clone(self._repositories, name, version or "main", folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)

    def _spec_text(self, directories: _BuildDirectories) -> str:
        given = str(self._build["source"].get("buildspec") or _SPEC_FILE)
        if "\n" in given or given.lstrip().startswith("{"):
            return given
        file = (directories.source / given).resolve()
        if not file.is_relative_to(directories.source.resolve()) or not file.is_file():
            raise BuildSpecError(f"stat {given}: no such file or directory")
        return file.read_text()

    def _variables(self, spec: BuildSpec, credentials: Credentials) -> dict[str, str]:
        """Return the buildspec's variables, overridden by the project's and the build's; the role reads parameters."""
        parameters = dict(spec.parameters)
        plain = dict(spec.variables)
        for variable in self._build["environment"].get("environmentVariables", []):
            chosen, other = (plain, parameters)
            if variable.get("type", "PLAINTEXT") == "PARAMETER_STORE":
                chosen, other = parameters, plain
            chosen[variable["name"]] = variable["value"]
            other.pop(variable["name"], None)
        ssm = self._roles.client("ssm", credentials) if parameters else None
        for name, parameter in parameters.items():
            assert ssm is not None  # created where there are parameters
            plain[name] = ssm.get_parameter(Name=parameter, WithDecryption=True)["Parameter"]["Value"]
        return image.with_shell_safe_names(plain)

    def _environment(self, directories: _BuildDirectories) -> dict[str, str]:
        build = self._build
        variables = {
            **image.environment(directories.inside(directories.home), directories.inside(directories.python)),
            "AWS_ENDPOINT_URL": self._cloud.endpoint_url,
            "AWS_REGION": self._cloud.region,
            "AWS_DEFAULT_REGION": self._cloud.region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "CODEBUILD_BUILD_ARN": build["arn"],
            "CODEBUILD_BUILD_ID": self.id,
            "CODEBUILD_BUILD_NUMBER": str(build["buildNumber"]),
            "CODEBUILD_BUILD_IMAGE": build["environment"]["image"],
            "CODEBUILD_INITIATOR": build["initiator"],
            "CODEBUILD_KMS_KEY_ID": build["encryptionKey"],
            "CODEBUILD_LOG_PATH": build["logs"]["streamName"],
            "CODEBUILD_RESOLVED_SOURCE_VERSION": str(build.get("resolvedSourceVersion") or ""),
            "CODEBUILD_SOURCE_VERSION": str(build.get("sourceVersion") or ""),
            "CODEBUILD_START_TIME": str(round(build["startTime"] * 1000)),
            "CODEBUILD_SRC_DIR": directories.inside(directories.source),
            "_CB_NOTES": directories.inside(directories.progress),
        }
        for source in build.get("secondarySources", []):
            name = source["sourceIdentifier"]
            variables[f"CODEBUILD_SRC_DIR_{name}"] = directories.inside(directories.secondary(name))
        return variables

    def _execute(
        self, sandbox: Sandbox, directories: _BuildDirectories, spec: BuildSpec, variables: Mapping[str, str]
    ) -> str:
        directories.exports.mkdir()
        progress = script.ProgressReader(directories.progress)
        program = directories.exports.parent / "build.sh"
        program.write_text(script.render(spec, directories.inside(directories.exports)))
        command = [spec.shell, directories.inside(program)]
        try:
            container = sandbox.start(
                command,
                variables,
                cwd=directories.inside(directories.source),
                read_only=image.visible_paths(),
                overlays=image.caches(),
            )
        except ContainerError as error:
            self._records.begin(self.id, "INSTALL")
            self._fail("COMMAND_EXECUTION_ERROR", str(error))
        orphans.record(self._cloud.store, RUNNING, self.id, container.pid)
        code = self._supervise(container, progress, script.commands(spec))
        progress.close()
        if self._end:
            self._records.end(self.id, self._end)
            raise _Failed("", "", self._end)
        self._records.update(
            self.id,
            exportedEnvironmentVariables=[
                {"name": file.name, "value": file.read_text(errors="replace")} for file in directories.exported()
            ],
        )
        if self._in_phase:  # the shell ended in the middle of a phase: by `exit` or by a signal
            self._records.end(self.id, "FAILED", "COMMAND_EXECUTION_ERROR", f"The shell exited with status {code}")
            self._failed.add(self._in_phase)
        ignored = {name.upper() for name, phase in spec.phases.items() if phase.on_failure == "CONTINUE"}
        return "FAILED" if self._failed - ignored else "SUCCEEDED"

    def _supervise(self, container: Container, progress: script.ProgressReader, commands: Sequence[str]) -> int:
        """Apply the shell's progress until it ends, times out or is stopped; return its exit code."""
        logs = self._build["logs"]
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("a") as file:

            def write(line: str) -> None:
                file.write(line + "\n")
                file.flush()

            output = LogStream(self._cloud, logs["groupName"], logs["streamName"], container.output, write)
            deadline = time.monotonic() + 60 * self._build["timeoutInMinutes"]
            while container.process.poll() is None:
                self._apply_progress(progress, commands)
                if time.monotonic() > deadline:
                    self.stop("TIMED_OUT")
                if self._wake.wait(_POLL_SECONDS):
                    break
            container.kill()
            code = container.wait()
            output.finish()
        self._apply_progress(progress, commands)
        return code

    def _apply_progress(self, progress: script.ProgressReader, commands: Sequence[str]) -> None:
        for word, *rest in progress.new_entries():
            if word == "begin":
                self._in_phase = rest[0]
                self._records.begin(self.id, rest[0])
            elif word == "failed":
                phase, code, number = rest
                self._failed.add(phase)
                message = f"Error while executing command: {commands[int(number)]}. Reason: exit status {code}"
                self._records.end(self.id, "FAILED", "COMMAND_EXECUTION_ERROR", message)
            elif word == "end":
                self._in_phase = ""
                self._records.end(self.id, "SUCCEEDED")

    def _collect_reports(self, directories: _BuildDirectories, spec: BuildSpec, credentials: Credentials) -> None:
        """Create reports from result files; errors go to the log and do not fail the build, as on AWS."""
        arns = []
        for name, files in spec.reports.items():
            group = name if name.startswith("arn:") else f"{self._build['projectName']}-{name}"
            arn = self._reports.group_arn(group)
            needed = ["CreateReport", "BatchPutTestCases"]
            if not self._reports.has_group(arn):
                needed.append("CreateReportGroup")
            denials = [self._roles.denied(credentials, f"codebuild:{action}", arn) for action in needed]
            problem = next(filter(None, denials), None)
            if files.file_format != "JUNITXML":
                problem = f"the local cloud reads reports of the format JUNITXML, not {files.file_format}"
            found = self._report_files(files, directories)
            if problem is None and not found:
                problem = f"no matching report paths found for {', '.join(files.patterns)}"
            if problem is None:
                try:
                    arns.append(self._reports.add(arn, self._build["arn"], found))
                except ReportError as error:
                    problem = str(error)
            if problem is not None:
                self._write_log([f"[Container] Error processing report {name}: {problem}"])
        if arns:
            self._records.update(self.id, reportArns=arns)

    @staticmethod
    def _report_files(files: Files, directories: _BuildDirectories) -> list[Path]:
        """Return the files of a report, without symbolic links out of the source: those lead to the host's files."""
        try:
            found = [path for path, _ in artifacts.matching(files, directories.source)]
        except ArtifactError:
            return []
        return [path for path in found if path.resolve().is_relative_to(directories.source)]

    def _upload(self, directories: _BuildDirectories, spec: BuildSpec, credentials: Credentials) -> None:
        wanted: list[tuple[Document, Files | None]] = []
        if self._build["artifacts"].get("location"):
            wanted.append((self._build["artifacts"], spec.artifacts))
        for one in self._build.get("secondaryArtifacts", []):
            wanted.append((one, spec.secondary_artifacts.get(one["artifactIdentifier"])))
        for target, files in wanted:
            if files is None:
                name = target.get("artifactIdentifier") or "artifacts"
                raise ArtifactError("CLIENT_ERROR", f"no definition for {name} in the buildspec")
            body = artifacts.pack(files, directories.source)
            s3 = self._roles.client("s3", credentials)
            artifacts.upload(s3, target["location"], body, self._build["encryptionKey"])

    def _write_log(self, lines: Sequence[str]) -> None:
        now = int(self._records.now() * 1000)
        logs = self._build["logs"]
        self._cloud.put_logs(logs["groupName"], logs["streamName"], [(now, line) for line in lines])
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


class _BuildDirectories:
    """A build's directories, on the host and in its sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        base = sandbox.tmp / "codebuild"
        if base.exists():
            shutil.rmtree(base)
        base.mkdir()
        self._base = base
        self.source, self.home, self.python = base / "src", base / "home", base / "python"
        self.progress, self.exports = base / "notes", base / "exports"

    def secondary(self, name: str) -> Path:
        """Return the directory of a secondary source."""
        return self._base / f"src-{name}"

    def exported(self) -> list[Path]:
        """Return the files of the exported variables; the build may have replaced them by symbolic links."""
        if self.exports.resolve() != self.exports:
            return []
        return [file for file in sorted(self.exports.iterdir()) if file.is_file() and not file.is_symlink()]

    def inside(self, path: Path) -> str:
        """Return the path in the sandbox, whose `tmp` is the build's /tmp; without namespaces the host's path."""
        if not self._sandbox.level.namespaces:
            return str(path)
        return str(Path("/tmp") / path.relative_to(self._sandbox.tmp))  # noqa: S108 (the build's /tmp)
