"""Use of KMS keys: key policy, IAM policies, grants, conditions and the key's state decide, as in KMS.

Sources: AWS KMS Developer Guide, "Key access and permissions", "Condition keys for AWS KMS", "Grants in AWS KMS" and
"Key states of AWS KMS keys".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from ministack.core import iam_evaluator, responses
from ministack.services import kms

from localcloud.ministack_adapter.environment import ACCOUNT, REGION
from localcloud.ministack_adapter.patching import wrap
from localcloud.ministack_adapter.principals import role_arn_of, root_arn

AWS_MANAGED = "alias/aws/"
_caller: ContextVar[str | None] = ContextVar("localcloud_key_caller", default=None)


@dataclass(frozen=True)
class Refusal:
    """The reason why KMS does not let a principal use a key.

    Attributes:
        kind: `denied`, `disabled`, `state` (pending deletion or import) or `missing`.
        message: KMS's sentence.
    """

    kind: Literal["denied", "disabled", "state", "missing"]
    message: str


@dataclass(frozen=True)
class Use:
    """One use of a key by a service.

    Attributes:
        key: Key id, alias or ARN.
        actions: The KMS actions, without `kms:`.
        service: The service that calls KMS, for `kms:ViaService`; empty for a direct call.
        context: The encryption context.
        for_grant: The service asks for a grant for a resource of its own (`kms:GrantIsForAWSResource`).
    """

    key: str
    actions: Sequence[str]
    service: str = ""
    context: Mapping[str, str] | None = None
    for_grant: bool = False

    def conditions(self) -> dict[str, Any]:
        """Return the condition keys of this use."""
        found: dict[str, Any] = {"kms:CallerAccount": ACCOUNT, "kms:GrantIsForAWSResource": str(self.for_grant).lower()}
        if self.service:
            found["kms:ViaService"] = f"{self.service}.{REGION}.amazonaws.com"
        return found | context_conditions(self.context or {})


def install() -> None:
    """Let grants allow, and let key policies refuse the account's root."""
    wrap(iam_evaluator, "enforce", _with_grants)


def pin_caller(access_key: str) -> None:
    """Remember who signed the request, for uses of keys further down."""
    _caller.set(access_key or None)


def pinned_caller() -> str | None:
    """Return the access key that signed the request, or None outside of a request."""
    return _caller.get()


def refused_to_caller(use: Use) -> Refusal | None:
    """Return why the caller of the pinned request may not use the key; None also without a caller."""
    access_key = _caller.get()
    return None if access_key is None else refused(access_key, use)


def refused(access_key: str, use: Use) -> Refusal | None:
    """Return why an access key's principal may not use the key, or None if it may."""
    with responses.request_scope(ACCOUNT, REGION):
        record = find(use.key)
        if record is None:
            return None if AWS_MANAGED in use.key else _missing(use.key)
        for action in use.actions:
            denied = iam_evaluator.enforce(
                access_key,
                f"kms:{action}",
                "kms",
                REGION,
                resource_arn=record["Arn"],
                service_context=use.conditions(),
            )
            if denied is not None:
                return Refusal("denied", _sentence(denied, f"kms:{action}", record["Arn"]))
        return _bad_state(record)


def refused_to_service(principal: str, use: Use, source: Mapping[str, str]) -> Refusal | None:
    """Return why a service, which acts for itself, may not use the key: only the key policy can allow it.

    Args:
        principal: The service principal, e.g. `events.amazonaws.com`.
        use: The use.
        source: The condition keys that the service sends (`aws:sourcearn`, `aws:sourceaccount`), in lower case.
    """
    with responses.request_scope(ACCOUNT, REGION):
        record = find(use.key)
        if record is None:
            return (
                Refusal("denied", f"{principal} may not use {use.key}: an AWS managed key admits no service")
                if AWS_MANAGED in use.key
                else _missing(use.key)
            )
        for action in use.actions:
            context = iam_evaluator.EvalContext(
                principal_arn=principal,
                principal_type="Service",
                principal_account="",
                action=f"kms:{action}",
                resource_arn=record["Arn"],
                region=REGION,
                secure_transport=True,
                service_context={key.lower(): value for key, value in {**use.conditions(), **source}.items()},
            )
            if iam_evaluator.evaluate_resource_policy(record.get("Policy"), context, principal).decision != "Allow":
                return Refusal(
                    "denied",
                    f"{principal} is not authorized to perform: kms:{action} on resource: {record['Arn']} "
                    f"because no resource-based policy allows the kms:{action} action",
                )
        return _bad_state(record)


def unusable(key: str) -> Refusal | None:
    """Return why a key cannot be used by anyone: it is missing, disabled or pending deletion."""
    with responses.request_scope(ACCOUNT, REGION):
        record = find(key)
        if record is None:
            return None if AWS_MANAGED in key else _missing(key)
        return _bad_state(record)


def find(key: str) -> dict[str, Any] | None:
    """Return ministack's record of a key, by its id, alias or ARN."""
    record: dict[str, Any] | None = kms._resolve_key(key)
    return record


