"""The page behind a reverse proxy under a path, and in a container without a home."""

from __future__ import annotations

import asyncio
import os
import re
import urllib.request
from pathlib import Path

import pytest

from digit_utils.serving.app import PageError, page_address, serve
from tests.support.page_client import Visitor, running_page

NAME = b"digits.example"  # by which visitors know the proxy


async def start_proxy(port: int, *, strips: bool) -> asyncio.Server:
    """Serve /draw/ of a server on a port, as nginx does: it passes its own name on, and takes the path off or not."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if strips:
            head = re.sub(rb"^(\w+) /draw/", rb"\1 /", head)
        head = re.sub(rb"(?i)\r\nHost: [^\r]+", b"\r\nHost: " + NAME, head)
        upstream, out = await asyncio.open_connection("127.0.0.1", port)
        out.write(head)
        await asyncio.gather(copy(reader, out), copy(upstream, writer), return_exceptions=True)

    return await asyncio.start_server(serve_one, "127.0.0.1", 0)


async def visit(port: int, *, strips: bool) -> str:
    """Return what the pad says to a visitor who comes through a proxy, after every file of the page was fetched."""
    proxy = await start_proxy(port, strips=strips)
    async with proxy:
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}/draw/"
        html = await asyncio.to_thread(lambda: urllib.request.urlopen(address, timeout=60).read().decode())
        files = set(re.findall(r"""["'](/[^"'\s]+\.(?:js|css))["'?]""", html))
        assert files
        for name in files:
            assert name.startswith("/draw/")
            at = address.removesuffix("/draw/") + name
            status = await asyncio.to_thread(lambda at=at: urllib.request.urlopen(at, timeout=60).status)
            assert status == 200
        visitor = Visitor(address)
        await visitor.arrive()
        caption = visitor.caption
        await visitor.leave()
        return caption


def test_the_page_draws_under_a_path_whether_the_proxy_takes_it_off_or_not():
    with running_page("--base-url", "draw") as (_, address):
        assert address.endswith("/draw/")
        port = int(re.search(r":(\d+)/", address)[1])
        for strips in (True, False):
            assert "Draw a digit or a number" in asyncio.run(visit(port, strips=strips))


@pytest.mark.parametrize("base_url", ["https://example.org/draw", "/draw?x=1", "/dr aw"])
def test_a_base_url_that_is_no_path_is_refused(base_url: str):
    with pytest.raises(PageError, match="give the path alone, such as --base-url /draw/"):
        serve(base_url=base_url, open_browser=False)


def test_the_link_has_the_path():
    assert page_address("127.0.0.1", 80, path="/draw/", token="t") == "http://127.0.0.1:80/draw/?token=t"


UNKNOWN_USER = """
import os, pwd
def nobody(uid): raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = nobody
os.environ.pop("HOME", None)
"""


@pytest.mark.parametrize("user", ["with a home that cannot be made", "unknown and without HOME"])
def test_the_page_draws_where_the_home_cannot_be_written(user: str, tmp_path: Path):
    async def caption(address: str) -> str:
        visitor = Visitor(address)
        await visitor.arrive()
        await visitor.leave()
        return visitor.caption

    if user.startswith("unknown"):
        (tmp_path / "sitecustomize.py").write_text(UNKNOWN_USER)
    python_path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with running_page(HOME="/proc/nowhere", XDG_DATA_HOME="", PYTHONPATH=python_path) as (_, address):
        assert "Draw a digit or a number" in asyncio.run(caption(address))
