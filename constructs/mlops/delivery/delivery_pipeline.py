"""The delivery pipeline: source, test and synth, self-update, then each stage under leases, then trainings."""

from __future__ import annotations

from collections.abc import Sequence

import aws_cdk as cdk
from aws_cdk import aws_codebuild as codebuild
from aws_cdk import aws_codecommit as codecommit
from aws_cdk import aws_codepipeline as codepipeline
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import pipelines
from constructs import Construct

from configuration import Application, Delivery, Paths, Stage
from constructs.mlops.delivery.delivery_role import build_role_name, delivery_role_name
from constructs.mlops.delivery.delivery_store import DeliveryStore
from constructs.mlops.foundation.alerts import AlertTopic, DeadLetterQueue
from constructs.mlops.foundation.permissions import Permissions, acknowledge_wildcards, arn, qualifier_of

_IMAGE = codebuild.LinuxBuildImage.STANDARD_7_0
_RUNTIMES = {"python": "3.11", "nodejs": "22"}
# The asset publisher has releases of its own, apart from the CDK CLI.
_CDK_ASSETS = "4.7.3"
# That newest version reads manifests up to schema 54. aws-cdk-lib writes 55, which differs for images only.
_DOWNGRADE_MANIFESTS = (
    """find . -name '*.assets.json' -exec sed -i 's/"version": "55\\.[0-9.]*"/"version": "54.0.0"/' {} +"""
)
_SOURCE = "Source"
_REPORTS = ".cache/reports"
_TOOLS = ".cache/delivery"
# The download caches of uv, pip and npm in CodeBuild's images.
_CACHED = ["/root/.cache/uv/**/*", "/root/.cache/pip/**/*", "/root/.npm/**/*"]
_OWN_STORE = "CDK grants the pipeline its own store and key; CodePipeline and CodeBuild generate the object keys."
_WRITTEN_BY_CDK = (
    (r"^Action::(s3|kms):", _OWN_STORE),
    (r"^Resource::<[A-Za-z0-9]+\.Arn>/\*$", _OWN_STORE),
    (
        r":log-group:/aws/codebuild/",
        "CodeBuild generates the names of log streams, and CDK Pipelines those of the projects.",
    ),
    (r":report-group/", "CodeBuild names reports after the project, and CDK Pipelines generates the project's name."),
    (
        r"^Resource::arn:\*:iam::.*:role/\*$",
        "A condition restricts the roles to those that CDK's bootstrap tagged for deployments.",
    ),
    (r"^Resource::\*$", "CDK's own steps find stacks and buckets and follow builds, whose names are generated."),
)


