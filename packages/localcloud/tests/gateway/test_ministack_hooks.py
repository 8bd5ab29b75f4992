"""The ministack functions that the adapter relies on, none of which is a public interface.

A failure means that the pinned version was changed. Read the adapter against the new one before you correct this list.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2]
_S = "ministack.services"
_C = f"{_S}.cloudformation"
FUNCTIONS = {
    "ministack.app.load_state": "service",
    "ministack.app.save_all": "services",
    "ministack.app._build_persistence_save_dict": "",
    "ministack.app.pin_request_origin": "source_ip secure_transport",
    "ministack.core.iam_actions.extract_resource_arn": "service method path headers body query_params region "
    "account_id",
    "ministack.core.iam_actions._param": "body query_params fields",
    "ministack.core.iam_actions.request_tag_context": "service iam_action body params",
    "ministack.core.iam_actions.access_denied_response": "service action principal_arn request_id error_code message "
    "headers resource_arn explicit_deny resource_policy_arn",
    "ministack.core.iam_evaluator._resolve_condition_key": "key ctx",
    "ministack.core.iam_evaluator.enforce": "access_key_id iam_action service region resource_arn service_context",
    "ministack.core.iam_evaluator.evaluate_resource_policy": "doc ctx service named_only direct_only",
    "ministack.core.iam_evaluator.resolve_caller_identity": "access_key_id",
    "ministack.core.lambda_runtime.reset": "",
    "ministack.core.persistence._json_default": "obj",
    "ministack.core.persistence._json_object_hook": "obj",
    "ministack.core.responses.request_scope": "account_id region",
    f"{_S}.sts.register_session": "access_key session",
    f"{_S}.eventbridge._put_events": "data allow_aws_source",
    f"{_S}.eventbridge._invoke_target": "target event rule view",
    f"{_S}.eventbridge._pattern_event_view": "event",
    f"{_S}.eventbridge._apply_input_transformer": "transformer rule view",
    f"{_S}.eventbridge._dispatch_to_sqs": "spec payload sqs_parameters",
    f"{_S}.eventbridge._dispatch_to_event_bus": "spec event rule event_path target_input_payload",
    f"{_S}.cloudwatch._record_history": "alarm_name old_state new_state reason alarm_type reason_data",
    f"{_S}.cloudwatch._evaluate_alarm": "alarm",
    f"{_S}.cloudwatch._dispatch_alarm_actions": "alarm old_state new_state reason",
    f"{_S}.cloudwatch._stat_value": "stats stat_name points",
    f"{_S}.cloudwatch._store_datum": "namespace name dims ts unit value values counts stat_values",
    f"{_S}.cloudwatch_logs._append_log_events": "stream events",
    f"{_S}.cloudwatch_logs._put_log_events": "data",
    f"{_S}.lambda_svc.invoke_async_with_retry": "func event",
    f"{_S}.lambda_svc._get_func_record_for_ref": "function_ref",
    f"{_S}.lambda_svc._resolve_layer_version_for_attachment": "layer_arn",
    f"{_S}.lambda_svc._prune_orphan_code_blobs": "referenced",
    f"{_S}.dynamodb._evaluate_condition": "expr item attr_values attr_names slot",
    f"{_S}.dynamodb._query": "data",
    f"{_S}.dynamodb._normalize_table_name": "value",
    f"{_S}.s3._resolve_sse_write_headers": "headers bucket_name",
    f"{_S}.s3._bucket_default_sse_headers": "bucket_name",
    f"{_S}.ssm._public_parameter": "name",
    f"{_S}.eventbridge._tick_scheduled_rules": "",
    f"{_S}.eventbridge._parse_rate_seconds": "expr",
    f"{_S}.eventbridge._parse_cron_fields": "expr",
    f"{_S}.eventbridge._cron_next_fire": "fields after_dt",
    f"{_S}.scheduler._tick_schedules": "",
    f"{_S}.scheduler._to_epoch": "value",
    f"{_S}.scheduler._at_time_epoch": "expr",
    f"{_S}.lambda_svc._iter_all_esms": "",
    f"{_S}.lambda_svc.executions_in_flight": "",
    f"{_S}.sqs._queue_by_arn": "arn",
    "ministack.app._routing_params": "method path headers body query_params",
    "ministack.core.iam_actions.extract_iam_action": "service method path headers body query_params",
    "ministack.core.iam_actions._query_param": "query_params key",
    "ministack.core.iam_evaluator.is_root_access_key": "access_key_id",
    f"{_S}.kms._resolve_key": "key_id_or_arn",
    f"{_S}.sqs._dispatch": "action data qurl",
    f"{_S}.sqs._get_q": "url action",
    f"{_S}.sns._publish": "params",
    f"{_S}.sns._publish_batch": "params",
    f"{_S}.sns._error": "code message status",
    f"{_S}.sns._deliver_to_sqs": "endpoint envelope raw raw_message message_group_id "
    "message_dedup_id message_attributes topic_arn",
    f"{_S}.sns._topic_by_arn_any_scope": "topic_arn",
    f"{_S}.sns.topic_policy_allows": "topic_arn service source_arn source_account",
    f"{_S}.cloudwatch._is_sns_action_arn": "action",
    f"{_S}.cloudwatch_logs._create_log_group": "data",
    f"{_S}.ssm._put_parameter": "data",
    f"{_S}.ssm._get_parameter": "data",
    f"{_S}.ssm._get_parameters": "data",
    f"{_S}.ssm._get_parameters_by_path": "data",
    f"{_S}.ssm._get_parameter_history": "data",
    f"{_S}.lambda_svc._invoke": "name event headers path_qualifier query_params",
    f"{_S}.s3._put_object": "bucket_name key body headers",
    f"{_S}.s3._create_multipart_upload": "bucket_name key headers",
    f"{_S}.s3._copy_object": "bucket_name dest_key headers",
    f"{_S}.s3._upload_part": "bucket_name key body query_params headers",
    f"{_S}.s3._upload_part_copy": "bucket_name dest_key query_params headers",
    f"{_S}.s3._complete_multipart_upload": "bucket_name key body query_params headers",
    f"{_S}.s3._get_object": "bucket_name key headers query_params",
    f"{_S}.s3._head_object": "bucket_name key headers query_params",
    f"{_S}.s3._get_object_attributes": "bucket_name key headers query_params",
    f"{_S}.s3._notification_destination_allows": "target_type arn bucket_name owner",
    f"{_S}.s3._deliver_event_to_sqs": "arn event_payload bucket_region bucket_name",
    f"{_S}.s3._deliver_event_to_sns": "arn event_payload bucket_region bucket_name",
    f"{_S}.s3._error": "code message status resource extra headers",
    "ministack.core.sigv4.request_time_failure": "signature now",
    "ministack.core.sigv4.presigned_request_is_expired": "amz_date expires now",
    "ministack.core.sigv4._amz_datetime": "value",
    f"{_C}.provisioners._cw_metric_alarm_record": "name props",
    f"{_C}.provisioners._cw_metric_alarm_put": "name props",
    f"{_C}.provisioners._cw_metric_alarm_delete": "physical_id props",
    f"{_C}.engine._evaluate_conditions": "template params",
    f"{_C}.engine.validate_template_support": "template conditions params",
    f"{_C}.engine._resolve_parameters": "template provided_params previous_params",
    f"{_C}.stacks._resolve_stack_outputs": "outputs_defs conditions resources param_values mappings "
    "stack_name stack_id",
    "ministack.core.iam_evaluator._gather_role_policies": "role_name account_id",
    "ministack.core.iam_evaluator._action_matches": "request_action actions not_actions",
    "ministack.core.iam_evaluator._resource_matches": "resource_arn resources not_resources",
    f"{_S}.eventbridge._event_pattern_error": "pattern_str",
    f"{_S}.eventbridge._validate_schedule_expression": "expr",
    f"{_S}.eventbridge._validate_target_arn": "target",
    f"{_S}.s3._get_object_data": "bucket_name key version_id",
    f"{_C}.engine._resolve_refs": "value resources params conditions mappings stack_name stack_id",
    f"{_C}.changesets._resolve_props_for_diff": "template params stack_name stack_id",
    f"{_S}.iam._make_aws_managed_record": "name document description",
    f"{_C}.changesets._import_ref": "rtype value",
    f"{_C}.changesets._find_change_set": "cs_name stack_name",
    f"{_C}.handlers._resolve_stack": "stack_name",
    f"{_C}.stacks._runs_on_worker_thread": "resource_type",
    f"{_C}.stacks._sends_back_failed_update": "resource_type",
    f"{_C}.stacks._add_event": "stack_id stack_name logical_id resource_type status reason physical_id detailed_status",
    f"{_C}.stacks._deploy_stack_async": "stack_name stack_id template param_values disable_rollback tags is_update "
    "previous_stack retain_except_on_create imports",
    f"{_C}.stacks._delete_stack_async": "stack_name stack_id retain_resources force",
    f"{_C}.stacks._roll_back_operation": "stack_name stack_id stack operation reason_override",
    f"{_C}.stacks._failed_operation": "is_update previous_stack created failed_update failed_logical_id replaced_ids "
    "cancelled template param_values retain_except_on_create stack_tags previous_tags imports",
    f"{_C}.provisioners._provision_resource": "resource_type logical_id props stack_name",
    f"{_C}.provisioners._update_resource": "resource_type physical_id old_props new_props stack_name logical_id "
    "old_attrs",
    f"{_C}.provisioners._delete_resource": "resource_type physical_id props stack_name logical_id",
    f"{_C}.provisioners._replacing_change": "resource_type old_props new_props",
    f"{_C}.provisioners._physical_name": "stack_name logical_id lowercase max_len seeded",
}
TABLES = {
    "ministack.app.SERVICE_HANDLERS": "s3",
    "ministack.core.router.SERVICE_PATTERNS": "s3",
    "ministack.core.iam_actions.SERVICE_TO_IAM_NAMESPACE": "s3",
    "ministack.core.iam_actions._BOTOCORE_SERVICE_MAP": "batch",
    f"{_S}.sqs._QUERY_COMPAT_CODES": "KmsAccessDenied",
    f"{_C}.handlers._ACTION_HANDLERS": "CreateChangeSet",
    f"{_S}.iam._aws_managed_policies": "arn:aws:iam::aws:policy/AmazonS3FullAccess",
    f"{_C}.changesets._IMPORT_LOOKUPS": "AWS::S3::Bucket",
    f"{_C}.provisioners._RESOURCE_HANDLERS": "AWS::S3::Bucket",
    f"{_C}.provisioners._REPLACING_PROPERTIES": "AWS::DynamoDB::Table",
    f"{_C}.provisioners._STACK_TAG_PROPERTY": "AWS::SQS::Queue",
    f"{_C}.provisioners._CUSTOM_NAME_REPLACEMENT": "AWS::DynamoDB::Table",
}
_LOOK = """
import importlib, inspect, json, sys
from pathlib import Path
from localcloud.ministack_adapter import environment
environment.configure(Path(sys.argv[1]), 4829)
functions, tables = json.loads(sys.argv[2])
def find(name):
    module, _, attribute = name.rpartition('.')
    return getattr(importlib.import_module(module), attribute, None)
