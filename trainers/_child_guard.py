"""Run a command that ends when its parent does: this script's stdin is a pipe that nobody writes to."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress

# Launchers of several processes give each its own session, and end them on SIGTERM.
GRACE_SECONDS = 10.0
_SIGNAL_STATUS = 128


def main(command: Sequence[str]) -> int:
    """Run it in this process's group; return its exit status, or 128 + N if signal N ended it."""
    signal.signal(signal.SIGTERM, _ignore_signal)  # a handler, unlike SIG_IGN, does not pass to the command
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    ending = threading.Event()
    watch = threading.Thread(target=_end_with_parent, args=(child, ending), daemon=True)
    watch.start()
    code = child.wait()
    if ending.is_set():
        watch.join()
    return code if code >= 0 else _SIGNAL_STATUS - code


def _ignore_signal(_signal: int, _frame: object) -> None:
    """Ignore SIGTERM, so that this process outlives the group that it ends."""


def _end_with_parent(child: "subprocess.Popen[bytes]", ending: threading.Event) -> None:
    """Wait for the parent to end, then send the whole group SIGTERM, and SIGKILL after the grace period."""
    os.read(0, 1)
    ending.set()
    os.killpg(0, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
