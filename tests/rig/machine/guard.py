"""Holds one node's namespaces and cgroups for the test process, and removes them with it, however it ends.

    python -m tests.rig.machine.guard CGROUP

It says the number of the first process inside, and then waits for the end of its input. That first process sleeps and
ignores the ends of its children, so that the kernel reaps them; with it the kernel ends everything inside.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.rig.keeper import die_with_parent
from tests.rig.machine import cgroups

KINDS = ("net", "mount", "uts", "ipc", "pid", "cgroup")
_HOLD = [
    *("unshare", *(f"--{kind}" for kind in KINDS), "--fork", "--kill-child", "--mount-proc"),
    *("env", "--ignore-signal=CHLD", "sleep", "infinity"),
]


def main(cgroup: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # the end of the input is the one word that counts
    cgroups.sweep()
    cgroups.make(cgroup)

    def join() -> None:
        die_with_parent()
        for path in cgroups.find(cgroup):
            (path / "cgroup.procs").write_text(str(os.getpid()))

    holder = subprocess.Popen(_HOLD, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=join)
    try:
        first = wait_first(holder)
        cgroups.settle(cgroup, [holder.pid, first])
        sys.stdout.write(f"{first}\n")
        sys.stdout.flush()
        sys.stdin.buffer.read()
    finally:
        holder.kill()
        holder.wait()
        cgroups.remove(cgroup)


def wait_first(holder: subprocess.Popen[bytes]) -> int:
    """The first process inside, once it sleeps: all is mounted then."""
    while holder.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            children = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()
            if Path(f"/proc/{children[0]}/comm").read_text() == "sleep\n":
                return int(children[0])
        time.sleep(0.02)
    raise SystemExit("unshare has ended")


if __name__ == "__main__":
    main(sys.argv[1])
