"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let Ctrl-C reach what tests start, also where a shell started them in the background.

    There SIGINT is inherited as ignored, by every process down to the last, and no signal would end what a
    test interrupts.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