signatures = {n: " ".join(inspect.signature(find(n)).parameters) if find(n) else "missing" for n in functions}
tables_held = {name: key in (find(name) or {}) for name, key in tables.items()}
print(json.dumps([signatures, tables_held]))
"""


def test_the_version_is_the_one_that_the_adapter_was_written_for() -> None:
    assert version("ministack") == "1.5.33"
    assert re.search(r'^ *"ministack==1\.5\.33",$', (PACKAGE / "pyproject.toml").read_text(), re.MULTILINE)


def test_every_function_and_table_that_the_adapter_uses_is_as_it_was(tmp_path: Path) -> None:
    asked = json.dumps([list(FUNCTIONS), TABLES])
    looked = subprocess.run(
        [sys.executable, "-c", _LOOK, str(tmp_path), asked], capture_output=True, text=True, check=True
    )
    signatures, tables_held = json.loads(looked.stdout)
    assert signatures == FUNCTIONS
    assert all(tables_held.values()), tables_held


def test_nothing_outside_the_adapter_imports_ministack() -> None:
    outside = [
        path
        for path in (PACKAGE / "src").rglob("*.py")
        if "ministack_adapter" not in path.parts and re.search(r"^\s*(import|from) ministack", path.read_text(), re.M)
    ]
    assert outside == []
