"""What a visitor with bad intentions can do on the drawing page: draw. Tried on a real server, over real websockets."""

import asyncio
import http.client
import json
import os
import re
import select
import socket
import sys
import time
from urllib.parse import urlsplit

import cv2
import numpy as np
import psutil
import pytest
import websockets

from digit_utils.datasets.drawings import LabelledDrawing, append_drawing, read_drawings
from digit_utils.datasets.samples import sample_digits
from digit_utils.serving.handlers import MAX_REQUEST_SECONDS, is_opened
from digit_utils.serving.message_filter import (
    ALL_STATES,
    BURST_PICTURES,
    BURST_STATES,
    MAX_MESSAGE_BYTES,
    PICTURES_PER_SECOND,
)
from digit_utils.serving.sessions import ENDED
from tests.support.page_client import PROTOCOL, Visitor, kernel_process, running_page
from tests.support.pictures import picture_of

SAMPLES = {sample.digit: sample.strokes for sample in sample_digits(side=1.0)}
BLANK = "Draw a digit or a number"


def ask(address: str, path: str, *, method: str = "GET", body: bytes | None = None, **headers: str):
    """Send a request whose path nobody tidies up; return status, headers and body."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        if method == "POST":
            connection.putheader("Content-Length", str(len(body or b"")))
        connection.endheaders(body)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode(errors="replace")
    finally:
        connection.close()


async def is_read(visitor: Visitor, digit: int) -> None:
    """See that a visitor draws a digit and it is read."""
    await visitor.draw(SAMPLES[digit])
    await visitor.until(lambda: re.search(rf"an? {digit}\b", visitor.caption), what=f"the reading of a {digit}")


async def leave(*visitors: Visitor) -> None:
    """Leave the page as a browser does, with a last word, so that there is room for the next test."""
    for visitor in visitors:
        await visitor.leave()
        path = f"/voila/api/shutdown/{visitor.kernel_id}?{visitor.query}"
        status, _, _ = await asyncio.to_thread(ask, visitor.address, path, method="POST")
        assert status == 204


# ------------------------------------------------------------------------------------ no code, no traceback


@pytest.mark.parametrize("channel", ["shell", "control"])
def test_a_visitor_cannot_run_code(server, tmp_path, channel):
    async def attack():
        visitor = await Visitor(server).arrive()
        written = tmp_path / "written"
        code = {"code": f"open({str(written)!r}, 'w')", "silent": False, "user_expressions": {"a": code_of(written)}}
        for kind in ("execute_request", "debug_request", "complete_request", "inspect_request", "history_request"):
            await visitor.send(kind, code, channel=channel)
        await is_read(visitor, 4)  # the kernel has had the time
        assert not written.exists()
        assert not {kind for kind, _, _ in visitor.received} & {"execute_reply", "execute_result", "stream", "error"}
        await leave(visitor)

    def code_of(file):
        return f"__import__('pathlib').Path({str(file)!r}).touch()"

    asyncio.run(attack())


def test_a_visitor_sees_no_traceback_whatever_is_sent(server):
    async def attack():
        visitor = await Visitor(server).arrive()
        for content in (
            {"event": "mouse_down"},
            {"event": "mouse_move", "x": {}, "y": [1]},
            {"event": "mouse_down", "x": 10**4000, "y": 1},
            {"event": "mouse_down", "x": "1" * 30_000, "y": 1},
            {"event": "touch_start", "touches": [[1, 2], {"x": 1}, None]},
            {"event": "touch_start", "touches": [{"x": index, "y": 1} for index in range(2000)]},
            {"event": "key_down", "key": None},
            {"event": ["mouse_down"], "x": 1, "y": 1},
            {"nothing": 1},
        ):
            await visitor.send(
                "comm_msg", {"comm_id": visitor.canvas, "data": {"method": "custom", "content": content}}
            )
        update = {"method": "update", "state": {"width": "wide", "nonsense": 1}, "buffer_paths": [["a", 0, "b"]]}
        await visitor.send("comm_msg", {"comm_id": visitor.canvas, "data": update})
        await visitor.send("comm_msg", {"comm_id": "unknown", "data": {"method": "custom", "content": {}}})
        await visitor.event("touch_cancel", touches=[])
        await visitor.event("key_down", key="Escape", shift_key=False, ctrl_key=False, meta_key=False)
        await is_read(visitor, 3)
        assert {kind for kind, _, _ in visitor.received} <= {"comm_msg", "comm_open", "kernel_info_reply"}
        assert "Traceback" not in json.dumps([content for _, _, content in visitor.received])
        await leave(visitor)

    asyncio.run(attack())


def test_malformed_websocket_frames_harm_nobody(server):
    async def attack():
        neighbour = await Visitor(server).arrive()
        visitor = await Visitor(server).arrive()
        for nonsense in (b"\xff" * 8, b"\xff" * 5000, b"", "text", '{"channel": "shell"}', os.urandom(500)):
            await visitor.socket.send(nonsense)
        await visitor.event("mouse_down", x=1, y=1, more="x" * MAX_MESSAGE_BYTES)  # too large: passed over
        await is_read(visitor, 2)
        await visitor.socket.send(b"x" * 2**20)  # far too large: the connection is closed
        await asyncio.wait_for(visitor.socket.wait_closed(), 20)
        await is_read(neighbour, 5)
        await leave(visitor, neighbour)

    asyncio.run(attack())


def test_pictures_are_read_five_at_once_and_then_one_every_two_seconds(server):
    def sent_pictures(visitor):
        return [content for _, _, content in visitor.received if "data:image/jpeg" in json.dumps(content)]

    async def attack():
        visitor = await Visitor(server).arrive()
        page = cv2.cvtColor(picture_of(("47", 150, 300)), cv2.COLOR_RGB2BGR)
        jpeg = cv2.imencode(".jpg", page, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
        assert len(jpeg) < 45_000
        picture = {"comm_id": visitor.layer, "data": {"method": "custom", "content": {"kind": "picture"}}}
        started = time.monotonic()
        for _ in range(40):
            await visitor.send("comm_msg", picture, buffers=[jpeg])
        await visitor.until(lambda: "47" in visitor.caption, what="the reading of a picture")
        await visitor.clear()
        at_most = BURST_PICTURES + PICTURES_PER_SECOND * (time.monotonic() - started)
        assert 1 <= len(sent_pictures(visitor)) <= at_most
        await visitor.send("comm_msg", picture, buffers=[jpeg[:20] + b"\xff" * (MAX_MESSAGE_BYTES - 2_000)])
        await is_read(visitor, 5)
        await leave(visitor)

    asyncio.run(attack())


def test_a_picture_crowded_with_ink_does_not_fill_the_memory():
    dots = np.full((640, 640), 235, np.uint8)
    for row, column in np.ndindex(40, 40):
        dots[16 * row :, 16 * column :][:8, :8] = 30  # one block of a JPEG each
    jpeg = cv2.imencode(".jpg", dots, [cv2.IMWRITE_JPEG_QUALITY, 20])[1].tobytes()
    assert len(jpeg) < MAX_MESSAGE_BYTES - 2_000

    async def attack(process, address):
        visitor = await Visitor(address).arrive()
        kernel = kernel_process(process, visitor.kernel_id)
        picture = {"comm_id": visitor.layer, "data": {"method": "custom", "content": {"kind": "picture"}}}
        for _ in range(2):
            await visitor.send("comm_msg", picture, buffers=[jpeg])
            await visitor.until(lambda: visitor.caption != BLANK, what="the reading of a picture")
            await visitor.clear()
        assert kernel.memory_info().rss < 180e6
        await leave(visitor)

    with running_page() as (process, address):
        asyncio.run(attack(process, address))


def test_the_old_protocol_is_no_way_around_the_guard(server):
    async def attack():
        visitor = await Visitor(server).arrive()
        place = f"ws{server.removeprefix('http')}api/kernels/{visitor.kernel_id}/channels?session_id=other"
        for protocols in (None, ["v0.kernel.websocket.jupyter.org"], ["made.up"]):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(place, subprotocols=protocols)
            assert refused.value.response.status_code == 400
        await is_read(visitor, 6)
        await leave(visitor)

    asyncio.run(attack())


@pytest.mark.slow
def test_thousands_of_strokes_and_a_flood_of_events_slow_no_neighbour(server):
    async def attack():
        neighbour = await Visitor(server).arrive()
        visitor = await Visitor(server).arrive()
        rng = np.random.default_rng(0)
        for x, y in rng.uniform(0, 800, (1500, 2)).tolist():
            await visitor.event("mouse_down", x=x, y=y)
            await visitor.event("mouse_up", x=x, y=y)
        start = time.monotonic()
        await is_read(neighbour, 7)
        assert time.monotonic() - start < 20
        await asyncio.sleep(2)  # the visitor's own kernel works the flood off
        await visitor.event("key_down", key="Escape", shift_key=False, ctrl_key=False, meta_key=False)
        await visitor.until(lambda: visitor.caption == BLANK, what="a clear sheet")
        await is_read(visitor, 0)
        await leave(visitor, neighbour)

    asyncio.run(attack())


# ------------------------------------------------------------------------------------ nothing is exhausted


def test_a_visitor_can_write_into_no_widget(server):
    async def attack():
        visitor = await Visitor(server).arrive()
        for widget in list(visitor._names):
            update = {"method": "update", "state": {"value": "x" * 60_000}, "buffer_paths": []}
            await visitor.send("comm_msg", {"comm_id": widget, "data": update})
            await visitor.send("comm_msg", {"comm_id": widget, "data": {"method": "request_state"}})
        await is_read(visitor, 4)
        assert "xxxx" not in json.dumps([content for _, _, content in visitor.received])
        await leave(visitor)

    asyncio.run(attack())


def test_all_states_are_sent_a_few_times_a_minute_only(server):
    async def attack():
        visitor = await Visitor(server).arrive()
        await visitor.send("comm_open", {"comm_id": "c", "target_name": "jupyter.widget.control", "data": {}})
        for _ in range(50):
            await visitor.send("comm_msg", {"comm_id": "c", "data": {"method": "request_states"}})
        await is_read(visitor, 3)
        answers = [content for _, _, content in visitor.received if content.get("data", {}).get("method")]
        answers = [content for content in answers if content["data"]["method"] == "update_states"]
        assert 2 <= len(answers) <= BURST_STATES / ALL_STATES + 1
        await leave(visitor)

    asyncio.run(attack())


def test_a_visitor_who_reads_nothing_is_cut_off_and_the_server_stays_small(capfd):
    async def attack(address: str) -> None:
        visitor = await Visitor(address).arrive()
        for stroke in range(20):  # a full sheet, which the pad draws anew for each page that says that it is ready
            points = np.random.default_rng(stroke).uniform(0, 800, (1000, 2)).round(1).tolist()
            await visitor.ink(stroke, points, start=0, end="lift")
        visitor._listener.cancel()
        with pytest.raises(websockets.ConnectionClosed):
            await ask_for_drawings(visitor)

    async def ask_for_drawings(visitor: Visitor) -> None:
        for _ in range(6000):
            await visitor.event("client_ready")
            await asyncio.sleep(0.003)

    with running_page() as (process, address):
        server = psutil.Process(process.pid)
        before = server.memory_info().rss
        asyncio.run(attack(address))
        assert server.memory_info().rss - before < 150e6
        asyncio.run(draw_once(address))
    assert "Traceback" not in capfd.readouterr().err


async def draw_once(address: str) -> None:
    """See that a new visitor is served."""
    visitor = await Visitor(address).arrive()
    await is_read(visitor, 7)
    await leave(visitor)


def test_half_open_requests_do_not_stay(server):
    place = urlsplit(server)
    started = [
        b"",
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
    ]
    waiting = []
    for index in range(400):
        waiting.append(socket.create_connection((place.hostname, place.port), timeout=20))
        waiting[-1].sendall(started[index % len(started)])
    end = time.monotonic() + MAX_REQUEST_SECONDS + 10
    try:
        while waiting:
            assert time.monotonic() < end, f"{len(waiting)} connections are still open"
            for one in select.select(waiting, [], [], 1)[0]:
                if not one.recv(4096):
                    one.close()
                    waiting.remove(one)
    finally:
        for one in waiting:
            one.close()


def test_malformed_requests_cost_the_operator_one_line_each_at_most(capfd):
    async def attack(address: str) -> None:
        visitor = await Visitor(address).arrive()
        channels = f"GET /api/kernels/{visitor.kernel_id}/channels?session_id="
        upgrade = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Protocol: {PROTOCOL}\r\n"
        key = "Sec-WebSocket-Key: YWJjZGVmZ2hpamtsbW5vcA==\r\n"
        version = "Sec-WebSocket-Version: 13\r\n"
        for line, headers in (
            ("GET /", "Host: [::1\r\n"),
            ("GET /", "no colon\r\n"),
            ("GET /", "X: " + "a" * 70_000 + "\r\n"),
            ("GET /?theme=%ff", ""),
            ("GET //[", ""),
            ("POST /", "Content-Length: abc\r\n"),
            ("POST /", "Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
            (f"{channels}a", upgrade + version),
            (f"{channels}a", upgrade + version),  # Jupyter has the one before in its books
            (f"{channels}a", upgrade + version + "Sec-WebSocket-Key: \r\n"),
            (f"{channels}a", upgrade + key + "Sec-WebSocket-Version: x\r\n"),
            (f"{channels}a", upgrade + key + version + "Origin: http://[\r\n"),
            (f"{channels}a", upgrade + key + version + "Origin: \x1b[31m\r\n"),
            (f"{channels}{'a' * 400}", upgrade + key + version),
            (f"{channels}%ff%00", upgrade + key + version),
        ):
            host = "" if "Host:" in headers else f"Host: {urlsplit(address).netloc}\r\n"
            request = f"{line} HTTP/1.1\r\n{host}{headers}\r\n".encode("latin-1")
            answer = await asyncio.to_thread(answer_to, address, request)
            assert answer == b"" or re.match(rb"HTTP/1.1 40[0-9] ", answer), (line, headers, answer)
            sent.append(request)
        await is_read(visitor, 5)
        await leave(visitor)

    sent = []
    with running_page() as (_, address):
        asyncio.run(attack(address))
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "\x1b" not in told
    assert len(told.splitlines()) <= len(sent)


def answer_to(address: str, request: bytes) -> bytes:
    """Send bytes; return the beginning of the answer, nothing where the connection is closed without one."""
    place = urlsplit(address)
    with socket.create_connection((place.hostname, place.port), timeout=20) as connection:
        try:
            connection.sendall(request)
            return connection.recv(4096)
        except ConnectionError:
            return b""


# ---------------------------------------------------------------------------- other visitors, other sites


def test_a_visitor_does_not_see_or_touch_the_drawing_of_another(server):
    async def meet():
        one, other = await Visitor(server).arrive(), await Visitor(server).arrive()
        assert one.kernel_id != other.kernel_id
        await is_read(one, 8)
        heard = len(other.received)
        canvas, other.canvas = other.canvas, one.canvas  # one's widget, named on the other's connection
        await other.event("key_down", key="Escape", shift_key=False, ctrl_key=False, meta_key=False)
        other.canvas = canvas
        await is_read(other, 1)
        assert re.search("an 8", one.caption)
        assert "an 8" not in json.dumps([content for _, _, content in other.received[heard:]])
        await leave(one, other)

    asyncio.run(meet())


def test_kernels_cannot_be_listed_made_restarted_or_deleted(server):
    async def attack():
        visitor = await Visitor(server).arrive()
        own = f"/api/kernels/{visitor.kernel_id}"
        for method, path in (
            ("GET", "/api/kernels"),
            ("POST", "/api/kernels"),
            ("POST", f"{own}/restart"),
            ("POST", f"{own}/interrupt"),
            ("DELETE", own),
            ("PUT", own),
            ("OPTIONS", "/api/kernels"),
            ("GET", "/api/sessions"),
            ("GET", "/api/contents"),
            ("GET", "/api/kernelspecs"),
            ("GET", "/api/terminals"),
            ("GET", "/voila/api/contents"),
            ("GET", f"/voila/query/{visitor.kernel_id}"),
            ("GET", f"/voila/execution/{visitor.kernel_id}"),
            ("POST", "/"),
            ("HEAD", "/"),
        ):
            status, _, body = await asyncio.to_thread(ask, server, path, method=method)
            assert status in (403, 404, 405), (method, path, status)
            assert "Traceback" not in body
            assert visitor.kernel_id not in body
        await is_read(visitor, 9)
        await leave(visitor)

    asyncio.run(attack())


def test_another_site_can_neither_connect_nor_end_a_visit(server):
    async def attack():
        visitor = await Visitor(server).arrive()
        channels = f"ws{server.removeprefix('http')}api/kernels/{visitor.kernel_id}/channels?session_id=x"
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(channels, subprotocols=[PROTOCOL], origin="http://evil.example")
        path = f"/voila/api/shutdown/{visitor.kernel_id}"
        status, _, _ = await asyncio.to_thread(ask, server, path, method="POST", Origin="http://evil.example")
        assert status in (403, 404)
        status, _, _ = await asyncio.to_thread(ask, server, path, Origin="http://evil.example")
        assert status == 405
        await is_read(visitor, 4)
        await leave(visitor)

    asyncio.run(attack())


@pytest.mark.parametrize(
    ("expected", "headers"),
    [
        (True, {}),  # an old browser, or an address without https
        (True, {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),
        (True, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}),  # a link
        (True, {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}),
        (False, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        (False, {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        (False, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}),
        (False, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}),
        (False, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}),
        (False, {"Sec-Fetch-Site": "cross-site"}),
        (False, {"Sec-Fetch-Site": "none", "Sec-Purpose": "prefetch;prerender"}),
    ],
)
def test_a_link_opens_the_page_and_nothing_embeds_or_prefetches_it(expected, headers):
    assert is_opened(headers) is expected


def test_images_on_another_site_take_no_places(guarded):
    place = urlsplit(guarded)
    image = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors", "Sec_Fetch_Dest": "image"}
    for _ in range(5):
        status, _, body = ask(guarded, f"/?{place.query}", **image)
        assert status == 403
        assert "kernelId" not in body
    asyncio.run(draw_once(guarded))


def test_the_page_may_load_nothing_from_elsewhere_and_is_framed_by_nobody(server):
    status, headers, body = ask(server, "/")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "connect-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//""", body)


