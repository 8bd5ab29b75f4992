"""The endpoint of a model in a stage, with deployment guardrails, data capture and scaling."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_applicationautoscaling as scaling
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_sagemaker as sagemaker
from constructs import Construct

from configuration import AllAtOnce, Canary, Deployment, Linear, Realtime, Serverless, Serving
from configuration.instances import has_local_disk
from constructs.mlops.foundation.alerts import AlertTopic
from constructs.mlops.foundation.buckets import Bucket
from constructs.mlops.foundation.encryption_key import EncryptionKey
from constructs.mlops.foundation.permissions import acknowledge
from constructs.mlops.serving.release_record import ReleaseRecordParameters
from constructs.mlops.serving.rollback_alarms import RollbackAlarms
from constructs.mlops.serving.served_model import ServedModel, replace_on_release

# Fixed: RetainAllVariantProperties identifies the scaled fleet by it.
_VARIANT = "AllTraffic"
# Too few instances do harm sooner than too many.
_SCALE_OUT_COOLDOWN_SECONDS = 60
_SCALE_IN_COOLDOWN_SECONDS = 300

_Config = sagemaker.CfnEndpointConfig
_Endpoint = sagemaker.CfnEndpoint


class Endpoint(Construct):
    """Configuration, endpoint, guardrails, data capture and scaling; none of it exists before the first release.

    Like the model, the configuration has no physical name, so that a release can replace it.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        app: str,
        name: str,
        serving: Serving,
        release: ReleaseRecordParameters,
        served: ServedModel,
        capture_prefix: str,
        data: Bucket,
        key: EncryptionKey,
        alerts: AlertTopic,
    ) -> None:
        super().__init__(scope, construct_id)
        self._release, self._name = release, name
        self.configuration = _Config(
            self,
            "EndpointConfig",
            production_variants=[_variant(serving, served.model.attr_model_name)],
        )
        replace_on_release(self.configuration, release, app)
        self.endpoint = _Endpoint(
            self,
            "Endpoint",
            endpoint_name=name,
            endpoint_config_name=self.configuration.attr_endpoint_config_name,
        )
        self.endpoint.cfn_options.condition = release.exists
        if isinstance(serving, Realtime):
            self.configuration.data_capture_config = _capture(serving, data.uri(capture_prefix), key)
            if not has_local_disk(serving.instance_type):
                self.configuration.kms_key_id = key.arn
            if serving.instances.min == 1:
                acknowledge(
                    self.configuration,
                    "SageMaker.4",
                    reason="model.yaml asks for one instance (instances.min): half the price, and no second zone.",
                    pack="SecurityHub",
                )
            self._add_guardrails(serving, alerts)
            self._add_scaling(serving)
        for output, value in (
            ("ReleaseId", release.id),
            ("EndpointName", self.endpoint.attr_endpoint_name),
            ("EndpointConfigName", self.configuration.attr_endpoint_config_name),
        ):
            cdk.CfnOutput(self, output, value=value, condition=release.exists).override_logical_id(output)

    def _add_guardrails(self, serving: Realtime, alerts: AlertTopic) -> None:
        rollback = RollbackAlarms(
            self,
            "Rollback",
            endpoint_name=self._name,
            variant=_VARIANT,
            configuration_name=self.configuration.attr_endpoint_config_name,
            release=self._release,
            thresholds=serving.alarms,
            alerts=alerts,
        )
        self.endpoint.deployment_config = _deployment(serving, rollback.alarms)
        # A release keeps the fleet size that scaling chose, and replaces the capture settings.
        self.endpoint.retain_all_variant_properties = True
        self.endpoint.exclude_retained_variant_properties = [
            _Endpoint.VariantPropertyProperty(variant_property_type=kind)
            for kind in ("DataCaptureConfig", "DesiredWeight")
        ]

    def _add_scaling(self, serving: Realtime) -> None:
        dimension = "sagemaker:variant:DesiredInstanceCount"
        target = scaling.CfnScalableTarget(
            self,
            "Fleet",
            service_namespace="sagemaker",
            scalable_dimension=dimension,
            resource_id=f"endpoint/{self._name}/variant/{_VARIANT}",
            min_capacity=serving.instances.min,
            max_capacity=serving.instances.max,
        )
        target.cfn_options.condition = self._release.exists
        target.add_resource_dependency(self.endpoint)
        policy = scaling.CfnScalingPolicy(
            self,
            "Invocations",
            policy_name=f"{self._name}-invocations",
            policy_type="TargetTrackingScaling",
            scaling_target_id=target.ref,
            target_tracking_scaling_policy_configuration=(
                scaling.CfnScalingPolicy.TargetTrackingScalingPolicyConfigurationProperty(
                    target_value=serving.invocations_per_instance,
                    predefined_metric_specification=scaling.CfnScalingPolicy.PredefinedMetricSpecificationProperty(
                        predefined_metric_type="SageMakerVariantInvocationsPerInstance"
                    ),
                    scale_out_cooldown=_SCALE_OUT_COOLDOWN_SECONDS,
                    scale_in_cooldown=_SCALE_IN_COOLDOWN_SECONDS,
                )
            ),
        )
        policy.cfn_options.condition = self._release.exists


