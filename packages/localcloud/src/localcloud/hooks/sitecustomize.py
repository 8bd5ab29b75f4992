"""Start-up hooks of every Python process of the local cloud that has this folder on its path.

A variable enables each hook, so other processes start unchanged.
"""

import os

if os.environ.get("LOCALCLOUD_CLOCK"):
    import virtual_clock

    virtual_clock.install(os.environ["LOCALCLOUD_CLOCK"])

if os.environ.get("LOCALCLOUD_OPT_ML"):
    import opt_ml_paths

    opt_ml_paths.install()

if os.environ.get("LOCALCLOUD_HOSTS"):
    import hard_coded_hosts

    hard_coded_hosts.install()
