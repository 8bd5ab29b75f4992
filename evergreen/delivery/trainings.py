"""Trainings of what a delivery changed, once for each content (docs/reference/contracts.md, "Delivery")."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import ClientError

from evergreen.delivery.accounts import Platform, outputs_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# The function answers when it has looked after every model; asked twice, it starts one run.
_PATIENT = Config(read_timeout=330, retries={"mode": "standard", "total_max_attempts": 1})


class NotAsked(Exception):
    """Some models' trainings could not be asked for; one line each."""


@dataclass(frozen=True)
class Commit:
    """What was delivered.

    Attributes:
        id: hexadecimal digits.
        author: an e-mail address, "" where it is not known.
    """

    id: str
    author: str

    @property
    def words(self) -> str:
        return f"commit {self.id[:12]}{f' of {self.author}' if self.author else ''}"


class Trainings:
    """What the hub's retrain function is asked for after a delivery.

    Args:
        say: Takes a line for people.
    """

    def __init__(self, platform: Platform, *, say: Callable[[str], None]) -> None:
        self._platform, self._say = platform, say
        self._dynamodb: DynamoDBClient = platform.session.client("dynamodb")
        self._table = platform.output("LedgerTableName")

    def ask(self, commit: Commit) -> None:
        """Ask for a training of each model whose deployed content was never asked for.

        Raises:
            NotAsked: For some; the others were asked for.
        """
        failed = []
        for model in self._platform.models():
            try:
                self._say(f"{model}: {self._consider(model, commit)}")
            except NotAsked as error:
                failed.append(f"{model}: {error}")
        if failed:
            raise NotAsked("\n".join(failed))

    def _consider(self, model: str, commit: Commit) -> str:
        stack = f"{self._platform.application.name}-training-{model}"
        outputs = outputs_of(self._platform.session.client("cloudformation"), stack)
        if outputs is None:
            return f"{stack} is not there, so there is nothing to train with"
        content = outputs.get("ContentSha256")
        if content is None:
            raise NotAsked(f"{stack} does not say what it is made of; deploy it again")
        key = {"pk": {"S": f"{model}#delivery"}, "sk": {"S": f"code#{content}"}}
        if not self._claim(key, commit):
            return f"unchanged since a delivery that was trained ({content[:12]})"
        step = self._invoke(model, content, commit)
        # Only now: a delivery that ends between the two asks again, and the function knows the content by its hash.
        self._dynamodb.update_item(
            TableName=self._table,
            Key=key,
            UpdateExpression="SET asked = :yes",
            ExpressionAttributeValues={":yes": {"BOOL": True}},
        )
        return f"a training of {content[:12]} is asked for; the controller says {step}"

    def _claim(self, key: dict[str, dict[str, str]], commit: Commit) -> bool:
        """Remember the content; False where it was asked for before."""
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
        reason = f"{commit.words} changed its code, its pipeline or its data contract"
        request = {"retrain": model, "reason": reason, "code": content, "commit": commit.id}
        if commit.author:
            # Who may not approve what comes of it.
            request["author"] = commit.author
        answer = self._platform.session.client("lambda", config=_PATIENT).invoke(
            FunctionName=self._platform.output("RetrainFunctionName"), Payload=json.dumps(request).encode()
        )
        said = json.loads(answer["Payload"].read() or b"null")
        if "FunctionError" in answer:
            raise NotAsked(f"the retrain function refused: {said.get('errorMessage', said)}")
        return str(said.get(model, "nothing"))
