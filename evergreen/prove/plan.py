"""Describe a proof before it begins: steps, cost, time. Prices: docs/reference/cost.md."""

from __future__ import annotations

from collections.abc import Iterator

PRICED = "September 2026"
M5_LARGE_HOUR, M5_XLARGE_HOUR, KEY_MONTH = 0.115, 0.23, 1.00
_JOB_HOURS = 4 / 60
_MONITOR_HOURS = 10 / 60
_FLEET = 2
HOURS = 2.5
"""Duration of a proof in an account: four times the 25 minutes of a run and its release, deployment and deletion."""
_RUNS, _JOBS, _DEPLOYMENTS = 3, 6, 3
_DEPLOYMENT_HOURS = 0.5


def costs() -> list[tuple[str, str, float]]:
    """Return the parts of the cost in $: what, arithmetic, amount."""
    fleet = _FLEET * M5_LARGE_HOUR
    return [
        (
            "trainings",
            f"({_RUNS} whole runs × {_JOBS} jobs + 1 job of a run that is stopped) × 4/60 h × {M5_XLARGE_HOUR}",
            (_RUNS * _JOBS + 1) * _JOB_HOURS * M5_XLARGE_HOUR,
        ),
        ("endpoint", f"{_FLEET} × {M5_LARGE_HOUR} × {HOURS} h", fleet * HOURS),
        (
            "second fleets",
            f"{_DEPLOYMENTS} deployments × {_FLEET} × {M5_LARGE_HOUR} × {_DEPLOYMENT_HOURS} h",
            _DEPLOYMENTS * fleet * _DEPLOYMENT_HOURS,
        ),
        ("monitors", f"2 jobs × 10/60 h × {M5_XLARGE_HOUR}", 2 * _MONITOR_HOURS * M5_XLARGE_HOUR),
        ("key, metrics, logs, storage", f"at most a month of one key, {KEY_MONTH:.2f}", KEY_MONTH),
    ]


def hourly() -> float:
    """Return what an interrupted proof costs an hour while its endpoint stands, $."""
    return _FLEET * M5_LARGE_HOUR


def lines(name: str, who: str, account: str, region: str) -> Iterator[str]:
    """Yield what is said before a proof begins."""
    yield f"This proves Evergreen in account {account}, region {region}, as {who}."
    yield ""
    yield f"It deploys the example model as the application {name}, trains three versions, releases them behind"
    yield "a canary, has a bad one rolled back, rejects one, lets drift start a training, and deletes all it made."
    yield "It reads and changes nothing of another name, and uses CDK's bootstrap as it is."
    yield ""
    yield f"Cost, by the list prices of us-east-1 of {PRICED} (docs/reference/cost.md):"
    for what, arithmetic, amount in costs():
        yield f"  {what:<28} {arithmetic:<72} {amount:5.2f} $"
    yield f"  {'sum':<28} {'':<72} {sum(amount for _, _, amount in costs()):5.2f} $"
    yield f"An interrupted proof costs {hourly():.2f} $ an hour until the same command continues, or --clean."
    yield f"Time: about {HOURS:g} hours in an account. You may interrupt it."
