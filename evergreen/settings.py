"""Which application and which models a command is about."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from evergreen import ROOT

if TYPE_CHECKING:
    from configuration import Application, Configuration

CONFIG_VARIABLE, MODELS_VARIABLE = "EVERGREEN_CONFIG", "EVERGREEN_MODELS"
CONFIG, MODELS = "evergreen.yaml", "models"


def read_configuration() -> Configuration:
    """Read the application's file and the `model.yaml` of every model.

    Raises:
        ConfigurationError: With every mistake of all files.
    """
    from configuration import load

    return load(ROOT, os.environ.get(CONFIG_VARIABLE, CONFIG), os.environ.get(MODELS_VARIABLE, MODELS))


def read_application() -> Application:
    """Read the application's file only.

    Raises:
        ConfigurationError: With every mistake of the file.
    """
    from configuration import load_application

    return load_application(ROOT, os.environ.get(CONFIG_VARIABLE, CONFIG))
