"""The demo: ten months of real flights through the whole loop on the local cloud.

It uses AWS's APIs, the CDK CLI and the commands of the local cloud, as a user would.
"""

from enum import StrEnum

from evergreen.names import Names

MODEL = Names(app="evergreen", name="flight-delays", stage="prod")
"""The model of the demo."""
CONFIGURATION = "evergreen/demo/evergreen.yaml"
"""The application of the demo, in place of the user's `evergreen.yaml`."""
MODELS = "examples/flight_delays"
"""The models of the demo, in place of the user's `models/`."""


class Engine(StrEnum):
    """The engine that runs the demo's scheduled monitors."""

    BUILTIN = "builtin"
    MODEL_MONITOR = "model-monitor"
