"""CodeBuild: projects, and builds that run as supervised subprocesses in a clean checkout."""

from localcloud.codebuild.cfn import CFN_TYPES
from localcloud.codebuild.service import CodeBuild

__all__ = ["CFN_TYPES", "CodeBuild"]
