"""Ask the account that the credentials are of; 1 where something must be changed."""

from __future__ import annotations

import sys
from pathlib import Path

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from configuration import ConfigurationError, load
from evergreen.preflight.checks import answers


def main() -> int:
    """Print an answer a line; 2 stands for mistakes in the configuration or credentials that are refused."""
    try:
        configuration = load(Path(__file__).parents[2])
        session = boto3.Session(region_name=configuration.application.stage.region)
        good = True
        for answer in answers(session, configuration.application, configuration.models):
            sys.stdout.write(f"{answer}\n")
            good = good and answer.good
    except (ConfigurationError, BotoCoreError, ClientError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
