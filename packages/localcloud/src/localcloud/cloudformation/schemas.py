"""Which resource types AWS has, and their attributes, by the published schemas that cfn-lint ships."""

from __future__ import annotations

import re
from functools import cache

from localcloud.cloudformation.linter import linter

# Templates define these, nested stacks have outputs, and CDK writes its metadata: none has a schema.
_OPEN = ("Custom::", "AWS::CloudFormation::CustomResource", "AWS::CloudFormation::Stack", "AWS::CDK::Metadata")


@cache
def _attributes(resource_type: str) -> frozenset[str] | None:
    found = linter.attributes(resource_type)
    return None if found is None else frozenset(found)


def exists(resource_type: str) -> bool:
    """Return whether AWS has the resource type, or templates may define it."""
    return resource_type.startswith(_OPEN) or _attributes(resource_type) is not None


def has_attribute(resource_type: str, attribute: str) -> bool:
    """Return whether `Fn::GetAtt` of such a resource gives the attribute."""
    if resource_type.startswith(_OPEN):
        return True
    known = _attributes(resource_type)
    return known is None or attribute in known or any(_matches(name, attribute) for name in known if "*" in name)


def _matches(name: str, attribute: str) -> bool:
    """Return whether an attribute's name, in which `*` stands for one item, is the template's."""
    return re.fullmatch(re.escape(name).replace(r"\*", "[^.]+"), attribute) is not None