# ---------------------------------------------------------------------------------------------- files


def test_scripts_are_compressed_and_those_with_a_hash_in_their_name_are_kept(server):
    body = ask(server, "/")[2]
    name = re.search(r"static/remoteEntry\.[0-9a-f]{8,}\.js", body)[0]
    extension = re.search(rf'"name": ?"([^"]*)", ?"load": ?"{name}"|"load": ?"{name}", ?"name": ?"([^"]*)"', body)
    path = f"/voila/labextensions/{extension[1] or extension[2]}/{name}"
    whole, compressed = (ask(server, path, Accept_Encoding=coding) for coding in ("identity", "gzip"))
    assert whole[0] == compressed[0] == 200
    assert compressed[1]["Content-Encoding"] == "gzip"
    assert len(compressed[2]) < len(whole[2]) / 2
    assert "immutable" in compressed[1]["Cache-Control"]
    assert "immutable" not in (ask(server, "/voila/static/voila.js")[1]["Cache-Control"] or "")


@pytest.mark.parametrize(
    "path",
    [
        "/voila/files/draw.ipynb",
        "/voila/static/../../../../../../../etc/passwd",
        "/voila/static/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/voila/static/%2e%2e/%2e%2e/conf.json",
        "/voila/static//etc/passwd",
        "/voila/templates/lab/static/../conf.json",
        "/voila/templates/lab/static/..%2findex.html.j2",
        "/voila/templates/lab/index.html.j2",
        "/voila/templates/../static/x",
        "/voila/templates/reveal/static/index.css",
        "/voila/tree",
        "/files/draw.ipynb",
        "/voila/files/%2e%2e/%2e%2e/etc/passwd",
        "/voila/labextensions/ipycanvas/../../../../etc/passwd",
        "/voila/labextensions/ipycanvas/..%2f..%2fkernels%2fdigits%2fkernel.json",
        "/voila/labextensions/jupyterlab_pygments/package.json",
        "/voila/api/themes/",
        "/draw.ipynb",
        "/kernels/digits/kernel.json",
        "/../draw.ipynb",
        "//evil.example/",
        "/login",
        "/logout",
        "/metrics",
        "/static/favicon.ico",
        "/?theme=../../secret",
        "/?theme=%3Cscript%3E",
    ],
)
def test_only_files_of_the_front_end_can_be_fetched(server, path):
    status, headers, body = ask(server, path)
    assert status in (400, 403, 404), status
    assert "Location" not in headers
    for secret in ("root:", "Recognizer", '"argv"', "base_template", "Traceback", "/site-packages/", "<script>"):
        assert secret not in body


