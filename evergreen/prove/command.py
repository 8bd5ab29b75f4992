"""`evergreen prove`: the options, the question before it begins, and what is said at its end."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evergreen import ROOT
from evergreen.demo import Engine
from evergreen.errors import UsageError
from evergreen.options import STATE, PortOption, StateOption, Target, TargetOption
from evergreen.output import say
from evergreen.target import Place

if TYPE_CHECKING:
    from evergreen.prove.state import State, Store
    from evergreen.target import Identity

_INTERRUPTED = 130
_LOCAL_REGION = "us-east-1"
_ORPHAN_MINUTES = 150
# The value of `model_monitor` in evergreen.yaml.
_MODEL_MONITOR = {Engine.BUILTIN: "closed", Engine.MODEL_MONITOR: "available"}


def prove(
    yes: Annotated[bool, typer.Option("--yes", help="Begin without asking.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Delete nothing at the end or after a failure.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Only delete what an earlier proof left.")] = False,
    name: Annotated[
        str | None,
        typer.Option(help="With --clean: the proof's name, such as prove1a2b3c4d (default: the unfinished one)."),
    ] = None,
    engine: Annotated[
        Engine | None,
        typer.Option(help="What runs the scheduled monitors (default: Model Monitor where the account uses it)."),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Region in AWS (default: that of your credentials' profile).")
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Folder of the proofs' states and reports.", show_default=".prove", resolve_path=True)
    ] = ROOT / ".prove",
    target: TargetOption = Target.LOCAL,
    port: PortOption = None,
    state: StateOption = STATE,
) -> None:
    """Prove the whole loop in an account, and delete everything again.

    It deploys the example model under a name of its own, trains, approves, releases, monitors, rolls back, rejects and
    retrains it, and writes a table of what AWS answered. The same command continues an interrupted proof.
    """
    if name and not clean:
        raise UsageError("--name names what --clean deletes; a new proof names itself.")
    if keep and clean:
        raise UsageError("--keep deletes nothing and --clean deletes: leave out one of the two.")
    place = Place(target, port, state)
    try:
        where = _region(place, region)
        failed = _prove(place, where, folder, yes=yes, keep=keep, clean=clean, name=name, engine=engine)
    except KeyboardInterrupt:
        again = f"make prove TARGET={target}" if target is Target.AWS else "the same command"
        say(f"\nInterrupted. {again} continues, `evergreen prove --clean --target {target}` deletes what is there.")
        raise typer.Exit(_INTERRUPTED) from None
    if failed:
        raise typer.Exit(1)


def _region(place: Place, given: str | None) -> str:
    """Return the region to act in.

    Raises:
        UsageError: Nothing says which.
    """
    if place.target is Target.LOCAL:
        return _LOCAL_REGION
    import boto3

    from configuration.images import image_uri

    found = given or boto3.Session().region_name
    if not found:
        raise UsageError("No region: name it with --region, in AWS_REGION, or in your profile.")
    try:
        image_uri("xgboost", "3.2-0", found)
    except ValueError as error:
        raise UsageError(f"Region {found}: should be {error}") from None
    return found


def _prove(
    place: Place,
    region: str,
    folder: Path,
    *,
    yes: bool,
    keep: bool,
    clean: bool,
    name: str | None,
    engine: Engine | None,
) -> bool:
    """Run or continue a proof. Say whether an assumption did not hold, or nothing could be said of all of them."""
    from botocore.exceptions import BotoCoreError, ClientError

    from evergreen.prove import plan, report
    from evergreen.prove.proof import Proof
    from evergreen.prove.run import PausedError, run
    from evergreen.prove.run import clean as clean_up
    from evergreen.prove.state import Lock, Store
    from evergreen.prove.waiting import Waits
    from evergreen.target import identity

    session = place.session(region)
    try:
        who = identity(session)
    except (BotoCoreError, ClientError) as error:
        raise UsageError(f"The credentials do not work: {error}") from error
    store, waits = Store(folder), Waits(say)
    lock = Lock(folder)
    waits.until("the CDK CLI of an interrupted proof to end", lambda: lock.take() or None, minutes=_ORPHAN_MINUTES)
    found = _state(store, who, clean=clean, name=name)
    if found is None:
        say("There is no unfinished proof in this account and region: nothing to delete.")
        return False
    begins = not store.folder(found).exists()
    if begins and engine:
        found.facts["asked"] = _MODEL_MONITOR[engine]
    if begins or clean:
        if not clean:
            for line in plan.lines(found.name, who.arn, who.account, who.region):
                say(line)
        if not _agreed(f"Delete everything of {found.name}?" if clean else "Begin?", yes=yes):
            say("Nothing was done.")
            return True
    else:
        say(f"Continuing {found.name}, begun {found.began}: {len(found.done)} steps are done.")
    store.save(found)
    proof = Proof(session, store, found, lock, waits)
    try:
        clean_up(proof) if clean else run(proof, keep=keep)
    except PausedError as error:
        raise PausedError(
            f"{error} The same command continues; until then it costs {plan.hourly():.2f} $ an hour."
        ) from error
    finally:
        if found.rows:
            say(f"Report: {report.write(store.folder(found), found)}")
    counts = Counter(row["verdict"] for row in report.content(found)["rows"])
    say(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    if keep:
        say(f"{found.name} is kept. The same command without --keep deletes it.")
    return not clean and bool(counts["did not hold"])


def _state(store: Store, who: Identity, *, clean: bool, name: str | None) -> State | None:
    """Return the proof to continue, a new one, or with `clean` None where there is none."""
    import re

    from evergreen.prove.state import State

    now = datetime.now(UTC)
    if name is not None:
        if not re.fullmatch(r"prove[0-9a-f]{8}", name):
            raise UsageError(f"--name {name}: a proof's name is prove and eight hexadecimal digits.")
        known = store.named(name)
        if known is not None and (known.account, known.region) != (who.account, who.region):
            raise UsageError(
                f"{name} is in account {known.account}, region {known.region}; use credentials of that one."
            )
        return known or State(name, who.account, who.region, now.isoformat(timespec="seconds"))
    unfinished = store.unfinished(who.account, who.region)
    if unfinished is not None or clean:
        return unfinished
    return store.begin(who.account, who.region, now)


def _agreed(question: str, *, yes: bool) -> bool:
    """Ask a person. Without a terminal nobody agrees."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody can answer here: add --yes.")
    return typer.confirm(question)
