"""A network between browser and server that can be slow, cut and mended."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time


class Relay:
    """Passes on what comes to a port of its own, until it is cut."""

    def __init__(self, port: int, *, delay: float = 0.0):
        """Stand before a server's `port` of this machine; all that passes arrives `delay` seconds later."""
        self._server, self._ends, self._delay = port, [], delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.pass_on()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._server))
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._ends += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        on_the_way = queue.SimpleQueue()
        threading.Thread(target=self._deliver, args=(on_the_way, target), daemon=True).start()
        data = b"anything"
        while data:
            data = b""
            with contextlib.suppress(OSError):  # the other side is gone
                data = source.recv(65536)
            on_the_way.put((time.monotonic() + self._delay, source, data))

    @staticmethod
    def _deliver(on_the_way: queue.SimpleQueue, target: socket.socket) -> None:
        while True:
            due, source, data = on_the_way.get()
            time.sleep(max(0.0, due - time.monotonic()))
            if not data:
                break
            with contextlib.suppress(OSError):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """End all connections and take no new one."""
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._ends = []

    def stall(self) -> None:
        """Let connections wait at the same port, unanswered, until `pass_on`."""
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def pass_on(self) -> None:
        """Answer what waits and what comes."""
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def mend(self) -> None:
        """Take connections again, at the same port."""
        self.stall()
        self.pass_on()
