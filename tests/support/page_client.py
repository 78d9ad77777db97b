"""A visitor of the drawing page without a browser: fetches the page and draws over a real websocket, as a browser does.

For the benchmarks and for the tests of the server. It speaks the kernel protocol of Jupyter's front end, so what it
may do, a visitor with bad intentions may do, too.
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import psutil
import websockets

from digit_utils.pad.view import BLANK

PROTOCOL = "v1.kernel.websocket.jupyter.org"
DRAW = "import sys; from digit_utils.cli import main; sys.exit(main())"
SECONDS_BETWEEN_BATCHES = 0.05  # as in the ink layer's script
KERNEL_ID = re.compile(r'"kernelId": ?"([^"]+)"')


@contextlib.contextmanager
def running_page(*options: str, **environment: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Run `digits draw --no-browser` in a process of its own; yield the process and the link that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRAW, "draw", "--no-browser", *options],
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
    )
    try:
        first = process.stdout.readline()
        if not first.startswith("Draw at http"):
            raise RuntimeError(f"the page did not start: {first!r}")
        yield process, first.split()[2]
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)
        process.stdout.close()


def kernel_process(server: subprocess.Popen, kernel_id: str) -> psutil.Process:
    """Return the process that is a visitor's kernel: it has the kernel's sockets open, or its file among its arguments.

    Where kernels are forked, a process with that file only asks for one; it has no sockets of that name.
    """
    running = psutil.Process(server.pid).children(recursive=True)
    listening = [one for one in running if any(kernel_id in at.laddr for at in _sockets(one))]
    (kernel,) = listening or [one for one in running if kernel_id in " ".join(one.cmdline())]
    return kernel


def _sockets(process: psutil.Process) -> list:
    ask = getattr(process, "net_connections", None) or process.connections  # its name before psutil 6, which Colab has
    return ask("unix")


def packed(
    kind: str,
    content: dict,
    *,
    channel: str = "shell",
    session: str = "",
    msg_id: str | None = None,
    buffers: Sequence[bytes] = (),
) -> bytes:
    """Return a message of the kernel protocol as a browser sends it."""
    header = {
        "msg_id": msg_id or uuid.uuid4().hex,
        "msg_type": kind,
        "session": session,
        "username": "",
        "version": "5.2",
        "date": datetime.now(UTC).isoformat(),
    }
    metadata = {"version": "1.0.0"}  # of the widgets' protocol
    parts = [channel.encode(), *(json.dumps(part).encode() for part in (header, {}, metadata, content)), *buffers]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return b"".join([len(offsets).to_bytes(8, "little"), *(value.to_bytes(8, "little") for value in offsets), *parts])


def unpacked(message: bytes) -> tuple[dict, dict, dict]:
    """Return header, parent header and content of a message of the kernel protocol."""
    count = int.from_bytes(message[:8], "little")
    offsets = [int.from_bytes(message[8 * index : 8 * index + 8], "little") for index in range(1, count + 1)]
    parts = [message[start:stop] for start, stop in itertools.pairwise(offsets)]
    return json.loads(parts[1]), json.loads(parts[2]), json.loads(parts[4])


class Visitor:
    """One visitor: a page, its websocket, and what the pad has shown."""

    def __init__(self, address: str, *, quiet: bool = False):
        """Prepare a visit; `quiet` listens to nothing but what is shown."""
        self.quiet = quiet
        self.address, _, self.query = address.partition("?")
        self.session = uuid.uuid4().hex
        self.kernel_id = ""
        self.canvas = ""  # id of the widget that takes keys
        self.layer = ""  # id of the widget to draw on
        self.received: list[tuple[str, dict, dict]] = []  # the newest that came: type, parent header, content
        self.shown: list[tuple[float, str]] = []  # when the caption was set, and to what
        self.last_change = 0.0  # when the answer, the picture or the bars changed last (time.perf_counter())
        self._strokes = itertools.count()
        self._names: dict[str, str] = {}  # of widgets by their id: the first class of their element
        self._listener: asyncio.Task | None = None
        self._changed = asyncio.Event()

    async def arrive(self) -> "Visitor":
        """Fetch the page, connect, and find the pad's widgets, as the page's scripts do."""
        page = await asyncio.to_thread(self._fetch)
        self.kernel_id = KERNEL_ID.search(page)[1]
        await self.connect()
        comm = uuid.uuid4().hex
        await self.send("kernel_info_request", {})
        control = {"comm_id": comm, "target_name": "jupyter.widget.control", "data": {}}
        await self.send("comm_open", control)
        await self.send("comm_msg", {"comm_id": comm, "data": {"method": "request_states"}})
        await self.until(lambda: self.canvas and self.layer, what="the state of the widgets")
        await self.event("client_ready")
        return self

    def _fetch(self) -> str:
        with urllib.request.urlopen(f"{self.address}?{self.query}", timeout=120) as answer:
            return answer.read().decode()

    async def connect(self) -> None:
        """Open the websocket to the visitor's kernel."""
        host = self.address.removeprefix("http")
        address = f"ws{host}api/kernels/{self.kernel_id}/channels?session_id={self.session}&{self.query}"
        self.socket = await websockets.connect(
            address, subprotocols=[PROTOCOL], max_size=None, open_timeout=60, ping_interval=None
        )
        self._listener = asyncio.create_task(self._listen())

    async def leave(self) -> None:
        """Close the websocket."""
        await self.socket.close()
        if self._listener is not None:
            await self._listener

    async def send(self, kind: str, content: dict, **options) -> None:
        """Send any message."""
        await self.socket.send(packed(kind, content, session=self.session, **options))

    async def clear(self) -> None:
        """Take a new sheet, by its key."""
        await self.event("key_down", key="Escape", shift_key=False, ctrl_key=False, meta_key=False)
        await self.until(lambda: self.caption == BLANK.caption, what="a clear sheet")

    async def event(self, event: str, **content) -> None:
        """Send an event of the canvas."""
        data = {"method": "custom", "content": {"event": event, **content}}
        await self.send("comm_msg", {"comm_id": self.canvas, "data": data})

    async def draw(self, strokes, *, side: float = 800, seconds_between_events: float = 0.0) -> float:
        """Draw strokes on a sheet of side 1 as the ink layer does; return when the last point was sent."""
        for stroke in strokes:
            points, sent = (stroke * side).round(2).tolist(), 0
            number, due = next(self._strokes), time.perf_counter() + SECONDS_BETWEEN_BATCHES
            for count in range(1, len(points) + 1):
                await asyncio.sleep(seconds_between_events)
                is_last = count == len(points)
                if is_last or time.perf_counter() >= due:
                    await self.ink(number, points[sent:count], start=sent, end="lift" if is_last else None)
                    sent, due = count, time.perf_counter() + SECONDS_BETWEEN_BATCHES
        return time.perf_counter()

    async def ink(self, stroke: int, points: list[list[float]], *, start: int, end: str | None) -> None:
        """Send some points of a stroke."""
        flat = list(itertools.chain.from_iterable(points))
        content = {"kind": "ink", "view": self.session, "stroke": stroke, "start": start, "points": flat, "end": end}
        await self.send("comm_msg", {"comm_id": self.layer, "data": {"method": "custom", "content": content}})

    @property
    def caption(self) -> str:
        """What the pad says now."""
        return self.shown[-1][1] if self.shown else ""

    async def until(self, condition, *, what: str, seconds: float = 60.0) -> None:
        """Wait until something has been received."""
        end = time.monotonic() + seconds
        while not condition():
            self._changed.clear()
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), 0.2)

    async def _listen(self) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            async for message in self.socket:
                # Thirty visitors share a machine with the server: the tidings that nobody asks about are not unpacked.
                if self._is_news(message):
                    self._take_in(*unpacked(message))

    def _is_news(self, message: bytes) -> bool:
        return b'"msg_type": "status"' not in message and (not self.quiet or b'"method": "update' in message)

    def _take_in(self, header: dict, parent: dict, content: dict) -> None:
        kind = header["msg_type"]
        self.received.append((kind, parent, content))
        del self.received[:-1000]
        data = content.get("data", {})
        if data.get("method") == "update_states":
            self._find_widgets(data["states"])
        elif data.get("method") == "update":
            self._note_change(self._names.get(content["comm_id"]), data["state"].get("value"))
        self._changed.set()

    def _note_change(self, name: str | None, value: str | None) -> None:
        if name in ("digit-pad-caption", "digit-pad-tiles"):
            self.last_change = time.perf_counter()
        if name == "digit-pad-caption" and value is not None:
            self.shown.append((self.last_change, value))

    def _find_widgets(self, states: dict) -> None:
        for model_id, about in states.items():
            state = about["state"]
            if state.get("_model_name") == "CanvasModel":
                self.canvas = model_id
            if state.get("_model_module") == "anywidget":
                self.layer = model_id
            for name in state.get("_dom_classes", []):
                self._names.setdefault(model_id, name)
            if "digit-pad-caption" in state.get("_dom_classes", []):
                self.shown.append((time.perf_counter(), state["value"]))