class DeliveryPipeline(Construct):
    """A V2 pipeline in QUEUED mode, so that each push is delivered completely and none is dropped.

    It updates itself first. Call `add` for each stage in order, then `finish`.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        application: Application,
        delivery: Delivery,
        cli_version: str,
        store: DeliveryStore,
        alerts: AlertTopic,
        undelivered: DeadLetterQueue,
    ) -> None:
        super().__init__(scope, construct_id)
        self._application, self._delivery, self._alerts = application, delivery, alerts
        self._undelivered = undelivered
        self.name = f"{application.name}-delivery"
        self.repository = self._own_repository()
        self._source = self._code()
        self._reports = codebuild.ReportGroup(
            self, "Tests", type=codebuild.ReportGroupType.TEST, removal_policy=cdk.RemovalPolicy.DESTROY
        )
        self._role = self._steps_role()
        self._pipeline = pipelines.CodePipeline(
            self,
            "Pipeline",
            pipeline_name=self.name,
            pipeline_type=codepipeline.PipelineType.V2,
            execution_mode=codepipeline.ExecutionMode.QUEUED,
            artifact_bucket=store.bucket,
            cross_account_keys=True,
            enable_key_rotation=True,
            cli_version=cli_version,
            cdk_assets_cli_version=_CDK_ASSETS,
            asset_publishing_code_build_defaults=pipelines.CodeBuildOptions(
                partial_build_spec=codebuild.BuildSpec.from_object(
                    {"phases": {"pre_build": {"commands": [_DOWNGRADE_MANIFESTS]}}}
                )
            ),
            # One project and one role publish all assets, instead of one of each per asset.
            publish_assets_in_parallel=False,
            # The actions work with CDK's bootstrap roles, which the pipeline's role assumes.
            use_pipeline_role_for_actions=True,
            code_build_defaults=pipelines.CodeBuildOptions(
                build_environment=codebuild.BuildEnvironment(
                    build_image=_IMAGE, compute_type=codebuild.ComputeType.SMALL, privileged=False
                ),
                partial_build_spec=_runtimes(),
                timeout=cdk.Duration.hours(1),
            ),
            synth=self._synth(store),
        )

    def add(self, stage: Stage, content: cdk.Stage) -> None:
        """Add the deployment of a stage's stacks: after an approval where one is required, under its models' leases."""
        take, give = (self._lease(stage, verb) for verb in ("take", "give"))
        before: list[pipelines.Step] = [take]
        if stage.approve_infrastructure:
            approval = pipelines.ManualApprovalStep(
                f"{stage.name}-approve",
                comment=f"Deploys this commit to the stacks of {stage.name}",
                notification_topic=self._alerts.topic,
            )
            # A lease must not be held while an approval is pending.
            take.add_step_dependency(approval)
            before = [approval, take]
        after: list[pipelines.Step] = [give]
        if stage is self._application.stage:
            train = self._train(stage)
            train.add_step_dependency(give)
            after.append(train)
        self._pipeline.add_stage(content, pre=before, post=after)

    def finish(self) -> None:
        """Define the pipeline's resources; afterwards no stage can be added."""
        self._pipeline.build_pipeline()
        source = self._delivery.source
        if source.connection_arn is not None:
            resource = self._pipeline.pipeline.node.default_child
            if not isinstance(resource, codepipeline.CfnPipeline):
                raise TypeError(f"a pipeline's default child is a CfnPipeline, got {type(resource).__name__}")
            resource.triggers = [_trigger(source.branch, self._delivery.paths)]
            # CDK allows the service's old name only; AWS authorises by the name in the connection's ARN.
            self._pipeline.pipeline.add_to_role_policy(
                iam.PolicyStatement(actions=["codeconnections:UseConnection"], resources=[source.connection_arn])
            )
        for construct in self.node.find_all():
            if isinstance(construct, iam.Policy):
                acknowledge_wildcards(construct, _WRITTEN_BY_CDK)
            # CDK's rule starts the pipeline at a push to the repository.
            if isinstance(construct, events.CfnRule):
                self._undelivered.take_undelivered(construct)

    def _own_repository(self) -> codecommit.Repository | None:
        name = self._delivery.source.codecommit
        if name is None:
            return None
        repository = codecommit.Repository(
            self, "Repository", repository_name=name, description=f"The code of {self._application.name}"
        )
        repository.apply_removal_policy(cdk.RemovalPolicy.RETAIN)
        return repository

    def _code(self) -> pipelines.CodePipelineSource:
        source = self._delivery.source
        if self.repository:
            return pipelines.CodePipelineSource.code_commit(self.repository, source.branch, action_name=_SOURCE)
        if source.repository is None or source.connection_arn is None:
            raise ValueError(f"a source needs connection_arn and repository, or codecommit; got {source}")
        return pipelines.CodePipelineSource.connection(
            source.repository,
            source.branch,
            connection_arn=source.connection_arn,
            action_name=_SOURCE,
            # The pipeline's own trigger filters by branch and path.
            trigger_on_push=False,
        )

    def _synth(self, store: DeliveryStore) -> pipelines.CodeBuildStep:
        report = f"{_REPORTS}/tests.xml"
        return pipelines.CodeBuildStep(
            "Synth",
            input=self._source,
            commands=[
                # Exported, so that every part of a compound command reads it.
                f'export ARGS="--junitxml={report}"',
                self._delivery.test,
                'export ARGS="--context delivery=true"',
                self._delivery.synth,
            ],
            primary_output_directory="cdk.out",
            build_environment=codebuild.BuildEnvironment(compute_type=codebuild.ComputeType.MEDIUM),
            cache=codebuild.Cache.bucket(store.bucket, prefix="dependencies"),
            partial_build_spec=codebuild.BuildSpec.from_object(
                {
                    "reports": {
                        self._reports.report_group_arn: {"files": [report], "file-format": "JUNITXML"},
                    },
                    "cache": {"paths": _CACHED},
                }
            ),
            role_policy_statements=[
                iam.PolicyStatement(
                    actions=["codebuild:CreateReport", "codebuild:UpdateReport", "codebuild:BatchPutTestCases"],
                    resources=[self._reports.report_group_arn],
                )
            ],
        )

    def _steps_role(self) -> iam.Role:
        """Define the role of the lease and train steps: it assumes the stages' delivery roles and reads commits."""
        app = self._application.name
        roles, lookups = [], []
        for stage in self._application.stages:
            account, region = stage.account or cdk.Stack.of(self).account, stage.region
            lookup = f"role/cdk-{qualifier_of(self)}-lookup-role-{account}-{region}"
            roles.append(arn(self, "iam", f"role/{delivery_role_name(app, stage.name)}", region=False, account=account))
            lookups.append(arn(self, "iam", lookup, region=False, account=account))
        permissions = Permissions()
        # CDK's lookup role is for the first delivery, when the stage's own role does not exist yet.
        permissions.allow(["sts:AssumeRole"], on=[*roles, *sorted(set(lookups))])
        if self.repository:
            permissions.allow(["codecommit:GetCommit"], on=[self.repository.repository_arn])
        return permissions.named_role(
            self,
            "StepsRole",
            name=build_role_name(app),
            principal=iam.ServicePrincipal("codebuild.amazonaws.com"),
            description=f"Lets the delivery pipeline of {app} take leases and request trainings",
        )

    def _lease(self, stage: Stage, verb: str) -> pipelines.CodeBuildStep:
        owner = '"codepipeline/$EXECUTION"'
        return self._step(f"{stage.name}-lease-{verb}", f"lease {verb} --stage {stage.name} --owner {owner}", {})

    def _train(self, stage: Stage) -> pipelines.CodeBuildStep:
        commit = {"COMMIT": self._source.source_attribute("CommitId")}
        if self.repository:
            author = f"--repository {self._delivery.source.codecommit}"
        else:
            commit["AUTHOR"] = self._source.source_attribute("AuthorEmail")
            author = '--author "$AUTHOR"'
        return self._step(f"{stage.name}-train", f'train --commit "$COMMIT" {author}', commit)

    def _step(self, step_id: str, arguments: str, variables: dict[str, str]) -> pipelines.CodeBuildStep:
        """Define a step that runs one `evergreen delivery` command, in a small environment of its own."""
        return pipelines.CodeBuildStep(
            step_id,
            input=self._source,
            commands=[f"make {_TOOLS}/.ready", f"{_TOOLS}/bin/python -m evergreen delivery {arguments} --target aws"],
            env={"EXECUTION": "#{codepipeline.PipelineExecutionId}", **variables},
            role=self._role,
            timeout=cdk.Duration.hours(3),
        )


def _runtimes() -> codebuild.BuildSpec:
    return codebuild.BuildSpec.from_object({"phases": {"install": {"runtime-versions": _RUNTIMES}}})


def _trigger(branch: str, paths: Paths) -> codepipeline.CfnPipeline.PipelineTriggerDeclarationProperty:
    declaration = codepipeline.CfnPipeline
    return declaration.PipelineTriggerDeclarationProperty(
        provider_type="CodeStarSourceConnection",
        git_configuration=declaration.GitConfigurationProperty(
            source_action_name=_SOURCE,
            push=[
                declaration.GitPushFilterProperty(
                    branches=declaration.GitBranchFilterCriteriaProperty(includes=[branch]),
                    file_paths=_file_paths(paths),
                )
            ],
        ),
    )


def _file_paths(paths: Paths) -> codepipeline.CfnPipeline.GitFilePathFilterCriteriaProperty | None:
    def given(patterns: Sequence[str]) -> list[str] | None:
        return list(patterns) or None

    if not (paths.include or paths.exclude):
        return None
    return codepipeline.CfnPipeline.GitFilePathFilterCriteriaProperty(
        includes=given(paths.include), excludes=given(paths.exclude)
    )
