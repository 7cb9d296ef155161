"""The `llie` command: one file a group of subcommands. Heavy imports happen inside them, so that
--help is instant."""

import argparse
import contextlib
import io
import os
import signal
import sys

from llie_core.cli import compare, darken, data, enhance, models, reports, training
from llie_core.names import nearest
from llie_core.signals import handling, interrupt


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage or input, 128 + n ended by signal n.
    """
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # "?" for what an ASCII terminal does not know
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse takes positionals that stand together: of compare, those behind an option as well.
    if rest and (not hasattr(options, "words") or any(word.startswith("-") for word in rest)):
        hint = nearest(rest[0], options.parser._option_string_actions)
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    options.words = [*getattr(options, "words", ()), *rest]
    arrived: list[int] = []

    def end(number: int) -> None:
        arrived.append(number)
        interrupt(number)

    try:
        with handling(end):
            code = options.run(options)
            sys.stdout.flush()  # here, where a reader that has gone or a full disk is one line
            return code
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _drop_output()
        return 0
    except KeyboardInterrupt as error:
        return _interrupted(getattr(error, "number", signal.SIGINT), options)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError) as error:
        if arrived:  # a library that the signal met, at its import say, made another error of it
            return _interrupted(arrived[0], options)
        if isinstance(error, OSError) and not error.filename and _output_fails():
            error.filename = "standard output"
        ours = isinstance(error, ValueError | TypeError | OSError | ImportError)
        line = next(iter(str(error).splitlines()), "out of memory")  # CUDA's go on for pages
        if isinstance(error, OSError) and error.filename and error.strerror:
            line = f"{error.filename}: {error.strerror}"  # without Python's number of the error
        elif ours:
            line = str(error)
        print(f"llie: {line}", file=sys.stderr)
        return 2 if ours else 1


def _output_fails() -> bool:
    """Whether standard output cannot be written, such as a file on a full disk; what is left for
    it is dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
        return True
    return False


def _drop_output() -> None:
    """Send what is left for standard output nowhere; Python would try once more at its end."""
    with contextlib.suppress(OSError, ValueError):  # not a file, in a test
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupted(number: int, options: argparse.Namespace) -> int:
    again = "; run the same command again to resume" if getattr(options, "resumes", False) else ""
    print(f"llie: interrupted{again}", file=sys.stderr)
    return 128 + number


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llie", description="Low-light enhancement, and what it does for recognition."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for group in (enhance, darken, compare, training, data, models, reports):
        group.add(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return parser