# ------------------------------------------------------------------------------------- token, limit, end


def test_without_the_token_there_is_only_a_notice(guarded):
    bare = guarded.split("?")[0]
    for path in ("/", "/?token=", "/?token=wrong", "/?token=" + "a" * 3000):
        status, _, body = ask(bare, path)
        assert status == 403
        assert "complete link" in body
        assert "kernelId" not in body
    some = "00000000-0000-0000-0000-000000000000"
    assert ask(bare, f"/api/kernels/{some}")[0] == 403
    assert ask(bare, f"/api/kernels/{some}/channels")[0] in (400, 403, 404)
    assert ask(bare, f"/voila/api/shutdown/{some}", method="POST")[0] == 403


def test_a_known_kernel_is_of_no_use_without_the_token(guarded):
    async def attack():
        visitor = await Visitor(guarded).arrive()
        channels = f"ws{visitor.address.removeprefix('http')}api/kernels/{visitor.kernel_id}/channels?session_id=x"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(channels, subprotocols=[PROTOCOL])
        assert refused.value.response.status_code == 403
        path = f"/voila/api/shutdown/{visitor.kernel_id}"
        assert (await asyncio.to_thread(ask, visitor.address, path, method="POST"))[0] == 403
        await is_read(visitor, 2)
        await leave(visitor)

    asyncio.run(attack())


