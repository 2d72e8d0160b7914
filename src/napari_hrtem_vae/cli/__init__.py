"""The command line: thin, over the same functions as Python and napari."""

from __future__ import annotations

import atexit
import gc
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from ..errors import CancelledError, DeviceError, HrtemVaeError, ParameterError

# Importing the modules of commands adds them to `app`; `--help` lists them in this order.
from . import videos as videos  # isort: skip
from . import watching as watching  # isort: skip
from . import models as models  # isort: skip
from .console import ERRORS, app

__all__ = ["app", "main"]
_INTERRUPTED = 130
_STOPPED = {
    "lattice": "Stopped; what was finished is kept: the same command goes on with it.",
    "analyze": "Stopped; what was finished is kept: the same command goes on with it.",
    "batch": "Stopped; what was finished is kept: the same command goes on with it.",
    "watch": "Stopped; what was done is kept as a result, where a frame had landed.",
    "train": "Stopped; the same command goes on after the last finished epoch.",
    "simulate": "Stopped; the video is not written.",
    "drift": "Stopped; the aligned video is not written.",
}


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{version('napari-hrtem-vae')}\n")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show where an error comes from (anywhere).")
    ] = False,
) -> None:
    """See what changes in in situ HRTEM videos."""


def main() -> None:
    """Entry point: errors are one line and a code, a traceback comes with --debug only."""
    # Looking once more through all that torch and zarr have made, at the end, would take half a second.
    atexit.register(gc.freeze)
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    try:
        code = app(args=[one for one in arguments if one != "--debug"], standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort, CancelledError):
        code = _INTERRUPTED
    except Exception as error:
        if hasattr(error, "format_message"):
            usage = getattr(error, "ctx", None)
            if usage is not None:
                ERRORS.print(usage.get_usage(), highlight=False, markup=False)
            ERRORS.print(f"Error: {error.format_message()}", highlight=False, markup=False)
            sys.exit(getattr(error, "exit_code", 2))
        if debug:
            raise
        sentence = str(error) if isinstance(error, HrtemVaeError) else f"{type(error).__name__}: {error}"
        ERRORS.print(f"Error: {sentence}", highlight=False, markup=False, soft_wrap=True)
        # A value out of its range is wrong usage, as an unknown option is.
        sys.exit(2 if isinstance(error, ParameterError | DeviceError) else 1)
    if code == _INTERRUPTED:
        # Typer returns this code after Ctrl-C, or lets the interrupt through: it depends on its version.
        command = next((one for one in arguments if not one.startswith("-")), "")
        ERRORS.print(_STOPPED.get(command, "Stopped."), highlight=False)
    sys.exit(code if isinstance(code, int) else 0)
