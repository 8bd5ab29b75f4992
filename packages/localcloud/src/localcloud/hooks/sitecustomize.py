"""Run by Python at its start in every process of the local cloud that has this folder on its path.

Each hook is asked for by a variable that the gateway sets, so a process that needs none starts as it would without.
"""

import os

if os.environ.get("LOCALCLOUD_CLOCK"):
    import virtual_clock

    virtual_clock.install(os.environ["LOCALCLOUD_CLOCK"])

if os.environ.get("LOCALCLOUD_OPT_ML"):
    import opt_ml_paths

    opt_ml_paths.install()
