"""Runs one program for the test process and ends it with that process, however it ends: SIGKILL included.

    python keeper.py PROGRAM [ARGUMENT …]

The test process holds the other end of standard input and never writes: end of file means that it is gone. The
program itself is bound to this keeper by the kernel, so that killing the keeper leaves nothing either. Linux alone.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading

_PR_SET_PDEATHSIG = 1
_GRACE = 10.0  # seconds between asking and killing


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent's thread ends; call it in the child."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(command: list[str]) -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        # The end of the input is the one word that counts. (A handler, since SIG_IGN would be the program's, too.)
        signal.signal(number, lambda *_: None)
    program = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)

    def end() -> None:
        while os.read(0, 1):  # not `sys.stdin`, whose lock the interpreter wants at its end
            pass
        program.terminate()
        try:
            program.wait(_GRACE)
        except subprocess.TimeoutExpired:
            program.kill()

    threading.Thread(target=end, daemon=True).start()
    return program.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