@pytest.mark.parametrize(("host", "read_as"), [pytest.param("127.0.0.1", 7, marks=pytest.mark.slow), ("0.0.0.0", 1)])
def test_corrections_of_a_file_are_used_on_this_machine_only_and_new_ones_are_saved_to_it(host, read_as, tmp_path):
    """Where others draw, nobody is read by what another one has said."""
    path = tmp_path / "drawings.jsonl"
    append_drawing(path, LabelledDrawing([stroke * 800 for stroke in SAMPLES[1]], 7, read=1))

    async def visit(address: str) -> None:
        visitor = await Visitor(address).arrive()
        await visitor.draw(SAMPLES[1])
        await visitor.until(lambda: re.search(rf"an? {read_as}\b", visitor.caption), what=f"the reading of a {read_as}")
        await visitor.event("key_down", key="4", shift_key=False, ctrl_key=False, meta_key=False)
        await visitor.until(lambda: re.search(r"an? 4\b", visitor.caption), what="the correction")
        await leave(visitor)

    with running_page("--host", host, "--visitors", "3", "--drawings", str(path)) as (_, link):
        place = urlsplit(link)
        asyncio.run(visit(f"http://127.0.0.1:{place.port}/" + (f"?{place.query}" if place.query else "")))
    drawings, broken = read_drawings(path)
    assert [drawing.digit for drawing in drawings] == [7, 4]
    assert not broken


