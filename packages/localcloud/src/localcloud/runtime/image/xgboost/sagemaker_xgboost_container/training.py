"""`train`: the user's script by the toolkit, or the built-in algorithm where the request names no script."""

from __future__ import annotations

import logging
import sys

from sagemaker_containers import _env
from sagemaker_containers.beta import framework

log = logging.getLogger(__name__)


def main() -> None:
    """Train in the container."""
    env = framework.training_env()
    if env.user_entry_point is not None:
        log.info("Invoking user training script.")
        framework.modules.run_module(
            env.module_dir, env.to_cmd_args(), env.to_env_vars(), env.module_name, capture_error=False
        )
    else:
        log.info("Running XGBoost Sagemaker in algorithm mode")
        _env.write_env_vars(env.to_env_vars())
        from sagemaker_xgboost_container.algorithm import train

        train()
    sys.exit(0)
