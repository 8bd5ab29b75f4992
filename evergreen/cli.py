"""The command line `evergreen`.

Exit codes: 0 success, 1 something failed or must change, 2 a mistake of the caller's, 130 interrupted. Modules that
take long to import (boto3, scikit-learn, configuration) are imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from evergreen.commands import approval, configuration, ledger, logs, operations, preflight, status
from evergreen.delivery import commands as delivery
from evergreen.demo import command as demo
from evergreen.errors import FailedError, UsageError
from evergreen.prove import command as prove
from evergreen.settings import CONFIG, CONFIG_VARIABLE, MODELS, MODELS_VARIABLE

_FAILED, _USAGE = 1, 2

app = typer.Typer(
    name="evergreen",
    help="Evergreen keeps SageMaker models current. Commands target the local cloud; --target aws uses your account.",
    no_args_is_help=True,
    add_completion=False,
    # Plain help starts in half the time, and a pager or a log reads it as well.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def select(
    config: Annotated[
        str | None,
        typer.Option(envvar=CONFIG_VARIABLE, help="The application's file.", show_default=CONFIG),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(envvar=MODELS_VARIABLE, help="The models' folder.", show_default=MODELS),
    ] = None,
) -> None:
    """Select the application and its models."""
    for variable, value in ((CONFIG_VARIABLE, config), (MODELS_VARIABLE, models)):
        if value is not None:
            os.environ[variable] = value


app.command()(configuration.check)
app.command()(configuration.schema)
app.add_typer(configuration.pipeline, name="pipeline")
app.command()(status.status)
app.command()(ledger.ledger)
app.command()(logs.logs)
app.command()(approval.approve)
app.command()(approval.reject)
app.command()(operations.alarms)
app.add_typer(operations.queues, name="queues")
app.command()(operations.reconcile)
app.command()(preflight.preflight)
app.command()(prove.prove)
app.command()(demo.demo)
app.add_typer(delivery.app, name="delivery")


def main() -> None:
    """Run the console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code. Expected errors are printed in one line each."""
    try:
        result = app(args=list(arguments), prog_name="evergreen", standalone_mode=False)
    except typer.TyperException as error:
        return _report(error.format_message(), error.exit_code)
    except UsageError as error:
        return _report(str(error), _USAGE)
    except FailedError as error:
        return _report(str(error), _FAILED)
    except BrokenPipeError:
        # The reader of the output went away, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        code = _code_of(error)
        if code is None:
            raise
        return _report(str(error), code)
    return result if isinstance(result, int) else 0


def _code_of(error: Exception) -> int | None:
    """Return the exit code of an expected error of a module that is imported late, None for any other error."""
    kinds = {base.__module__ + "." + base.__name__ for base in type(error).__mro__}
    if kinds & {"configuration.problems.ConfigurationError", "pipelines.compiler.CompileError"}:
        return _USAGE
    if kinds & {"botocore.exceptions.BotoCoreError", "botocore.exceptions.ClientError"}:
        return _FAILED
    return None


def _report(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code
