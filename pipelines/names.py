"""Names that the pipeline and the stacks share; this module imports nothing."""

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
    "AnalyzerUri",
    "BaselineSettingsUri",
)
"""Pipeline parameters whose defaults are `${Name}`, for the stack to substitute."""

NO_CHAMPION = "none"

UNKNOWN_AUTHOR = "none"
"""`Author` of a run without a commit; a job's environment cannot hold an empty value."""

SHARED_CACHE = "shared"
"""`CacheScope` of runs that may reuse each other's steps. A run that drift started has its own."""

BASELINES = {
    "data_quality": ("data-quality/statistics.json", "data-quality/constraints.json"),
    "model_quality": ("model-quality/statistics.json", "model-quality/constraints.json"),
    "bias": ("bias/analysis.json",),
    "explainability": ("explainability/analysis.json",),
}
"""The files of each kind's baseline, below the baseline step's output."""
