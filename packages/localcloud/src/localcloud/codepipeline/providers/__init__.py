"""Implementations of actions, by provider."""

from localcloud.codepipeline.providers.approval import approval
from localcloud.codepipeline.providers.build import build
from localcloud.codepipeline.providers.deploy import deploy
from localcloud.codepipeline.providers.function import function
from localcloud.codepipeline.providers.source import code_commit, connection

__all__ = ["approval", "build", "code_commit", "connection", "deploy", "function"]
