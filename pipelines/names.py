"""Names that the pipeline and those who deploy it share; importing them costs nothing."""

DEPLOY_TIME_PARAMETERS = (
    "ImageUri",
    "ModelPackageGroupName",
    "DataBucket",
    "ArtifactBucket",
    "KmsKeyArn",
    "JobRoleArn",
    "ToolRoleArn",
    "ReleaseParameter",
    "CodeUri",
    "SnapshotScriptUri",
    "RecordScriptUri",
)
"""Pipeline parameters whose defaults are `${Name}`, for the stack to substitute."""

NO_CHAMPION = "none"
