"""Proxies between this machine and the mirrors: what they refuse is named, with the remedy."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme

from digit_utils.datasets.base import DatasetUnavailable, RemoteFile
from digit_utils.datasets.loading import load_dataset
from tests.datasets.test_download import use_mirrors

pytestmark = pytest.mark.usefixtures("isolated")


@contextlib.contextmanager
def proxy(answer: bytes, *, inspects: bool = False) -> Iterator[str]:
    """Run a proxy that answers CONNECT so, and then, if it inspects, shows a certificate of its own."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(answer)
                if inspects:
                    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                    trustme.CA().issue_cert("mirror.example").configure_cert(context)  # of an authority unknown here
                    context.wrap_socket(connection, server_side=True)

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.close()


@pytest.mark.parametrize(
    ("answer", "inspects", "told"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True, "certificate is not trusted here.*set REQUESTS_CA_BUNDLE to a file"),
        (
            b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
            False,
            "the proxy wants a password .*HTTPS_PROXY=http://name:password@host:port",
        ),
    ],
)
def test_what_a_proxy_refuses_is_named_with_the_remedy(answer, inspects, told, monkeypatch: pytest.MonkeyPatch):
    use_mirrors(monkeypatch, (RemoteFile("https://mirror.example/mnist.npz"),))
    with proxy(answer, inspects=inspects) as address:
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, address)
        monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
        with pytest.raises(DatasetUnavailable, match=told):
            load_dataset("mnist")
