"""The command `testbed`: the table of its verbs, and what errors become on the way out.

Each verb is one module of this package whose function does the work; arguments come in, results go to stdout,
progress and errors to stderr. Exit code 0: it worked, 1: the work failed, 2: wrong input, 130: stopped
by Ctrl-C or a signal.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from contextlib import suppress
from typing import Annotated

import typer

from testbed import __version__
from testbed.cli import (
    alto,
    calibrate,
    clean,
    compare,
    counters,
    doctor,
    generate,
    graph,
    import_,
    link,
    meter,
    plan,
    report,
    routes,
    schema,
    shell,
    validate,
)
from testbed.cli import run as run_verb
from testbed.cli.plain import plain
from testbed.errors import RunError, UserError

EXIT_FAILED, EXIT_WRONG_INPUT, EXIT_INTERRUPTED = 1, 2, 130
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# What a user can mend of what the system refuses; anything else is a bug and shows its traceback.
_MENDS = {
    errno.ENOSPC: "the disk is full: make room, then go on",
    errno.EDQUOT: "the disk quota is used up: make room, then go on",
    errno.EACCES: "use sudo, or write elsewhere (--results DIR); root may have made these files",
    errno.EROFS: "write elsewhere: --results DIR",
}

app = typer.Typer(
    name="testbed",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# A new verb: a module of this package with one function, and its line here. The function itself imports what
# it needs, so that `testbed --help` stays quick.
app.command("doctor")(doctor.doctor)
app.command("validate")(validate.validate)
app.command("schema")(schema.schema)
app.command("graph")(graph.graph)
app.add_typer(generate.app, name="generate")
app.command("import")(import_.import_)
app.command("calibrate")(calibrate.calibrate)
app.command("plan")(plan.plan)
app.command("run")(run_verb.run)
app.command("report")(report.report)
app.command("compare")(compare.compare)
app.command("shell")(shell.shell)
app.command("link")(link.link)
app.command("routes")(routes.routes)
app.command("counters")(counters.counters)
app.command("meter")(meter.meter)
app.command("alto")(alto.alto)
app.command("status")(clean.status)
app.command("clean")(clean.clean)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"testbed {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of every error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A laboratory for P2P and ISP cooperation on one Linux machine.

    Start with `sudo .venv/bin/testbed doctor`, then `sudo .venv/bin/testbed run experiments/quickstart.yaml`.
    """


def run() -> None:
    """Entry point of the command: run the verb and turn errors into one message and an exit code."""
    # Asked to end or without its terminal, a verb cleans up as after Ctrl-C, which Mininet's prompt ignores.
    for number in _ENDING:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(number, _stop)
    sys.unraisablehook = _again
    debug = "--debug" in sys.argv[1:]
    try:
        app()
    except UserError as error:
        _leave(error, EXIT_WRONG_INPUT, debug=debug)
    except RunError as error:
        _leave(error, EXIT_FAILED, debug=debug)
    except OSError as error:
        mend = _MENDS.get(error.errno or 0)
        if mend is None:
            raise
        _leave(RunError(str(error), mend=mend), EXIT_FAILED, debug=debug)
    except KeyboardInterrupt:
        _interrupted()
    except SystemExit as ending:
        # Typer ends the process with 130 and no word when Ctrl-C reaches it.
        if ending.code == EXIT_INTERRUPTED:
            _interrupted(ending.by if isinstance(ending, _Stopped) else "Ctrl-C")
        raise


class _Stopped(SystemExit):
    """A signal asked the command to end."""

    def __init__(self, by: str) -> None:
        super().__init__(EXIT_INTERRUPTED)
        self.by = by


def _stop(number: int, _: object) -> None:
    raise _Stopped(signal.Signals(number).name)


def _again(lost: sys.UnraisableHookArgs) -> None:
    """Send once more a signal that came where Python forgets what is raised: in a destructor, in a callback.

    An import has such a callback, so that one of many signals would be lost.
    """
    if isinstance(lost.exc_value, _Stopped):
        number = signal.Signals[lost.exc_value.by]
    elif isinstance(lost.exc_value, KeyboardInterrupt):
        number = signal.SIGINT
    else:
        sys.__unraisablehook__(lost)
        return
    # Not now: it would be raised in here, and be forgotten again.
    threading.Timer(0.01, os.kill, (os.getpid(), number)).start()


def _leave(error: Exception, code: int, *, debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exception(error)
    else:
        print(f"testbed: {plain(str(error))}", file=sys.stderr)
    sys.exit(code)


def _interrupted(by: str = "Ctrl-C") -> None:
    for number in _ENDING:  # those of the impatient, who ask again
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError):  # the terminal may be gone
        print(f"testbed: stopped by {by}", file=sys.stderr)
    sys.exit(EXIT_INTERRUPTED)
