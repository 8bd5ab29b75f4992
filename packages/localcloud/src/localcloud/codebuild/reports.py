"""Test reports: report groups, reports and test cases, read from JUnit XML."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from defusedxml import ElementTree

from localcloud.cloud import Cloud
from localcloud.errors import AwsError
from localcloud.json_api import Document, Operations, page

_GROUP, _REPORT, _CASES = "CodeBuildReportGroup", "CodeBuildReport", "CodeBuildTestCases"
_OUTCOMES = {"failure": "FAILED", "error": "ERROR", "skipped": "SKIPPED"}
_NANO = 1_000_000_000


class ReportError(Exception):
    """A report file is not JUnit XML."""


class Reports:
    """The operations on reports, and the reports that builds add."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud, self._store = cloud, cloud.store
        self.operations: Operations = {
            "CreateReportGroup": self._create_group,
            "DeleteReportGroup": self._delete_group,
            "BatchGetReportGroups": self._get_groups,
            "ListReportGroups": self._list_groups,
            "ListReports": self._list_reports,
            "ListReportsForReportGroup": self._list_reports_of_group,
            "BatchGetReports": self._get_reports,
            "DescribeTestCases": self._describe_cases,
        }

    def group_arn(self, name: str) -> str:
        """Return a report group's ARN, given its name or, as a buildspec may do, its ARN."""
        if name.startswith("arn:"):
            return name
        return f"arn:aws:codebuild:{self._cloud.region}:{self._cloud.account}:report-group/{name}"

    def has_group(self, arn: str) -> bool:
        """Return whether the report group exists."""
        return self._store.get(_GROUP, arn) is not None

    def add(self, group_arn: str, build_arn: str, files: Sequence[Path]) -> str:
        """Create a report from a build's result files; return its ARN.

        Raises:
            ReportError: a file is not JUnit XML.
        """
        cases = [case for file in files for case in _cases(file)]
        counts = Counter(case["status"] for case in cases)
        failed = counts["FAILED"] + counts["ERROR"]
        now = self._cloud.clock.now().timestamp()
        report_arn = f"{group_arn.replace(':report-group/', ':report/')}:{uuid.uuid4()}"
        report = {
            "arn": report_arn,
            "type": "TEST",
            "name": report_arn.rpartition("/")[2].partition(":")[0],
            "reportGroupArn": group_arn,
            "executionId": build_arn,
            "status": "FAILED" if failed else "SUCCEEDED",
            "created": now,
            "expired": now + 30 * 86400,
            "exportConfig": {"exportConfigType": "NO_EXPORT"},
            "truncated": False,
            "testSummary": {
                "total": len(cases),
                "statusCounts": {name: counts[name] for name in ("SUCCEEDED", "FAILED", "ERROR", "SKIPPED", "UNKNOWN")},
                "durationInNanoSeconds": sum(case["durationInNanoSeconds"] for case in cases),
            },
        }
        with self._store.transaction():
            if self._store.get(_GROUP, group_arn) is None:
                self._store.put(_GROUP, group_arn, self._group(group_arn, {"type": "TEST"}))
            self._store.put(_REPORT, report_arn, report)
            self._store.put(_CASES, report_arn, {"testCases": [{**case, "reportArn": report_arn} for case in cases]})
        return report_arn

    def _group(self, arn: str, request: Mapping[str, Any]) -> Document:
        now = self._cloud.clock.now().timestamp()
        return {
            "arn": arn,
            "name": arn.rpartition("/")[2],
            "type": request["type"],
            "exportConfig": request.get("exportConfig", {"exportConfigType": "NO_EXPORT"}),
            "created": now,
            "lastModified": now,
            "tags": request.get("tags", []),
            "status": "ACTIVE",
        }

    def _create_group(self, request: Mapping[str, Any], _caller: str) -> Document:
        if request["exportConfig"].get("exportConfigType", "NO_EXPORT") != "NO_EXPORT":
            raise AwsError("InvalidInputException", "The local cloud does not export reports to S3")
        arn = self.group_arn(request["name"])
        if self._store.get(_GROUP, arn):
            raise AwsError("ResourceAlreadyExistsException", f"Report group already exists: {arn}")
        group = self._group(arn, request)
        self._store.put(_GROUP, arn, group)
        return {"reportGroup": group}

    def _delete_group(self, request: Mapping[str, Any], _caller: str) -> Document:
        reports = self._of_group(request["arn"])
        if reports and not request.get("deleteReports"):
            raise AwsError("InvalidInputException", f"{request['arn']} still has reports; set deleteReports")
        with self._store.transaction():
            for report in reports:
                self._store.delete(_REPORT, report["arn"])
                self._store.delete(_CASES, report["arn"])
            self._store.delete(_GROUP, request["arn"])
        return {}

    def _get_groups(self, request: Mapping[str, Any], _caller: str) -> Document:
        return self._get(_GROUP, "reportGroups", "reportGroupsNotFound", request["reportGroupArns"])

    def _get_reports(self, request: Mapping[str, Any], _caller: str) -> Document:
        return self._get(_REPORT, "reports", "reportsNotFound", request["reportArns"])

    def _get(self, kind: str, found: str, missing: str, arns: Sequence[str]) -> Document:
        known = {arn: self._store.get(kind, arn) for arn in arns}
        return {found: [one for one in known.values() if one], missing: [arn for arn, one in known.items() if not one]}

    def _list_groups(self, request: Mapping[str, Any], _caller: str) -> Document:
        items, token = page([arn for arn, _ in self._store.list(_GROUP)], request)
        return {"reportGroups": items, "nextToken": token}

    def _list_reports(self, request: Mapping[str, Any], _caller: str) -> Document:
        items, token = page(self._newest_first([one for _, one in self._store.list(_REPORT)]), request)
        return {"reports": items, "nextToken": token}

    def _list_reports_of_group(self, request: Mapping[str, Any], _caller: str) -> Document:
        if self._store.get(_GROUP, request["reportGroupArn"]) is None:
            raise AwsError("ResourceNotFoundException", f"Report group {request['reportGroupArn']} does not exist")
        items, token = page(self._newest_first(self._of_group(request["reportGroupArn"])), request)
        return {"reports": items, "nextToken": token}

    def _describe_cases(self, request: Mapping[str, Any], _caller: str) -> Document:
        document = self._store.get(_CASES, request["reportArn"])
        if document is None:
            raise AwsError("ResourceNotFoundException", f"Report {request['reportArn']} does not exist")
        wanted = request.get("filter", {}).get("status")
        items, token = page([case for case in document["testCases"] if wanted in (None, case["status"])], request)
        return {"testCases": items, "nextToken": token}

    def _of_group(self, arn: str) -> list[Document]:
        return [one for _, one in self._store.list(_REPORT) if one["reportGroupArn"] == arn]

    @staticmethod
    def _newest_first(reports: Sequence[Mapping[str, Any]]) -> list[str]:
        return [one["arn"] for one in sorted(reports, key=lambda one: float(one["created"]), reverse=True)]


def _cases(file: Path) -> list[Document]:
    try:
        root = ElementTree.parse(file).getroot()
    except ElementTree.ParseError as error:
        raise ReportError(f"{file.name} is not JUnit XML: {error}") from error
    suites = [root] if root.tag == "testsuite" else list(root.iter("testsuite"))
    return [_case(suite.get("name", ""), case, file) for suite in suites for case in suite.findall("testcase")]


def _case(suite: str, case: Any, file: Path) -> Document:
    problem = next((child for child in case if child.tag in _OUTCOMES), None)
    return {
        "testRawDataPath": file.name,
        "prefix": case.get("classname", ""),
        "name": case.get("name", ""),
        "status": "SUCCEEDED" if problem is None else _OUTCOMES[problem.tag],
        "durationInNanoSeconds": round(float(case.get("time") or 0) * _NANO),
        "message": "" if problem is None else (problem.get("message") or problem.text or "").strip(),
        "testSuiteName": suite,
    }
