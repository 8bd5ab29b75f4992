"""Run a training script by the toolkit: install it as a module, then call it with its hyperparameters."""

from sagemaker_containers.beta import framework


def main() -> None:
    """Run the script that the hyperparameters name."""
    env = framework.training_env()
    framework.modules.run_module(
        env.module_dir, env.to_cmd_args(), env.to_env_vars(), env.module_name, capture_error=False
    )
