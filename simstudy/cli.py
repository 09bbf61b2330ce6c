"""The command line: its commands, one a file in `simstudy.commands`, and what happens to their errors."""

from __future__ import annotations

import functools
import gc
import importlib
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from simstudy.commands.shared import BAD_INPUT, DONE, FAILED, INTERRUPTED, say
from simstudy.errors import SimstudyError

COMMANDS = (
    "run",
    "analyse",
    "status",
    "validate",
    "simulate",
    "replay",
    "merge",
    "plot",
    "bias",
    "estimators",
    "fit",
    "report",
    "performance",
    "factors",
    "export",
    "init",
    "plan",
)
"""Each is a function of the module of its name in `simstudy.commands`, in the order of the help."""


def guarded(function: Callable[..., None]) -> Callable[..., None]:
    """A command; what is wrong with the input is printed, a message a problem, and the exit code is 2."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except SimstudyError as error:
            for problem in error.problems:
                say(f"error: {problem}")
            raise typer.Exit(BAD_INPUT) from None
        except BrokenPipeError:  # the reader, `head` say, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(DONE) from None
        except OSError as error:
            say(f"error: {error}")
            raise typer.Exit(BAD_INPUT) from None
        except SystemExit as error:  # ours are typer.Exit: some plug-in wants to end the program, perhaps as a success
            say(f"error: a plug-in tried to end the program (SystemExit: {error}); nothing it was asked for is done")
            raise typer.Exit(FAILED) from None
        except KeyboardInterrupt:
            say("interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return call


def _version(wanted: bool) -> None:
    if wanted:
        print(f"simstudy {vars(sys.modules['simstudy'])['__version__']}")
        raise typer.Exit(DONE)


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@functools.cache
def application(*names: str) -> typer.Typer:
    """The command line with some of its commands: to read the options of all takes as long as to print a table."""
    made = typer.Typer(
        name="simstudy",
        help="Monte Carlo studies of multilevel structural equation modelling.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    made.callback()(_options)
    for name in names:
        function = getattr(importlib.import_module(f"simstudy.commands.{name}"), name)
        made.command()(guarded(function))
    return made


def __getattr__(name: str) -> Any:
    """``app``: the command line with all commands."""
    if name == "app":
        return application(*COMMANDS)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def main() -> None:
    """Run the command line."""
    gc.set_threshold(50_000)  # what is imported stays: to look it through again and again takes a tenth of the start
    asked = [name for name in sys.argv[1:2] if name in COMMANDS]
    application(*(asked or COMMANDS))()


if __name__ == "__main__":
    main()
