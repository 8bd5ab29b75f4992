"""What CloudFormation refuses before it makes anything: a template's form, and references to what is not there.

The sentences are CloudFormation's, of `ValidationError`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from localcloud.cloudformation import schemas

Template = Mapping[str, Any]
_SECTIONS = frozenset(
    {
        "AWSTemplateFormatVersion",
        "Conditions",
        "Description",
        "Hooks",
        "Mappings",
        "Metadata",
        "Outputs",
        "Parameters",
        "Resources",
        "Rules",
        "Transform",
    }
)
_RESOURCE_MEMBERS = frozenset(
    {
        "Condition",
        "CreationPolicy",
        "DeletionPolicy",
        "DependsOn",
        "Metadata",
        "Properties",
        "Type",
        "UpdatePolicy",
        "UpdateReplacePolicy",
    }
)
_CONDITIONS = frozenset({"Condition", "Fn::And", "Fn::Equals", "Fn::Not", "Fn::Or"})
_POLICIES = ("Delete", "Retain", "RetainExceptOnCreate", "Snapshot")
_PARAMETER_TYPE = re.compile(
    r"String|Number|List<Number>|List<String>|CommaDelimitedList"
    r"|(List<)?AWS::(EC2|Route53|SSM)::[A-Za-z:]+>?|AWS::SSM::Parameter::Value<.+>"
)
_LOGICAL_ID = re.compile(r"[A-Za-z0-9]{1,255}")
_PSEUDO = frozenset(
    f"AWS::{name}"
    for name in ("AccountId", "NotificationARNs", "NoValue", "Partition", "Region", "StackId", "StackName", "URLSuffix")
)
_PLACEHOLDER = re.compile(r"\$\{([^!}][^}]*)\}")


class _Refused(Exception):
    """The template is refused; the message is CloudFormation's sentence."""


def problem(template: Template) -> str | None:
    """Return why CloudFormation refuses a template, with transforms applied, or None."""
    try:
        _check_sections(template)
        _check_parameters(template)
        _check_resources(template)
        _check_outputs(template)
        _check_references(template)
        _check_cycles(template)
    except _Refused as error:
        return str(error)
    return None


def parameters_problem(template: Template, given: Collection[str]) -> str | None:
    """Return why CloudFormation refuses the values that a request gives a template's parameters, or None.

    Args:
        template: The template.
        given: The names of the parameters that the request gives, or takes over from before.
    """
    try:
        _check_parameters(template)
    except _Refused as error:
        return str(error)
    declared = _mapping(template, "Parameters")
    unknown = sorted(set(given) - set(declared))
    if unknown:
        return f"Parameters: [{', '.join(unknown)}] do not exist in the template"
    missing = [name for name, parameter in declared.items() if "Default" not in parameter and name not in given]
    return f"Parameters: [{', '.join(missing)}] must have values" if missing else None


def _format(text: str) -> _Refused:
    return _Refused(f"Template format error: {text}")


def _mapping(template: Template, section: str) -> Mapping[str, Any]:
    found = template.get(section) or {}
    if not isinstance(found, Mapping):
        raise _format(f"[/{section}] must be an object")
    return found


def _check_sections(template: Template) -> None:
    unknown = sorted(set(template) - _SECTIONS)
    if unknown:
        raise _Refused(f"Invalid template property or properties [{', '.join(unknown)}]")
    version = template.get("AWSTemplateFormatVersion", "2010-09-09")
    if str(version) != "2010-09-09":
        raise _format(f"{version} is not a supported value for AWSTemplateFormatVersion.")
    if not isinstance(template.get("Description", ""), str):
        raise _format("[/Description] must be a string")
    if not _mapping(template, "Resources"):
        raise _format("At least one Resources member must be defined.")
    for name, mapping in _mapping(template, "Mappings").items():
        if not _LOGICAL_ID.fullmatch(str(name)):
            raise _format(f"Mappings attribute name '{name}' must contain only alphanumeric characters.")
        if not isinstance(mapping, Mapping) or not all(isinstance(one, Mapping) for one in mapping.values()):
            raise _format("Every Mappings attribute must be a String or a List.")
    for condition in _mapping(template, "Conditions").values():
        if not isinstance(condition, Mapping) or len(condition) != 1 or not _CONDITIONS & condition.keys():
            raise _format("Conditions can only be boolean operations on parameters and other conditions")


def _check_parameters(template: Template) -> None:
    for name, parameter in _mapping(template, "Parameters").items():
        if not _LOGICAL_ID.fullmatch(str(name)):
            raise _format(f"Parameter name {name} is non alphanumeric.")
        if not isinstance(parameter, Mapping) or "Type" not in parameter:
            raise _format("Every Parameters object must contain a Type member.")
        if not _PARAMETER_TYPE.fullmatch(str(parameter["Type"])):
            raise _format(f"Unrecognized parameter type: {parameter['Type']}")
        default = parameter.get("Default")
        allowed = parameter.get("AllowedValues")
        if default is not None and allowed and str(default) not in [str(one) for one in allowed]:
            raise _Refused(f"Parameter '{name}' must be one of AllowedValues")


