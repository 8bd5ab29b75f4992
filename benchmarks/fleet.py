"""The release controller with many models, in virtual time: a quiet tick, and a burst of events.

    python benchmarks/fleet.py [--models 1000]

The real controller runs for each model on the simulated AWS of its tests, and its calls are recorded. A discrete event
simulation then plays the messages of the model queue with AWS's limits: ten messages at once, one of a model at a time,
a latency for each call (DynamoDB, S3, Systems Manager and SNS 30 ms, SageMaker and CloudWatch 55 ms, CloudFormation
80 ms), and ten requests a second for each operation of SageMaker and CloudFormation. A call above the rate waits, as a
client that retries does. It measures:

- a tick of all models, all of them live and quiet: seconds until the last message is handled;
- a delivery's burst: 50 models, 300 events in 20 minutes with two ticks in them: messages that were not handled before
  the next tick of 15 minutes.

It does not measure the retrain controller, nor the training requests of a first delivery.

Ends with one line of JSON: {"models": …, "tick_s": …, "calls_per_model": …, "burst_failed": …, "burst_last_s": …}.
"""

from __future__ import annotations

import argparse
import heapq
import importlib.util
import json
import os
import random
import sys
from collections import defaultdict, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
if __package__ in {None, ""}:  # run as a file: beside this one lies another `release` than the controller's
    os.chdir(ROOT)
    path = {**os.environ, "PYTHONPATH": "lambda"}
    os.execve(sys.executable, [sys.executable, "-m", "benchmarks.fleet", *sys.argv[1:]], path)

# constructs/mlops/foundation/model_queue.py
CONCURRENCY = 10
RATE = 10
TICK_SECONDS = 15 * 60
LATENCY = {"sagemaker": 0.055, "cloudwatch": 0.055, "cloudformation": 0.080}
OTHER_LATENCY = 0.030
# A call of EventBridge to the function, and of the function to the queue.
DISPATCH_SECONDS = 0.2


def simulated_aws() -> Any:
    """Load the simulated AWS of the unit tests, whose package is on no path."""
    path = ROOT / "tests" / "unit" / "handlers" / "simulated_aws.py"
    spec = importlib.util.spec_from_file_location("simulated_aws", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["simulated_aws"] = module
    spec.loader.exec_module(module)
    return module


def calls_of_a_quiet_look() -> list[tuple[str, str]]:
    """Return service and operation of each call that one look at a live, quiet model makes."""
    aws = simulated_aws()
    from release.controller import reconcile_releases
    from shared.environment import ReleaseEnvironment

    cloud = aws.Cloud()
    environment = ReleaseEnvironment(
        "evergreen", "staging", "ledger", "bucket", "topic", "role", aws.REGISTRY, "verify"
    )
    made: list[tuple[str, str]] = []

    class Recorded:
        def __init__(self, name: str, client: Any) -> None:
            self._name, self._client = name, client

        def __getattr__(self, operation: str) -> Any:
            made.append((self._name, operation))
            return getattr(self._client, operation)

    def look() -> None:
        clients = cloud.clients()
        for name in aws.SERVICES:
            setattr(clients, name, Recorded(name, getattr(clients, name)))
        reconcile_releases({}, clients, environment, invocation="i", models=["churn"], now=lambda: cloud.now)

    with aws.without_copying():
        cloud.packages[1] = aws.Version("Approved", cloud.now)
        look()
        cloud.finish("success")
        look()
        made.clear()
        look()
    return made


@dataclass
class Fleet:
    """The queue, its workers and AWS's rates, in virtual time."""

    calls: list[tuple[str, str]]
    free_at: dict[tuple[str, str], float] = field(default_factory=lambda: defaultdict(float))

    def play(self, messages: list[tuple[float, str]]) -> list[tuple[float, float]]:
        """Handle messages, each a time and a model.

        Returns:
            When each message was sent and when it was handled.
        """
        waiting: dict[str, deque[float]] = defaultdict(deque)
        ready: deque[str] = deque()
        busy: set[str] = set()
        done: list[tuple[float, float]] = []
        # Time, order, kind ("sent" or "call"), model, index of the call, when it was sent.
        events: list[tuple[float, int, str, str, int, float]] = []
        for order, (at, model) in enumerate(messages):
            heapq.heappush(events, (at + DISPATCH_SECONDS, order, "sent", model, 0, at))
        order, working = len(messages), 0
        while events:
            now, _, kind, model, index, sent = heapq.heappop(events)
            if kind == "sent":
                waiting[model].append(sent)
                ready.append(model)
            elif index < len(self.calls):
                order += 1
                heapq.heappush(events, (self._after(now, self.calls[index]), order, "call", model, index + 1, sent))
            else:
                done.append((sent, now))
                busy.discard(model)
                working -= 1
            for _ in range(len(ready)):
                if working == CONCURRENCY:
                    break
                chosen = ready.popleft()
                if chosen in busy:
                    ready.append(chosen)
                    continue
                busy.add(chosen)
                working += 1
                order += 1
                heapq.heappush(events, (now, order, "call", chosen, 0, waiting[chosen].popleft()))
        return done

    def _after(self, now: float, call: tuple[str, str]) -> float:
        """Return when a call is answered, after a wait for the operation's rate."""
        service, _ = call
        start = now
        if service in {"sagemaker", "cloudformation"}:
            start = max(now, self.free_at[call])
            self.free_at[call] = start + 1 / RATE
        return start + LATENCY.get(service, OTHER_LATENCY)


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=1000)
    models = parser.parse_args().models
    calls = calls_of_a_quiet_look()
    tick = Fleet(calls).play([(0.0, f"m{n}") for n in range(models)])
    choose = random.Random(7)
    burst = [(choose.uniform(0, 1200), f"m{n % 50}") for n in range(300)]
    burst += [(at, f"m{n}") for at in (300.0, 1200.0) for n in range(50)]
    handled = Fleet(calls).play(sorted(burst))
    late = [done - sent for sent, done in handled]
    result = {
        "models": models,
        "tick_s": round(max(done for _, done in tick), 1),
        "calls_per_model": len(calls),
        "burst_failed": len(burst) - sum(wait <= TICK_SECONDS for wait in late),
        "burst_last_s": round(max(late), 1),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
