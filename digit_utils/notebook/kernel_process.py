"""The process of a kernel that belongs to a run: it ends when the process that started it does, however that ended.

Most of a short run's time would go into imports. So a *fork server* imports once what a notebook needs, and every run
gets a kernel that is forked from it, as fresh as any other and ready at once:

    python kernel_process.py alone -f FILE                  a kernel that imports for itself
    python kernel_process.py fork server SOCKET MODULE...       imports the modules, then forks kernels on demand
    python kernel_process.py forked SOCKET -f FILE          has the fork server fork a kernel; lives and dies with it;
                                                            like `alone` when the fork server has died before

This file is run as a script and needs nothing of the package, which a notebook may not need either.
"""

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # of prctl(2): the signal that Linux sends a process when its parent dies
READY, TOO_MANY_THREADS = "ready", "has threads, so it cannot be forked"
INLINE = "module://matplotlib_inline.backend_inline"  # what a kernel would set before matplotlib is imported


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


def run_kernel(arguments: list[str]) -> None:
    """Be a kernel, until it is told to end."""
    die_with_parent(int(os.environ["JPY_PARENT_PID"]))
    from ipykernel import kernelapp

    kernelapp.launch_new_instance(argv=arguments)


def ask_fork_server(path: str, arguments: list[str]) -> int:
    """Have a kernel forked, wait for its end, and return its exit code; 1 when the fork server goes away before that.

    A fork server that is gone already is done without: this process becomes a kernel that imports for itself.
    """
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
        except OSError:
            os.execv(sys.executable, [sys.executable, "-P", __file__, "alone", *arguments])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # sent before every polite end, and the kernel is told that itself
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile() as answers:
            return int(answers.readline() or 1)


def run_fork_server(path: str, modules: list[str]) -> None:
    """Import modules, say so, and fork a kernel for whoever connects, until the parent is dead."""
    import gc
    import importlib

    die_with_parent(int(os.environ["JPY_PARENT_PID"]))
    os.environ.setdefault("MPLBACKEND", INLINE)
    for module in modules:
        with contextlib.suppress(Exception):  # the notebook itself will say what is wrong with it
            importlib.import_module(module)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        print(TOO_MANY_THREADS, flush=True)
        return
    gc.collect()
    gc.freeze()  # what is imported stays shared between the kernels' memory
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print(READY, flush=True)
        _fork_on_demand(server)


def _fork_on_demand(server: socket.socket) -> None:
    """Fork a kernel a connection. It is killed when the connection ends, and its end is told to the connection."""
    selector = selectors.DefaultSelector()
    selector.register(server, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if selector.get_map().get(key.fd) is not key:
                continue  # closed by what came before it in this round
            if key.fileobj is server:
                try:
                    connection, _ = server.accept()
                except OSError:  # too many open files, for now
                    time.sleep(0.1)
                    continue
                try:
                    kernel, ended = _fork(connection, selector)
                except (OSError, ValueError):  # who asked is gone, or no process is to be had: the others go on
                    connection.close()
                    continue
                selector.register(ended, selectors.EVENT_READ, (kernel, connection))
                selector.register(connection, selectors.EVENT_READ, (kernel, None))
                continue
            kernel, connection = key.data
            if connection is None:  # whoever asked for the kernel is gone
                selector.unregister(key.fileobj)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(kernel, signal.SIGKILL)
                continue
            selector.unregister(key.fileobj)
            os.close(key.fileobj)
            code = os.waitstatus_to_exitcode(os.waitpid(kernel, 0)[1])
            with contextlib.suppress(KeyError):
                selector.unregister(connection)
            with contextlib.suppress(OSError):
                connection.sendall(b"%d\n" % (code if code >= 0 else 128 - code))
            connection.close()


def _fork(connection: socket.socket, selector: selectors.BaseSelector) -> tuple[int, int]:
    """Return the process of a new kernel, as the request on a connection wants it, and a file that tells its end.

    Raises OSError or ValueError when the request cannot be read, or there is no room for one more process.
    """
    with connection.makefile() as requests:
        request = json.loads(requests.readline())
    fork_server = os.getpid()
    kernel = os.fork()
    if kernel:
        try:
            return kernel, os.pidfd_open(kernel)
        except OSError:
            os.kill(kernel, signal.SIGKILL)
            os.waitpid(kernel, 0)
            raise
    try:
        for opened in (*selector.get_map(), connection.fileno()):
            os.close(opened)  # else the fork server's end, or that of another kernel's owner, would not be noticed
        selector.close()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads the fork server's any more, and it would fill up
        os.setsid()
        os.environ.clear()
        os.environ.update(request["environment"], JPY_PARENT_PID=str(fork_server))
        os.chdir(request["folder"])
        if "numpy" in sys.modules:  # or all kernels would draw the same "random" numbers
            sys.modules["numpy"].random.seed()
        run_kernel(request["arguments"])
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def main(how: str, *arguments: str) -> int:
    """Be what the command line says."""
    if how == "alone":
        run_kernel(list(arguments))
    elif how == "forked":
        return ask_fork_server(arguments[0], list(arguments[1:]))
    elif how == "fork_server":
        run_fork_server(arguments[0], list(arguments[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