def _check_resources(template: Template) -> None:
    conditions = _mapping(template, "Conditions")
    for name, resource in _mapping(template, "Resources").items():
        if not _LOGICAL_ID.fullmatch(str(name)):
            raise _format(f"Resource name {name} is non alphanumeric.")
        if not isinstance(resource, Mapping):
            raise _format(f"[/Resources/{name}] resource definition is malformed")
        if not isinstance(resource.get("Type"), str):
            raise _format(f"[/Resources/{name}] Every Resources object must contain a Type member.")
        unknown = sorted(set(resource) - _RESOURCE_MEMBERS)
        if unknown:
            raise _Refused(f"Invalid template resource property '{unknown[0]}'")
        if not isinstance(resource.get("Properties") or {}, Mapping):
            raise _format(f"[/Resources/{name}/Properties] must be an object")
        if not isinstance(resource.get("DependsOn", []), str | list):
            raise _format("DependsOn must be a string or list of strings.")
        for member in ("DeletionPolicy", "UpdateReplacePolicy"):
            value = resource.get(member, "Delete")
            if not isinstance(value, Mapping) and value not in _POLICIES:
                raise _format(f"Unrecognized {member} {value} for resource {name}")
        if "Condition" in resource and resource["Condition"] not in conditions:
            raise _format(
                f"Unresolved condition dependency {resource['Condition']} in the Resources block of the template"
            )


def _check_outputs(template: Template) -> None:
    conditions = _mapping(template, "Conditions")
    for name, output in _mapping(template, "Outputs").items():
        if not _LOGICAL_ID.fullmatch(str(name)):
            raise _format(f"Output name {name} is non alphanumeric.")
        if not isinstance(output, Mapping) or output.get("Value") is None:
            raise _format(f"[/Outputs/{name}] Every Outputs member must contain a Value object")
        if "Condition" in output and output["Condition"] not in conditions:
            raise _format(f"Unresolved condition dependency {output['Condition']} in the Outputs block of the template")


def _check_references(template: Template) -> None:
    resources, parameters = _mapping(template, "Resources"), _mapping(template, "Parameters")
    conditions = _mapping(template, "Conditions")
    for section in ("Resources", "Outputs"):
        missing: set[str] = set()
        for entry in _mapping(template, section).values():
            parts = (
                [entry.get(part) for part in ("Properties", "DeletionPolicy", "UpdateReplacePolicy")]
                if section == "Resources"
                else [entry.get("Value"), entry.get("Export")]
            )
            for function, argument in _functions(parts):
                _check_form(function, argument)
                if function == "Fn::If" and argument[0] not in conditions:
                    raise _format(
                        f"Unresolved condition dependency {argument[0]} in the {section} block of the template"
                    )
                for name, attribute in _references(function, argument):
                    if name in resources:
                        _check_attribute(function, resources[name], name, attribute)
                    elif function == "Fn::GetAtt":
                        raise _Refused(f"Template error: instance of Fn::GetAtt references undefined resource {name}")
                    elif attribute is not None or (name not in parameters and name not in _PSEUDO):
                        missing.add(name)
            missing |= {name for name in _depends_on(entry) if name not in resources}
        if missing:
            names = ", ".join(sorted(missing))
            raise _format(f"Unresolved resource dependencies [{names}] in the {section} block of the template")
    _check_conditions(conditions, parameters)


