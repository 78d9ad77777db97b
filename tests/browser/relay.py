"""A network between browser and server that can be cut and mended."""

from __future__ import annotations

import contextlib
import socket
import threading


class Relay:
    """Passes on what comes to a port of its own, until it is cut."""

    def __init__(self, port: int):
        """Stand before a server's `port` of this machine."""
        self._server, self._ends = port, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.pass_on()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._server))
                self._ends += [near, far]
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=ends, daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the other side is gone
            while data := source.recv(65536):
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