def arn_of(key: str) -> str:
    """Return the key's ARN, to which policies refer; the argument itself for an unknown key."""
    record = find(key)
    return str(record["Arn"]) if record else key


def request_conditions(action: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the condition keys of a direct request to KMS."""
    found: dict[str, Any] = {"kms:CallerAccount": ACCOUNT}
    context = request.get("EncryptionContext")
    if isinstance(context, Mapping):
        found.update(context_conditions(context))
    if action == "kms:CreateGrant":
        found["kms:GrantIsForAWSResource"] = "false"
        found["kms:GrantOperations"] = [str(one) for one in request.get("Operations") or []]
        found["kms:GranteePrincipal"] = str(request.get("GranteePrincipal", ""))
    if str(request.get("KeyId", "")).startswith("alias/"):
        found["kms:RequestAlias"] = str(request["KeyId"])
    return found


def context_conditions(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the condition keys of an encryption context."""
    if not context:
        return {}
    found: dict[str, Any] = {f"kms:EncryptionContext:{key}": str(value) for key, value in context.items()}
    return {**found, "kms:EncryptionContextKeys": [str(key) for key in context]}


def _with_grants(original: Callable[..., Any]) -> Callable[..., Any]:
    def enforce(
        access_key: str,
        action: str,
        service: str,
        region: str,
        resource_arn: str = "*",
        service_context: Mapping[str, Any] | None = None,
    ) -> Any:
        result = original(
            access_key, action, service, region, resource_arn=resource_arn, service_context=service_context
        )
        record = find(resource_arn) if service == "kms" and resource_arn != "*" else None
        if record is None or isinstance(result, iam_evaluator.AuthError):
            return result
        context = {key.lower(): value for key, value in (service_context or {}).items()}
        if result is None:
            return _refused_root(access_key, action, record, context)
        if result.decision == "ImplicitDeny" and _granted(result.principal_arn, action, record, context):
            return None
        return result

    return enforce


def _refused_root(access_key: str, action: str, record: Mapping[str, Any], context: Mapping[str, Any]) -> Any:
    """Return a denial if the account's root asks and the key policy does not allow it: a key knows no other right."""
    if not iam_evaluator.is_root_access_key(access_key):
        return None
    evaluated = iam_evaluator.EvalContext(
        principal_arn=root_arn(),
        principal_type="Account",
        principal_account=ACCOUNT,
        action=action,
        resource_arn=record["Arn"],
        region=REGION,
        secure_transport=True,
        service_context=dict(context),
    )
    result = iam_evaluator.evaluate_resource_policy(record.get("Policy"), evaluated)
    if result.decision == "Allow":
        return None
    result.principal_arn = root_arn()
    result.resource_policy_arn = record["Arn"]
    return result


def _granted(principal: str, action: str, record: Mapping[str, Any], context: Mapping[str, Any]) -> bool:
    """Return whether one of the key's grants lets the principal perform the action in this encryption context."""
    operation = action.partition(":")[2]
    principals = {principal, role_arn_of(principal)}
    for grant in list(kms._grants.values()):
        if grant["KeyId"] != record["Arn"] or grant["GranteePrincipal"] not in principals:
            continue
        if operation in grant["Operations"] and _within(grant.get("Constraints") or {}, context):
            return True
    return False


def _within(constraints: Mapping[str, Any], context: Mapping[str, Any]) -> bool:
    prefix = "kms:encryptioncontext:"
    given = {key.removeprefix(prefix): value for key, value in context.items() if key.startswith(prefix)}
    subset = {key.lower(): value for key, value in (constraints.get("EncryptionContextSubset") or {}).items()}
    whole = {key.lower(): value for key, value in (constraints.get("EncryptionContextEquals") or {}).items()}
    return subset.items() <= given.items() and (not whole or whole == given)


def _missing(key: str) -> Refusal:
    return Refusal("missing", f"Key '{key}' does not exist")


def _bad_state(record: Mapping[str, Any]) -> Refusal | None:
    if record["KeyState"] == "Disabled":
        return Refusal("disabled", f"{record['Arn']} is disabled.")
    if record["KeyState"] in ("PendingDeletion", "PendingImport"):
        state = "deletion" if record["KeyState"] == "PendingDeletion" else "import"
        return Refusal("state", f"{record['Arn']} is pending {state}.")
    return None


def _sentence(denied: Any, action: str, key_arn: str) -> str:
    if isinstance(denied, iam_evaluator.AuthError):
        return str(denied.message)
    if getattr(denied, "resource_policy_arn", "") or denied.decision == "Deny":
        why = "with an explicit deny" if denied.decision == "Deny" else _none_allows("resource", action)
    else:
        why = _none_allows("identity", action)
    return f"User: {denied.principal_arn} is not authorized to perform: {action} on resource: {key_arn} {why}"


def _none_allows(kind: str, action: str) -> str:
    return f"because no {kind}-based policy allows the {action} action"