def _check_conditions(conditions: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    for function, argument in _functions(conditions):
        if function == "Fn::GetAtt":
            raise _Refused("Template error: Fn::GetAtt is not supported in the Conditions block of the template")
        missing = [
            name for name, _ in _references(function, argument) if name not in parameters and name not in _PSEUDO
        ]
        if missing:
            raise _Refused(
                f"Template error: Unresolved dependencies {missing}. Cannot reference resources in the Conditions "
                "block of the template".replace("'", "")
            )
        if function == "Condition" and argument not in conditions:
            raise _format(f"Unresolved condition dependency {argument} in the Conditions block of the template")


def _check_attribute(function: str, resource: Mapping[str, Any], name: str, attribute: str | None) -> None:
    if attribute is not None and not schemas.has_attribute(resource["Type"], attribute):
        where = "Fn::GetAtt" if function == "Fn::GetAtt" else "Fn::Sub"
        raise _Refused(f"Template error: resource {name} does not support attribute type {attribute} in {where}")


def _functions(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield each function of a part of a template with its argument, outer ones first."""
    if isinstance(node, Mapping):
        if len(node) == 1:
            ((key, argument),) = node.items()
            if str(key).startswith("Fn::") or key == "Ref" or (key == "Condition" and isinstance(argument, str)):
                yield str(key), argument
        for value in node.values():
            yield from _functions(value)
    elif isinstance(node, list):
        for value in node:
            yield from _functions(value)


def _references(function: str, argument: Any) -> Iterator[tuple[str, str | None]]:
    """Yield the names that a function refers to, with the attribute or None."""
    if function == "Ref":
        yield argument, None
    elif function == "Fn::GetAtt":
        name, attribute = argument.split(".", 1) if isinstance(argument, str) else (argument[0], argument[1])
        yield name, attribute if isinstance(attribute, str) else None
    elif function == "Fn::Sub":
        text, given = (argument, {}) if isinstance(argument, str) else (argument[0], argument[1])
        for placeholder in _PLACEHOLDER.findall(text):
            name, _, attribute = placeholder.strip().partition(".")
            if placeholder.strip() not in given:
                yield name, attribute or None


def _depends_on(entry: Mapping[str, Any]) -> list[str]:
    given = entry.get("DependsOn") or []
    return [given] if isinstance(given, str) else list(given)


def _is_list(*lengths: int) -> Callable[[Any], bool]:
    return lambda argument: isinstance(argument, list) and (not lengths or len(argument) in lengths)


def _is_join(argument: Any) -> bool:
    return _is_list(2)(argument) and isinstance(argument[0], str) and isinstance(argument[1], list | Mapping)


def _is_sub(argument: Any) -> bool:
    if isinstance(argument, str):
        return True
    return _is_list(2)(argument) and isinstance(argument[0], str) and isinstance(argument[1], Mapping)


def _is_get_att(argument: Any) -> bool:
    if isinstance(argument, str):
        return "." in argument
    return _is_list(2)(argument) and isinstance(argument[0], str)


def _is_if(argument: Any) -> bool:
    return _is_list(3)(argument) and isinstance(argument[0], str)


# Function → (whether an argument has its form, CloudFormation's sentence if not).
_FORMS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "Ref": (
        lambda argument: isinstance(argument, str),
        "Template format error: every Ref object must have a single String value.",
    ),
    "Fn::Join": (
        _is_join,
        "Template error: every Fn::Join object requires two parameters, (1) a string delimiter and (2) a list of "
        "strings to be joined or a function that returns a list of strings (such as Fn::GetAZs) to be joined.",
    ),
    "Fn::Sub": (
        _is_sub,
        "Template error: One or more Fn::Sub intrinsic functions don't specify expected arguments. Specify a string as "
        "first argument, and an optional second argument to specify a mapping of values to replace in the string",
    ),
    "Fn::GetAtt": (
        _is_get_att,
        "Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource "
        "attribute",
    ),
    "Fn::If": (_is_if, "Template error: Fn::If requires a list argument with three elements"),
    "Fn::Select": (
        _is_list(2),
        "Template error: Fn::Select requires a list argument with two elements: an integer index and a list",
    ),
    "Fn::Split": (
        _is_list(2),
        "Template error: every Fn::Split object requires two parameters, (1) a string delimiter and (2) a string to be "
        "split or a function that returns a string to be split.",
    ),
    "Fn::FindInMap": (
        _is_list(3, 4),
        "Template error: every Fn::FindInMap object requires three parameters, the map name, map key and the attribute "
        "for return value",
    ),
}
_OTHER_FUNCTIONS = frozenset(
    f"Fn::{name}"
    for name in (
        *("And", "Base64", "Cidr", "Contains", "EachMemberEquals", "EachMemberIn", "Equals", "ForEach", "GetAZs"),
        *("ImportValue", "Length", "Not", "Or", "RefAll", "ToJsonString", "Transform", "ValueOf", "ValueOfAll"),
    )
)


def _check_form(function: str, argument: Any) -> None:
    if function in _FORMS:
        fits, sentence = _FORMS[function]
        if not fits(argument):
            raise _Refused(sentence)
    elif function.startswith("Fn::") and not function.startswith("Fn::ForEach::") and function not in _OTHER_FUNCTIONS:
        known = ", ".join(sorted({*_FORMS, *_OTHER_FUNCTIONS} - {"Ref"}))
        raise _Refused(
            f"Template error: Encountered unsupported function: {function} Supported functions are: [{known}]"
        )


def _check_cycles(template: Template) -> None:
    resources = _mapping(template, "Resources")
    waiting = {
        name: {
            *(
                other
                for function, argument in _functions(entry.get("Properties"))
                for other, _ in _references(function, argument)
            ),
            *_depends_on(entry),
        }
        & resources.keys()
        for name, entry in resources.items()
    }
    while waiting:
        free = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        if not free:
            raise _Refused(f"Circular dependency between resources: [{', '.join(_in_cycles(waiting))}]")
        for name in free:
            del waiting[name]


def _in_cycles(waiting: dict[str, set[str]]) -> list[str]:
    """Return the resources of the cycles themselves, without those that only need them."""
    while True:
        needed = {name for needs in waiting.values() for name in needs}
        idle = waiting.keys() - needed
        if not idle:
            return sorted(waiting)
        waiting = {name: needs for name, needs in waiting.items() if name not in idle}
