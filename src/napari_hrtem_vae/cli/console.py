"""What all commands share: the application, progress, and how a result is told."""

from __future__ import annotations

import inspect
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import Field
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..progress import Steps, run

Result = TypeVar("Result")
app = typer.Typer(
    help="See what changes in in situ HRTEM videos.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
ERRORS = Console(stderr=True)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Where the result goes.")]


def drive(steps: Steps[Result], quiet: bool) -> Result:
    """Run long work with a bar and the time left on standard error.

    Ctrl-C closes the work at its next step, as a file half written or a task half done would be left
    else; a second one ends it where it is.

    Raises
    ------
    CancelledError
        After Ctrl-C.
    """
    with asked_to_stop(signal.SIGINT) as signals:
        return _run_with_bar(steps, quiet, lambda: bool(signals))


def _run_with_bar(steps: Steps[Result], quiet: bool, stop: Callable[[], bool]) -> Result:
    if quiet or not ERRORS.is_terminal:
        return run(steps, stop=stop)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=ERRORS, transient=True) as bar:
        task = bar.add_task("Starting", total=None)

        def show(progress: Any) -> None:
            bar.update(task, completed=progress.done, total=progress.total, description=progress.message)

        return run(steps, on_progress=show, stop=stop)


@contextmanager
def asked_to_stop(*signals: signal.Signals) -> Iterator[list[int]]:
    """Which of some signals asked for an end; the first of each is only noted, so that work is kept."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.getsignal(number) for number in signals}
    for number in before:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def tell_result(as_json: bool, record: dict[str, Any], table: Callable[[], Table]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(record) + "\n")
    else:
        Console().print(table())


def pairs_table(record: dict[str, Any]) -> Table:
    table = Table(show_header=False)
    for key, value in record.items():
        table.add_row(key.replace("_", " "), str(value))
    return table


def with_fields_of(parameters: type[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option more for each field of a parameters class, in place of its `**fields`."""
    hints = get_type_hints(parameters)

    def option(field: Field[Any]) -> inspect.Parameter:
        name = field.metadata.get("option", field.name).replace("_", "-")
        help_text = field.metadata["tooltip"] + (
            f" One of {', '.join(field.metadata['choices'])}." if "choices" in field.metadata else ""
        )
        return inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[hints[field.name], typer.Option(f"--{name}", help=help_text)],
        )

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(command, eval_str=True)
        own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
        full = signature.replace(parameters=[*own, *map(option, dataclass_fields(parameters))])
        # Typer reads the one and the other.
        command.__dict__["__signature__"] = full
        command.__annotations__ = {one.name: one.annotation for one in full.parameters.values()}
        return command

    return decorate
