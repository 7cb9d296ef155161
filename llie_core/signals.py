"""Signals that end a command: SIGINT (Ctrl-C), SIGTERM (`kill`, batch systems), SIGHUP, and
SIGUSR1, by which batch systems announce the end of a job."""

import contextlib
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
SECOND_AFTER = 1.0


class Interrupted(KeyboardInterrupt):
    """A signal ended the command. number: which one."""

    def __init__(self, number: int):
        super().__init__(f"signal {number}")
        self.number = number


def interrupt(number: int) -> None:
    """Raise Interrupted: what a command does at a signal, wherever it is."""
    raise Interrupted(number)


@contextlib.contextmanager
def handling(handle: Callable[[int], None]) -> Iterator[None]:
    """Call `handle` with the number of each signal that arrives during the block.

    One that is ignored, such as SIGHUP under nohup, stays ignored. Only the main thread of a
    process may handle signals: in another one, nothing changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.getsignal(number) for number in ENDING}
        before = {n: known for n, known in before.items() if known not in (signal.SIG_IGN, None)}
    for number in before:
        signal.signal(number, lambda arrived, _frame: handle(arrived))
    try:
        yield
    finally:
        for number, known in before.items():
            signal.signal(number, known)


@contextlib.contextmanager
def deferred() -> Iterator[list[int]]:
    """Yield a list that takes the first signal, so that the block can end where it is safe to.

    A second one, SECOND_AFTER seconds later, does not wait: launchers pass on what the terminal
    sent to all. Worker processes may end by the same signal as the block; their failure counts as
    the signal.

    Raises:
        Interrupted: after the block, where a signal arrived.
    """
    arrived: list[int] = []
    first = math.inf

    def note(number: int) -> None:
        nonlocal first
        now = time.monotonic()
        first = min(first, now)
        arrived.append(number)
        if now > first + SECOND_AFTER:
            interrupt(number)

    with handling(note):
        try:
            yield arrived
        except RuntimeError as error:
            if arrived:
                raise Interrupted(arrived[0]) from error
            raise
    if arrived:
        interrupt(arrived[0])
