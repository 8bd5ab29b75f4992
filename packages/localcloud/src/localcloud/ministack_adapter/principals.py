"""ARNs of principals in ministack's IAM."""

from __future__ import annotations

import re

from ministack.core import responses
from ministack.services import iam

from localcloud.ministack_adapter.environment import ACCOUNT, REGION

_SESSION = re.compile(r"^arn:aws:sts::(?P<account>\d+):assumed-role/(?P<role>[^/]+)/")


def root_arn() -> str:
    """Return the ARN of the account's root."""
    return f"arn:aws:iam::{ACCOUNT}:root"


def role_arn_of(principal: str) -> str:
    """Return the role's ARN of a role session, or the principal itself."""
    session = _SESSION.match(principal)
    if session is None:
        return principal
    with responses.request_scope(session["account"], REGION):
        role = iam._roles.get(session["role"]) or {}
    return str(role.get("Arn") or f"arn:aws:iam::{session['account']}:role/{session['role']}")
