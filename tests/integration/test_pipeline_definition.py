"""The application's compiled pipelines pass the local cloud's parser."""

from configuration import Configuration
from localcloud.sagemaker.pipelines.definition import parse
from pipelines import compile_pipeline


def test_the_projects_own_pipeline_written_with_the_sdk_is_accepted(configuration: Configuration) -> None:
    for model in configuration.models:
        definition = parse(compile_pipeline(model))
        assert definition.steps["Gate"].type.name == "Condition"
        assert definition.steps["Register"].branch == ("Gate", True)
        assert definition.steps["Refused"].branch == ("Gate", False)
        assert {"Evaluate"} <= definition.steps["Gate"].needs
