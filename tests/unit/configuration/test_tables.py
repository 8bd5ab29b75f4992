"""What the configuration knows about SageMaker agrees with what SageMaker's own tools say."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from pydantic import TypeAdapter, ValidationError

from configuration.images import image_uri
from configuration.instances import (
    ProcessingInstanceType,
    ServingInstanceType,
    TrainingInstanceType,
    has_local_disk,
)
from configuration.model import PIPELINE_PARAMETERS


def test_image_addresses_are_those_of_the_sagemaker_sdk() -> None:
    from sagemaker.core import image_uris

    for region in ("us-east-1", "eu-central-1", "ap-southeast-4", "cn-north-1", "us-gov-west-1"):
        expected = image_uris.retrieve("xgboost", region, version="3.2-0", image_scope="training")
        assert image_uri("xgboost", "3.2-0", region) == expected


def test_a_region_without_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="such as us-east-1"):
        image_uri("xgboost", "3.2-0", "us-iso-east-1")


@pytest.mark.parametrize(
    ("use", "shape"),
    [
        (TrainingInstanceType, "TrainingInstanceType"),
        (ProcessingInstanceType, "ProcessingInstanceType"),
        (ServingInstanceType, "ProductionVariantInstanceType"),
    ],
)
def test_exactly_the_types_that_sagemaker_offers_for_a_use_pass(use: Any, shape: str) -> None:
    """Each use has an enum of its own in SageMaker's API; the rest are told why they are refused."""
    model = boto3.client("sagemaker", region_name="us-east-1").meta.service_model
    listed = {
        name: set(model.shape_for(name).metadata["enum"])
        for name in ("TrainingInstanceType", "ProcessingInstanceType", "ProductionVariantInstanceType")
    }
    adapter = TypeAdapter(use)
    for instance_type in set().union(*listed.values()) | {"ml.m5.3xlarge", "m5.large", ""}:
        try:
            adapter.validate_python(instance_type)
            assert instance_type in listed[shape]
        except ValidationError as error:
            assert instance_type not in listed[shape] or "Graviton" in str(error), instance_type


@pytest.mark.parametrize(
    ("instance_type", "expected"),
    [("ml.m5.xlarge", False), ("ml.c6i.large", False), ("ml.inf2.xlarge", False), ("ml.m5d.large", True),
     ("ml.g4dn.xlarge", True), ("ml.g5.xlarge", True), ("ml.p4d.24xlarge", True), ("ml.p3.2xlarge", False)],
)  # fmt: skip
def test_instance_types_with_local_disks_are_known(instance_type: str, expected: bool) -> None:
    assert has_local_disk(instance_type) is expected


def test_no_hyperparameter_can_hide_a_parameter_that_the_stack_sets() -> None:
    from pipelines import DEPLOY_TIME_PARAMETERS

    assert set(DEPLOY_TIME_PARAMETERS) <= PIPELINE_PARAMETERS
