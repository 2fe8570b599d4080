# SPDX-License-Identifier: Apache-2.0
"""One command: its words are read, it runs until it is done or stopped, and what came of it is an exit status.

SIGINT and SIGTERM end a run by the way of an exception, so that temporary files go and locks are given back. An
exception that a signal raises can land anywhere: in a destructor, where Python prints and forgets it, or in the import
of a C extension, which answers with an ImportError of its own. So the handler notes that a stop was asked for, and
raises again every fifth of a second until the command has ended.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, NoReturn

from facepipe.errors import FacepipeError, UnsealedError, nearest
from facepipe.escape import for_terminal

DONE, FIXABLE, USAGE, UNSEALED = 0, 1, 2, 3
AGAIN_SECONDS = 0.2


class CommandParser(argparse.ArgumentParser):
    """argparse's parser, whose errors are one line that guesses what was meant. Parsers of sub-commands are as well."""

    def error(self, message: str) -> NoReturn:
        advice = "" if message.endswith("?") else f". Try: `{self.prog} --help`"
        self.exit(USAGE, f"{self.prog}: {for_terminal(message.rstrip('.'))}{advice}\n")

    def format_help(self) -> str:
        """The description first, which begins with an example; then what must be given; then everything."""
        formatter = self.formatter_class(prog=self.prog)
        formatter.add_text(self.description)
        formatter.add_text(self.format_usage())
        for group in self._action_groups:
            formatter.start_section(group.title)
            formatter.add_arguments(group._group_actions)
            formatter.end_section()
        formatter.add_text(self.epilog)
        return formatter.format_help()

    def format_usage(self) -> str:
        """What must be given, in one line."""
        if self.usage is not None:
            return super().format_usage()
        formatter = argparse.HelpFormatter(self.prog, width=1000)
        required = [action for action in self._actions if action.required or not action.option_strings]
        formatter.add_usage(None, required, ())
        return f"{formatter.format_help().strip()} [options]\n"

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            raise argparse.ArgumentError(
                action, f"'{value}', expected one of {', '.join(choices)}{_guess(value, choices)}"
            )


def command_parser(module: ModuleType, program: str) -> CommandParser:
    """The parser of one command, whose help is the module's docstring and begins with an example."""
    parser = CommandParser(
        prog=program, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    fill(parser, module)
    return parser


def fill(parser: argparse.ArgumentParser, module: ModuleType) -> None:
    """The arguments of a command, and those that every command has."""
    module.add_arguments(parser)
    for names, leaf in leaves(parser):
        if names:  # a sub-command's help is its lines among the examples
            lines = map(str.strip, (module.__doc__ or "").splitlines())
            leaf.description = "\n".join(line for line in lines if f"{line} ".startswith(f"{leaf.prog} "))
            leaf.formatter_class = argparse.RawDescriptionHelpFormatter
        leaf.add_argument("--traceback", action="store_true", help="show the whole traceback of an error")


def leaves(parser: argparse.ArgumentParser) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """The parsers that take options in the end, each with the names of sub-commands that lead to it."""
    below = _sub_commands(parser)
    if not below:
        yield (), parser
    for name, inner in below.items():
        for names, leaf in leaves(inner):
            yield (name, *names), leaf


def options_of(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    """Every spelling of every option of a parser, `--help` among them."""
    return tuple(option for action in parser._actions for option in action.option_strings)


def run_module(module: ModuleType, program: str, arguments: Sequence[str]) -> int:
    """One command: `module.add_arguments`, then `module.run`, and what came of it as an exit status."""
    parser = command_parser(module, program)
    _refuse_unknown_options(parser, arguments)
    args = parser.parse_args(arguments)
    request = StopRequest()
    try:
        with stoppable() as request:
            return int(module.run(args))
    except BaseException as error:
        return _exit_status(program, error, request, show_traceback=args.traceback)


def _sub_commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found.update(action.choices)
    return found


def _refuse_unknown_options(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
    """argparse would first ask for what is missing, which may be the very option that was misspelt."""
    below = _sub_commands(parser)
    for word in arguments:
        if word == "--":
            return
        if word in below:
            parser = below[word]
            below = _sub_commands(parser)
        name, known = word.partition("=")[0], options_of(parser)
        if name.startswith("--") and not any(option.startswith(name) for option in known):
            parser.error(f"'{name}' is no option of it{_guess(name, known)}")


def _guess(given: object, choices: Sequence[str]) -> str:
    near = nearest(str(given), choices)
    return f". Did you mean {near}?" if near else ""


def _exit_status(program: str, error: BaseException, request: StopRequest, *, show_traceback: bool) -> int:
    """One line and a status for what the user can mend or asked for; anything else is a bug and is raised."""
    if request.number is not None:  # whatever a stop turned into on its way out
        print(f"{program}: stopped; run the same command again to resume.", file=sys.stderr)
        return 128 + request.number
    if isinstance(error, BrokenPipeError) and _reader_is_gone():  # as in `facepipe models | head -3`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would complain again
        return 128 + signal.SIGPIPE
    # OSError: a full disk, a read-only folder, a vanished file; the system's sentence names the file.
    if not isinstance(error, FacepipeError | OSError):
        raise error
    if show_traceback:
        traceback.print_exception(error)
    print(f"{program}: {for_terminal(str(error))}", file=sys.stderr)
    return UNSEALED if isinstance(error, UnsealedError) else FIXABLE


def _reader_is_gone() -> bool:
    """Whether nobody reads what is printed any more. Other pipes break too: that of a worker, which is an error."""
    watch = select.poll()
    watch.register(sys.stdout.fileno(), 0)  # POLLERR is always told
    return any(event & select.POLLERR for _, event in watch.poll(0))


class Stopped(BaseException):
    """A stop was asked for. Not an Exception: nothing that handles errors may handle it."""


@dataclass(slots=True)
class StopRequest:
    """The signal that asked for the stop; None until one does."""

    number: int | None = None


@contextmanager
def stop_at_a_good_place() -> Iterator[Callable[[], bool]]:
    """While open, the first SIGINT or SIGTERM is only noted, for work that asks (by what is yielded) and ends where its
    state is whole; a second one stops it at once. On the way out a noted one stops as any other does.
    """
    noted: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before: dict[int, Any] = {}

    def note(number: int, frame: object) -> None:
        noted.append(number)
        if len(noted) > 1:
            before[number](number, frame)

    before |= {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if noted:
        signal.raise_signal(noted[0])


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """While open, SIGINT and SIGTERM raise Stopped; on the way out the handlers are as they were.

    Outside the main thread, where Python takes no signals, it does nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def stop(number: int, frame: object) -> None:
        if number != signal.SIGALRM:
            request.number = number
            signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS, AGAIN_SECONDS)
        raise Stopped

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    try:
        yield request
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
