"""The process of a notebook's kernel. It ends when the process that started it ends, however that happened.

Most of a short run's time would go into imports. So a *fork server* imports what a notebook needs once, and forks the
kernel of each run from itself, as fresh as any other kernel and ready at once:

    python kernel_process.py alone -f FILE              a kernel that does its own imports
    python kernel_process.py serve ADDRESS MODULE...    import the modules, then fork a kernel for each connection
    python kernel_process.py forked ADDRESS -f FILE     have a kernel forked, and live and die with it; becomes a kernel
                                                        of its own ("alone") if the fork server is dead

An address is the name of a socket in Linux's abstract namespace: no file has to be removed, whoever is killed.

This file is run as a script and imports nothing of the package, which a notebook may not need either.
"""

import contextlib
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from pathlib import Path

PR_SET_PDEATHSIG = 1  # option of prctl(2): the signal that Linux sends to a process when its parent dies
READY, TOO_MANY_THREADS = "ready", "has threads, so it cannot be forked"
INLINE = "module://matplotlib_inline.backend_inline"  # what a kernel would set before matplotlib is imported


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when its parent dies, at once if that has happened already.

    ipykernel checks for its parent once a second on every system. A second is long enough for an orphan to write into
    a folder that another run has taken over. On Linux the parent is the *thread* that started this process.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


def run_kernel(arguments: list[str]) -> None:
    """Be a kernel until asked to shut down."""
    from ipykernel import kernelapp

    kernelapp.launch_new_instance(argv=arguments)


def request_kernel(address: str, arguments: list[str]) -> int:
    """Have a kernel forked, wait for it to end, and return its exit code; 1 if the fork server dies first.

    If the fork server is dead already, this process becomes the kernel, which then does its own imports.
    """
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}
    with socket.socket(socket.AF_UNIX) as connection:
        with contextlib.suppress(OSError):
            connection.connect(f"\0{address}")
        if not _is_same_user(connection):
            os.execv(sys.executable, [sys.executable, "-P", __file__, "alone", *arguments])
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # precedes every shutdown request, which the kernel gets itself
        try:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile() as answer:
                return int(answer.readline() or 1)
        except ConnectionError:  # it hung up without reading the request
            return 1


def _is_same_user(connection: socket.socket) -> bool:
    """Check who is at the other end, if anybody: an abstract socket has no file permissions."""
    peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, user, _ = struct.unpack("3i", peer)
    return user == os.geteuid()


def run_fork_server(address: str, modules: list[str]) -> None:
    """Import modules, print whether kernels can be forked, and fork them until the parent is dead."""
    import gc
    import importlib

    os.environ.setdefault("MPLBACKEND", INLINE)
    for module in modules:
        with contextlib.suppress(Exception):  # the notebook itself will raise it again
            importlib.import_module(module)
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        print(TOO_MANY_THREADS, flush=True)
        return
    gc.collect()
    gc.freeze()  # keeps what is imported shared between the kernels' memory
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"\0{address}")
        server.listen()
        print(READY, flush=True)
        Forker(server).run()


class Forker:
    """Forks a kernel for each connection, kills it when the connection ends, and reports its end to the connection."""

    def __init__(self, server: socket.socket):
        self._server = server
        self._poll = select.epoll()
        self._poll.register(server, select.EPOLLIN)
        self._connections: dict[int, int] = {}  # the process of the kernel by the descriptor of its connection
        self._kernels: dict[int, tuple[int, socket.socket]] = {}  # process and connection by the process's descriptor

    def run(self) -> None:
        """Serve forever. One event at a time, since each may close or reuse the descriptor of the next."""
        while True:
            for descriptor, _ in self._poll.poll(maxevents=1):
                if descriptor == self._server.fileno():
                    self._accept()
                elif descriptor in self._connections:
                    self._kill(descriptor)
                else:
                    self._report_end(descriptor)

    def _accept(self) -> None:
        try:
            connection, _ = self._server.accept()
        except OSError:  # too many open files, for now
            time.sleep(0.1)
            return
        try:
            if not _is_same_user(connection):
                raise PermissionError
            self._fork(connection)
        except OSError:  # or no process is to be had: the other kernels go on
            connection.close()

    def _fork(self, connection: socket.socket) -> None:
        fork_server, kernel = os.getpid(), os.fork()
        if kernel == 0:
            self._become_kernel(connection, fork_server)
        try:
            descriptor = os.pidfd_open(kernel)
        except OSError:
            os.kill(kernel, signal.SIGKILL)
            os.waitpid(kernel, 0)
            raise
        self._kernels[descriptor] = kernel, connection
        self._connections[connection.fileno()] = kernel
        self._poll.register(descriptor, select.EPOLLIN)
        self._poll.register(connection, select.EPOLLRDHUP)  # its end only: the kernel reads what it says

    def _become_kernel(self, connection: socket.socket, fork_server: int) -> None:
        """Read the request here, so that a client that says nothing keeps only its own kernel waiting."""
        try:
            die_with_parent(fork_server)
            os.setsid()
            # Else the end of the fork server, or of another kernel's client, would go unnoticed.
            for descriptor in (self._server.fileno(), self._poll.fileno(), *self._connections, *self._kernels):
                os.close(descriptor)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nobody reads the fork server's output, and it would fill up
            with connection, connection.makefile() as requests:
                request = json.loads(requests.readline())
            os.environ.clear()
            os.environ.update(request["environment"], JPY_PARENT_PID=str(fork_server))
            os.chdir(request["folder"])
            if "tempfile" in sys.modules:  # it keeps the fork server's folder in mind
                sys.modules["tempfile"].tempdir = None
            if "numpy" in sys.modules:  # or all kernels would draw the same "random" numbers
                sys.modules["numpy"].random.seed()
            run_kernel(request["arguments"])
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)

    def _kill(self, descriptor: int) -> None:
        """End the kernel of a connection that has ended."""
        self._poll.unregister(descriptor)
        os.kill(self._connections.pop(descriptor), signal.SIGKILL)

    def _report_end(self, descriptor: int) -> None:
        """Send the exit code of a kernel to its client, as a shell would give it."""
        kernel, connection = self._kernels.pop(descriptor)
        os.close(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(kernel, 0)[1])
        if self._connections.pop(connection.fileno(), None):
            self._poll.unregister(connection)
        with contextlib.suppress(OSError):
            connection.sendall(b"%d\n" % (code if code >= 0 else 128 - code))
        connection.close()


def main(role: str, *arguments: str) -> int:
    """Play the role that the command line names."""
    if role == "forked":
        return request_kernel(arguments[0], list(arguments[1:]))
    die_with_parent(int(os.environ["JPY_PARENT_PID"]))
    if role == "alone":
        run_kernel(list(arguments))
    elif role == "serve":
        run_fork_server(arguments[0], list(arguments[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
