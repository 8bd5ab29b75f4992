"""Training requests for what a delivery changed, once for each content (docs/reference/contracts.md, "Delivery")."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import ClientError

from evergreen.deployed import Platform, outputs_of
from evergreen.errors import FailedError

if TYPE_CHECKING:
    import boto3
    from mypy_boto3_dynamodb import DynamoDBClient

# The function answers after it has reconciled every model. Asked twice, it starts one run.
_PATIENT = Config(read_timeout=330, retries={"mode": "standard", "total_max_attempts": 1})


class NotRequestedError(FailedError):
    """Some trainings could not be requested; one line for each model."""


@dataclass(frozen=True)
class Commit:
    """The commit that was delivered.

    Attributes:
        id: Hexadecimal digits.
        author: An e-mail address, "" where it is not known.
    """

    id: str
    author: str

    @property
    def label(self) -> str:
        """The commit and its author, as the training's reason names them."""
        return f"commit {self.id[:12]}{f' of {self.author}' if self.author else ''}"


class Trainings:
    """Training requests to the hub's retrain function after a delivery.

    Args:
        platform: The hub's stage.
        say: Prints a line.
    """

    def __init__(self, platform: Platform, *, say: Callable[[str], None]) -> None:
        self._platform, self._say = platform, say
        self._dynamodb: DynamoDBClient = platform.session.client("dynamodb")
        self._table = platform.output("LedgerTableName")

    def request(self, commit: Commit) -> None:
        """Request a training of each model whose deployed content has never been requested.

        Raises:
            NotRequestedError: It failed for some models. The others were requested.
        """
        failed = []
        for model in self._platform.models():
            try:
                self._say(f"{model}: {self._request(model, commit)}")
            except NotRequestedError as error:
                failed.append(f"{model}: {error}")
        if failed:
            raise NotRequestedError("\n".join(failed))

    def _request(self, model: str, commit: Commit) -> str:
        stack = self._platform.names(model).training_stack
        outputs = outputs_of(self._platform.session.client("cloudformation"), stack)
        if outputs is None:
            return f"{stack} is not deployed, so there is nothing to train"
        content = outputs.get("ContentSha256")
        if content is None:
            raise NotRequestedError(f"{stack} has no output ContentSha256; deploy it again")
        key = {"pk": {"S": f"{model}#delivery"}, "sk": {"S": f"code#{content}"}}
        if not self._claim(key, commit):
            return f"unchanged since a delivery that requested a training ({content[:12]})"
        step = self._invoke(model, content, commit)
        # Last, so that a delivery which stops before it asks again. The function knows the content by its hash.
        self._dynamodb.update_item(
            TableName=self._table,
            Key=key,
            UpdateExpression="SET asked = :yes",
            ExpressionAttributeValues={":yes": {"BOOL": True}},
        )
        return f"requested a training of {content[:12]}; the retrain controller answered {step}"

    def _claim(self, key: dict[str, dict[str, str]], commit: Commit) -> bool:
        """Record the content. Return False where a training of it was requested before."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item={
                    "pk": {"S": key["pk"]["S"]},
                    "sk": {"S": key["sk"]["S"]},
                    "commit": {"S": commit.id},
                    "author": {"S": commit.author},
                    "at": {"S": at},
                    "asked": {"BOOL": False},
                },
                ConditionExpression="attribute_not_exists(pk) OR asked = :no",
                ExpressionAttributeValues={":no": {"BOOL": False}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _invoke(self, model: str, content: str, commit: Commit) -> str:
        reason = f"{commit.label} changed its code, its pipeline or its data contract"
        request = {"retrain": model, "reason": reason, "code": content, "commit": commit.id}
        if commit.author:
            # The author may not approve the resulting version.
            request["author"] = commit.author
        answer = self._platform.session.client("lambda", config=_PATIENT).invoke(
            FunctionName=self._platform.output("RetrainFunctionName"), Payload=json.dumps(request).encode()
        )
        result = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" in answer:
            raise NotRequestedError(f"the retrain function failed: {result.get('errorMessage', result)}")
        return str(result.get(model, "nothing"))


def author_of(session: boto3.Session, repository: str, commit: str) -> str:
    """Return the e-mail address of a commit's author, as CodeCommit has it, "" for none."""
    found = session.client("codecommit").get_commit(repositoryName=repository, commitId=commit)
    return str(found["commit"].get("author", {}).get("email", ""))