def test_a_visitor_of_a_full_page_is_asked_to_wait_and_gets_the_next_place(guarded):
    async def crowd():
        visitors = [await Visitor(guarded).arrive() for _ in range(3)]
        place = urlsplit(guarded)
        status, headers, body = await asyncio.to_thread(ask, guarded, f"/?{place.query}")
        assert status == 503
        assert headers["Retry-After"] == "10"
        assert 'http-equiv="refresh"' in body
        assert "The page is full" in body
        await is_read(visitors[0], 3)
        await leave(visitors.pop())
        end = time.monotonic() + 20
        while (await asyncio.to_thread(ask, guarded, f"/?{place.query}"))[0] != 200:
            assert time.monotonic() < end, "a place that became free was not given away"
            await asyncio.sleep(0.5)
        await leave(*visitors)

    asyncio.run(crowd())


@pytest.mark.skipif(os.name != "posix", reason="signals as on POSIX")
def test_when_its_kernel_dies_a_page_is_told_and_a_reload_works():
    async def visit(process, address):
        visitor = await Visitor(address).arrive()
        await is_read(visitor, 5)
        before = time.monotonic()
        kernel_process(process, visitor.kernel_id).kill()
        await asyncio.wait_for(visitor.socket.wait_closed(), 30)
        assert time.monotonic() - before < 30
        assert visitor.socket.close_code == ENDED
        with pytest.raises(websockets.InvalidStatus) as refused:
            await visitor.connect()
        assert refused.value.response.status_code == 404
        again = await Visitor(address).arrive()
        await is_read(again, 6)
        await leave(again)

    with running_page() as (process, address):
        asyncio.run(visit(process, address))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernels are forked on Linux only")
