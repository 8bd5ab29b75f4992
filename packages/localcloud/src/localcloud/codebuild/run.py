"""One build, from its source to its artifacts, as a supervised process tree in a directory of its own."""

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
from localcloud.codebuild.artifacts import TransferError
from localcloud.codebuild.buildspec import BuildSpec, BuildSpecError, Files, parse
from localcloud.codebuild.records import Records
from localcloud.codebuild.reports import ReportError, Reports
from localcloud.json_api import Document
from localcloud.roles import Credentials, Roles
from localcloud.runtime import orphans
from localcloud.runtime.contract import ContainerError
from localcloud.runtime.logs import LogStream
from localcloud.runtime.sandbox import Container, Sandbox
from localcloud.source.repositories import Repositories

RUNNING = "CodeBuildRunning"  # the processes of builds, for who comes after a kill
_LOOK_SECONDS = 0.1
_SPEC_FILE = "buildspec.yml"
log = logging.getLogger(__name__)


class _Failed(Exception):
    """A phase failed; the build's status, and the phase context's code and message."""

    def __init__(self, code: str, message: str, status: str = "FAILED") -> None:
        super().__init__(message)
        self.code, self.status = code, status


class BuildRun:
    """Runs a build in a thread of its own."""

    def __init__(
        self,
        cloud: Cloud,
        roles: Roles,
        records: Records,
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
        self._end: str | None = None  # STOPPED or TIMED_OUT or FAULT, once somebody or something ends it
        self._log_file = cloud.state_dir / "codebuild" / "logs" / f"{self.id.replace(':', '/')}.log"
        self._failed: set[str] = set()  # phases that failed
        self._in_phase = ""
        self.thread = threading.Thread(target=self._run, name=f"build {self.id}", daemon=True)

    def stop(self, status: str = "STOPPED") -> None:
        """End the build's processes; it ends as `status`."""
        self._end = self._end or status
        self._wake.set()

    def _run(self) -> None:
        box = None
        status = "FAULT"
        self._cloud.store.put(RUNNING, self.id, {"root": str(self._root), "pid": None, "start": None})
        has_slot = self._wait_for_a_slot()
        try:
            if has_slot:
                box = Sandbox(self._root)
                status = self._work(box)
            else:
                status = self._end or status
        except _Failed as failure:
            status = failure.status
        except Exception as error:
            log.exception("build %s", self.id)
            self._records.end(self.id, "FAULT", "INTERNAL_SERVICE_ERROR", f"{type(error).__name__}: {error}")
        finally:
            if box is not None:
                box.remove()
            if has_slot:
                self._slots.release()
            self._cloud.store.delete(RUNNING, self.id)
            self._records.complete(self.id, status)

    def _wait_for_a_slot(self) -> bool:
        """Stay QUEUED until the machine has room; whether it has, before somebody stopped the build."""
        self._records.begin(self.id, "QUEUED")
        while not self._slots.acquire(timeout=_LOOK_SECONDS):
            if self._end:
                self._records.end(self.id, self._end)
                return False
        self._records.end(self.id, "SUCCEEDED")
        return True

    def _work(self, box: Sandbox) -> str:
        box.ml.mkdir(exist_ok=True)
        place = _Place(box)
        self._phase_begins("PROVISIONING")
        credentials = self._guarded(self._provision, place)
        self._records.end(self.id, "SUCCEEDED")
        self._phase_begins("DOWNLOAD_SOURCE")
        spec = self._guarded(self._download, place, credentials)
        variables = self._guarded(self._variables, spec, credentials)
        self._records.end(self.id, "SUCCEEDED")
        status = self._execute(box, place, spec, {**self._environment(place), **variables, **credentials})
        self._collect_reports(place, spec, credentials)
        if status == "SUCCEEDED":
            self._phase_begins("UPLOAD_ARTIFACTS")
            self._guarded(self._upload, place, spec, credentials)
            self._records.end(self.id, "SUCCEEDED")
        self._phase_begins("FINALIZING")
        self._records.end(self.id, "SUCCEEDED")
        return status

    def _phase_begins(self, name: str) -> None:
        if self._end:
            raise _Failed("", "", self._end)
        self._records.begin(self.id, name)

    def _guarded(self, act: Any, *arguments: Any) -> Any:
        """Run a phase's work; whatever is wrong with it is the phase's failure."""
        try:
            return act(*arguments)
        except _Failed as failure:
            self._fail(failure.code, str(failure))
        except TransferError as error:
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
        self._say([f"[Container] Phase context status code: {code} Message: {message}"])
        raise _Failed(code, message)

    def _provision(self, place: _Place) -> Credentials:
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
        image.prepare(place.home, place.python, place.inside(place.python))
        return credentials

    def _session(self) -> str:
        return f"AWSCodeBuild-{self.id.rpartition(':')[2]}"

    def _download(self, place: _Place, credentials: Credentials) -> BuildSpec:
        self._checkout(self._build["source"], self._build.get("sourceVersion"), place.source, credentials)
        versions = {one["sourceIdentifier"]: one for one in self._build.get("secondarySourceVersions", [])}
        for source in self._build.get("secondarySources", []):
            name = source["sourceIdentifier"]
            version = versions.get(name, {}).get("sourceVersion")
            self._checkout(source, version, place.secondary(name), credentials)
        return parse(self._spec_text(place))

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
                raise TransferError("GIT_CLONE_FAILED", refused)
            artifacts.clone(self._repositories, name, version or "main", folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)

    def _spec_text(self, place: _Place) -> str:
        given = str(self._build["source"].get("buildspec") or _SPEC_FILE)
        if "\n" in given or given.lstrip().startswith("{"):
            return given
        file = (place.source / given).resolve()
        if not file.is_relative_to(place.source.resolve()) or not file.is_file():
            raise BuildSpecError(f"stat {given}: no such file or directory")
        return file.read_text()

    def _variables(self, spec: BuildSpec, credentials: Credentials) -> dict[str, str]:
        """The buildspec's variables under the project's and the build's own, with parameters read by the role."""
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
            assert ssm is not None  # made where there are parameters
            plain[name] = ssm.get_parameter(Name=parameter, WithDecryption=True)["Parameter"]["Value"]
        return image.with_shell_safe_names(plain)

    def _environment(self, place: _Place) -> dict[str, str]:
        build = self._build
        variables = {
            **image.environment(place.inside(place.home), place.inside(place.python)),
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
            "CODEBUILD_SRC_DIR": place.inside(place.source),
            "_CB_NOTES": place.inside(place.notes),
        }
        for source in build.get("secondarySources", []):
            name = source["sourceIdentifier"]
            variables[f"CODEBUILD_SRC_DIR_{name}"] = place.inside(place.secondary(name))
        return variables

    def _execute(self, box: Sandbox, place: _Place, spec: BuildSpec, variables: Mapping[str, str]) -> str:
        place.exports.mkdir()
        program = place.exports.parent / "build.sh"
        program.write_text(script.render(spec, place.inside(place.exports)))
        command = [spec.shell, place.inside(program)]
        try:
            container = box.start(command, variables, cwd=place.inside(place.source))
        except ContainerError as error:
            self._records.begin(self.id, "INSTALL")
            self._fail("COMMAND_EXECUTION_ERROR", str(error))
        orphans.record(self._cloud.store, RUNNING, self.id, container.pid)
        code = self._supervise(container, script.Notes(place.notes), script.commands(spec))
        if self._end:
            self._records.end(self.id, self._end)
            raise _Failed("", "", self._end)
        self._records.update(
            self.id,
            exportedEnvironmentVariables=[
                {"name": file.name, "value": file.read_text(errors="replace")}
                for file in sorted(place.exports.iterdir())
            ],
        )
        if self._in_phase:  # the shell ended in the middle: `exit`, or something killed it
            self._records.end(self.id, "FAILED", "COMMAND_EXECUTION_ERROR", f"The shell exited with status {code}")
            self._failed.add(self._in_phase)
        ignored = {name.upper() for name, phase in spec.phases.items() if phase.on_failure == "CONTINUE"}
        return "FAILED" if self._failed - ignored else "SUCCEEDED"

    def _supervise(self, container: Container, notes: script.Notes, commands: Sequence[str]) -> int:
        """Follow the shell's notes until it ends, its time is over, or somebody stops it; return its exit code."""
        logs = self._build["logs"]
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("a") as file:

            def write(line: str) -> None:
                file.write(line + "\n")
                file.flush()

            output = LogStream(self._cloud, logs["groupName"], logs["streamName"], container.output, write)
            deadline = time.monotonic() + 60 * self._build["timeoutInMinutes"]
            while container.process.poll() is None:
                self._take(notes, commands)
                if time.monotonic() > deadline:
                    self.stop("TIMED_OUT")
                if self._wake.wait(_LOOK_SECONDS):
                    break
            container.kill()
            code = container.wait()
            output.finish()
        self._take(notes, commands)
        return code

    def _take(self, notes: script.Notes, commands: Sequence[str]) -> None:
        for word, *rest in notes.fresh():
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

    def _collect_reports(self, place: _Place, spec: BuildSpec, credentials: Credentials) -> None:
        """Make reports of result files; what cannot be made is said in the log and fails nothing, as on AWS."""
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
            found = [path for path, _ in artifacts.matching(files, place.source)]
            if problem is None and not found:
                problem = f"no matching report paths found for {', '.join(files.patterns)}"
            if problem is None:
                try:
                    arns.append(self._reports.add(arn, self._build["arn"], found))
                except ReportError as error:
                    problem = str(error)
            if problem is not None:
                self._say([f"[Container] Error processing report {name}: {problem}"])
        if arns:
            self._records.update(self.id, reportArns=arns)

    def _upload(self, place: _Place, spec: BuildSpec, credentials: Credentials) -> None:
        wanted: list[tuple[Document, Files | None]] = []
        if self._build["artifacts"].get("location"):
            wanted.append((self._build["artifacts"], spec.artifacts))
        for one in self._build.get("secondaryArtifacts", []):
            wanted.append((one, spec.secondary_artifacts.get(one["artifactIdentifier"])))
        for target, files in wanted:
            if files is None:
                name = target.get("artifactIdentifier") or "artifacts"
                raise TransferError("CLIENT_ERROR", f"no definition for {name} in the buildspec")
            body = artifacts.pack(files, place.source)
            s3 = self._roles.client("s3", credentials)
            artifacts.upload(s3, target["location"], body, self._build["encryptionKey"])

    def _say(self, lines: Sequence[str]) -> None:
        now = int(self._records.now() * 1000)
        logs = self._build["logs"]
        self._cloud.put_logs(logs["groupName"], logs["streamName"], [(now, line) for line in lines])
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


class _Place:
    """A build's directories, outside and inside of its sandbox."""

    def __init__(self, box: Sandbox) -> None:
        self._box = box
        base = box.tmp / "codebuild"
        if base.exists():
            shutil.rmtree(base)
        base.mkdir()
        self._base = base
        self.source, self.home, self.python = base / "src", base / "home", base / "python"
        self.notes, self.exports = base / "notes", base / "exports"

    def secondary(self, name: str) -> Path:
        return self._base / f"src-{name}"

    def inside(self, path: Path) -> str:
        """The path as the build sees it: the sandbox's `tmp` is its /tmp, where it has one."""
        if not self._box.level.namespaces:
            return str(path)
        return str(Path("/tmp") / path.relative_to(self._box.tmp))  # noqa: S108 - the build's own
