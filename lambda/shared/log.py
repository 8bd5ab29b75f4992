"""The functions' structured logger."""

from __future__ import annotations

from aws_lambda_powertools import Logger

logger = Logger()