def test_kernels_are_forked_and_started_without_forking_when_the_fork_server_has_died():
    def kernels_of(process) -> list[psutil.Process]:
        return [
            one for one in psutil.Process(process.pid).children(recursive=True) if "--log-level=ERROR" in cmdline(one)
        ]

    def cmdline(process) -> list[str]:
        try:
            return process.cmdline()
        except psutil.Error:
            return []

    async def visit(process, address):
        visitor = await Visitor(address).arrive()
        await is_read(visitor, 7)
        (fork_server,) = (one for one in psutil.Process(process.pid).children() if "serve" in cmdline(one))
        assert fork_server.children(), "the kernel was not forked"
        asking = [one for one in kernels_of(process) if "forked" in cmdline(one)]
        assert asking
        assert asking == kernels_of(process), "a kernel imported for itself"
        fork_server.kill()
        await asyncio.wait_for(visitor.socket.wait_closed(), 30)
        assert visitor.socket.close_code == ENDED
        again = await Visitor(address).arrive()
        await is_read(again, 1)
        assert any("alone" in cmdline(one) for one in kernels_of(process))
        await leave(again)

    with running_page() as (process, address):
        asyncio.run(visit(process, address))


@pytest.mark.slow
def test_the_first_answer_takes_less_than_five_seconds_of_computing():
    """On an idle machine that is an upper bound of the time; on a busy one it can be measured all the same."""

    async def first_answer(address: str) -> None:
        visitor = await Visitor(address).arrive()
        await is_read(visitor, 3)

    with running_page() as (process, address):
        asyncio.run(first_answer(address))
        server = psutil.Process(process.pid)
        spent = sum(sum(one.cpu_times()[:2]) for one in (server, *server.children(recursive=True)))
        assert spent < 5
