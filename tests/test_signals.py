"""Signals that end a command: where they act, and where they wait."""

import signal
import threading

import pytest

from llie_core import signals
from llie_core.signals import ENDING, Interrupted, deferred, handling, interrupt


def handlers():
    return [signal.getsignal(number) for number in ENDING]


@pytest.mark.parametrize("number", ENDING)
def test_a_signal_interrupts_and_its_earlier_handler_returns(number):
    before = handlers()
    with pytest.raises(KeyboardInterrupt) as stopped, handling(interrupt):
        signal.raise_signal(number)
    assert stopped.value.number == number and handlers() == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with handling(interrupt):
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_another_thread_changes_no_handler():
    seen = []

    def enter():
        with handling(interrupt):
            seen.append(handlers())

    before = handlers()
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_deferred_signal_waits_for_the_end_of_the_block():
    done = []
    with pytest.raises(Interrupted) as stopped, deferred() as arrived:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # passed on by a launcher
        done.append(list(arrived))
    assert done == [[signal.SIGTERM] * 2] and stopped.value.number == signal.SIGTERM


def test_a_second_signal_does_not_wait(monkeypatch):
    monkeypatch.setattr(signals, "SECOND_AFTER", 0.0)
    done = []
    with pytest.raises(Interrupted), deferred():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        done.append("reached")
    assert done == []


def test_a_worker_that_the_same_signal_ended_is_no_failure():
    with pytest.raises(Interrupted), deferred():
        signal.raise_signal(signal.SIGTERM)
        raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Terminated.")
    with pytest.raises(RuntimeError, match="a failure"), deferred():
        raise RuntimeError("a failure")
