"""Signals: where they end a process at once, where they wait, and with which exit code."""

import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

from collapsar.machine import signals

CODES = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143)]
TWICE = """
import signal
from collapsar.machine import signals
with signals.catch_signals(), signals.deferred():
    signal.raise_signal(signal.SIGTERM)
    print("first", flush=True)
    signal.raise_signal(signal.SIGUSR1)
    print("second", flush=True)
"""
IN_A_FINALISER = """
import signal, time
from collapsar.machine import signals
class Passing:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
with signals.catch_signals():
    Passing()
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def interruptible():
    """Ctrl-C as in a terminal: a background job of a shell ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_signal_leaves_at_once_with_its_exit_code(number, code):
    with pytest.raises(signals.Stopped) as stopped, signals.catch_signals():
        signal.raise_signal(number)
    assert stopped.value.code == code


@pytest.mark.parametrize(("number", "code"), CODES)
def test_a_deferred_signal_is_noted_and_leaves_at_the_end(number, code):
    noted = []

    def leave_late():
        with signals.catch_signals(), signals.deferred():
            signal.raise_signal(number)
            noted.append(signals.is_asked())

    with pytest.raises(signals.Stopped) as stopped:
        leave_late()
    assert noted == [True]
    assert stopped.value.code == code


def test_a_second_signal_ends_the_process():
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (143, "first\n")


def test_a_signal_that_comes_in_a_finaliser_leaves_a_moment_later_and_prints_nothing():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_FINALISER], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (143, "")


def test_other_exceptions_in_a_finaliser_are_shown_as_before():
    broken = IN_A_FINALISER.replace("signal.raise_signal(signal.SIGTERM)", "1 / 0").replace("time.sleep(60)", "")
    done = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0
    assert "ZeroDivisionError" in done.stderr


def test_nothing_is_deferred_once_a_signal_was_swallowed():
    def swallow_and_train():
        with signals.catch_signals():
            with suppress(signals.Stopped):  # as Python does in a finaliser
                signal.raise_signal(signal.SIGTERM)
            with signals.deferred():
                pytest.fail("a training began")

    with pytest.raises(signals.Stopped):
        swallow_and_train()


def test_handlers_are_afterwards_what_they_were():
    before = [signal.getsignal(number) for number in signals.EXIT_CODES]
    with signals.catch_signals(), signals.catch_signals():
        pass
    assert [signal.getsignal(number) for number in signals.EXIT_CODES] == before


def test_a_handler_of_a_library_gives_way_when_ours_are_taken_back():
    def give_way():
        with signals.catch_signals():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signals.take_back()
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(signals.Stopped):
        give_way()


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with signals.catch_signals():
        signal.raise_signal(signal.SIGINT)
    assert not signals.is_asked()


def test_another_thread_leaves_signals_as_they_are():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def heed():
        with signals.catch_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=heed)
    thread.start()
    thread.join()
    assert seen == [before]
