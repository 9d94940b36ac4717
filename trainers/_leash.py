"""Runs a command that ends when whoever asked for it does: this script's stdin is a pipe that nobody writes to."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

_SIGNALLED = 128


def main(command: Sequence[str]) -> int:
    """Run it in this process's group; its exit status, 128 and the signal's number where a signal ended it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    return code if code >= 0 else _SIGNALLED - code


def _end_with_parent() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
