"""The process of a kernel that belongs to a run: it ends when the process that started it does, however that ended.

A kernel runs this file as a script and imports nothing else of the package, which its notebook may not need.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that Linux sends a process when its parent dies


def die_with_parent(parent: int) -> None:
    """Have the system kill this process as soon as its parent is dead; at once when it already is.

    ipykernel looks for its parent once a second on every system. A second is long enough for an orphan to write
    into a folder that another run has taken over, so on Linux it ends at once.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # died before the line above
        os._exit(1)


def main() -> None:
    """Start ipykernel in this process."""
    die_with_parent(int(os.environ["JPY_PARENT_PID"]))
    from ipykernel import kernelapp

    kernelapp.launch_new_instance()


if __name__ == "__main__":
    main()