def _variant(serving: Serving, model_name: str) -> _Config.ProductionVariantProperty:
    if isinstance(serving, Serverless):
        return _Config.ProductionVariantProperty(
            variant_name=_VARIANT,
            model_name=model_name,
            initial_variant_weight=1,
            serverless_config=_Config.ServerlessConfigProperty(
                memory_size_in_mb=serving.memory_mb, max_concurrency=serving.max_concurrency
            ),
        )
    return _Config.ProductionVariantProperty(
        variant_name=_VARIANT,
        model_name=model_name,
        initial_variant_weight=1,
        instance_type=serving.instance_type,
        initial_instance_count=serving.instances.min,
        container_startup_health_check_timeout_in_seconds=serving.startup_seconds,
    )


def _capture(serving: Realtime, destination: str, key: EncryptionKey) -> _Config.DataCaptureConfigProperty:
    return _Config.DataCaptureConfigProperty(
        enable_capture=serving.capture_percent > 0,
        initial_sampling_percentage=serving.capture_percent,
        destination_s3_uri=destination,
        kms_key_id=key.arn,
        capture_options=[_Config.CaptureOptionProperty(capture_mode=mode) for mode in ("Input", "Output")],
        # SageMaker captures other content types as Base64.
        capture_content_type_header=_Config.CaptureContentTypeHeaderProperty(
            csv_content_types=["text/csv"], json_content_types=["application/json"]
        ),
    )


def _deployment(serving: Realtime, alarms: Sequence[cloudwatch.CfnAlarm]) -> _Endpoint.DeploymentConfigProperty:
    bake_seconds = serving.deployment.bake_minutes * 60
    return _Endpoint.DeploymentConfigProperty(
        blue_green_update_policy=_Endpoint.BlueGreenUpdatePolicyProperty(
            traffic_routing_configuration=_routing(serving.deployment, bake_seconds),
            termination_wait_in_seconds=bake_seconds,
            maximum_execution_timeout_in_seconds=serving.execution_timeout_seconds,
        ),
        auto_rollback_configuration=_Endpoint.AutoRollbackConfigProperty(
            alarms=[_Endpoint.AlarmProperty(alarm_name=alarm.ref) for alarm in alarms]
        ),
    )


def _routing(deployment: Deployment, bake_seconds: int) -> _Endpoint.TrafficRoutingConfigProperty:
    match deployment:
        case Canary():
            return _Endpoint.TrafficRoutingConfigProperty(
                type="CANARY", wait_interval_in_seconds=bake_seconds, canary_size=_percent(deployment.canary_percent)
            )
        case Linear():
            return _Endpoint.TrafficRoutingConfigProperty(
                type="LINEAR", wait_interval_in_seconds=bake_seconds, linear_step_size=_percent(deployment.step_percent)
            )
        case AllAtOnce():
            # SageMaker requires the interval here too.
            return _Endpoint.TrafficRoutingConfigProperty(type="ALL_AT_ONCE", wait_interval_in_seconds=0)


def _percent(value: int) -> _Endpoint.CapacitySizeProperty:
    return _Endpoint.CapacitySizeProperty(type="CAPACITY_PERCENT", value=value)
