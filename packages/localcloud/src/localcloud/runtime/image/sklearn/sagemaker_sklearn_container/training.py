"""`train`: the user's script, by the toolkit."""

from __future__ import annotations

import logging

from sagemaker_training import entry_point, environment, runner

log = logging.getLogger(__name__)


def main() -> None:
    """Train in the container."""
    env = environment.Environment()
    log.info("Invoking user training script.")
    entry_point.run(
        uri=env.module_dir,
        user_entry_point=env.user_entry_point,
        args=env.to_cmd_args(),
        env_vars=env.to_env_vars(),
        runner_type=runner.ProcessRunnerType,
    )
