"""The page's web server. Imported only when a page is served, because Voila takes a second to import.

Of all that Voila and Jupyter Server offer, only what the page fetches is served: the page itself, the scripts and
styles of the front end, and a filtered connection to the visitor's own kernel.
"""

import functools
import html
import logging
import re
import string
from pathlib import Path
from typing import Any

import tornado.httputil
import tornado.ioloop
import tornado.iostream
import tornado.web
import tornado.websocket
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import FileFindHandler
from jupyter_server.services.kernels.handlers import KernelHandler
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from jupyter_server.utils import url_path_join
from voila.app import Voila
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.static_file_handler import MultiStaticFileHandler
from voila.tornado.handler import TornadoVoilaHandler

from digit_utils.serving.log import keep_to_one_line
from digit_utils.serving.message_filter import MAX_MESSAGE_BYTES, PROTOCOL, FilteredConnection
from digit_utils.serving.sessions import SWEEP_SECONDS, Visitors
from digit_utils.serving.voila_adapter import ReportingKernels

BASE_TEMPLATE = "lab"  # of Voila, whose styles and scripts the page uses
MAX_BODY_BYTES = 4096  # of a request; a page that is left sends an empty one
MAX_REQUEST_SECONDS = 10  # until a request's headers have come, and until its body has; also between two requests
MAX_UNSENT_BYTES = 4_000_000  # that a page has not read; it is sent a few kilobytes at a time
PING_SECONDS = 20  # between two pings to a page; after three without an answer its connection is closed
KERNEL_ID = r"(?P<kernel_id>\w+-\w+-\w+-\w+-\w+)"
SESSION_ID = r"[\w-]{1,64}"
HASHED_NAME = re.compile(r"\.[0-9a-f]{8,}\.js$")  # of a file whose contents never change under this name
HERE = Path(__file__).parent
SECURITY_HEADERS = {
    # The page's own scripts and styles are inline, the front end compiles its schemas; nothing comes from elsewhere.
    "Content-Security-Policy": "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

FULL = ("The page is full", "Keep this page open: it tries again every ten seconds.")
NO_TOKEN = ("This link is incomplete", "Open the complete link, or scan the QR code on the other screen.")
EMBEDDED = ("Open the page by itself", 'It cannot be part of another page. <a href="/">Open the drawing page</a>.')
NOT_FOUND = ("Page not found", 'Go to <a href="/">the drawing page</a>.')
BROKEN = ("Something went wrong", "The error is on our side. Reload the page to try again.")


def notice(title: str, text: str, *, refresh: int | None = None) -> str:
    """Return a whole page with one message; with `refresh` it reloads itself after so many seconds."""
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    template = string.Template((HERE / "notice.html").read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), text=text, again=again)


class _Notices:
    """Reports an error to a visitor in one sentence, without details of the server."""

    def write_error(self, status_code: int, **_) -> None:
        """Write a notice in place of the page that was asked for."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        title, text = BROKEN if status_code >= 500 else NOT_FOUND
        self.finish(notice(title, text.replace('href="/"', f'href="{html.escape(self.settings["base_url"])}"')))


class ExtensionFiles(_Notices, FileFindHandler):
    """The scripts of the widgets and the canvas."""

    def set_headers(self) -> None:
        """Let browsers keep, without asking again, what has a hash in its name."""
        super().set_headers()
        if HASHED_NAME.search(self.request.path):
            self.set_header("Cache-Control", "public, max-age=31536000, immutable")


def is_opened(headers: tornado.httputil.HTTPHeaders) -> bool:
    """Tell from a request's Fetch Metadata whether somebody opens the page, rather than a page embeds or prefetches it.

    Otherwise a few images on another site could take all places. Old browsers say nothing of the kind, nor does any
    browser to an address without https that is not loopback; where others can come, the token keeps strangers out.
    """
    if "prefetch" in headers.get("Sec-Purpose", ""):
        return False
    if headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        return True
    return headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"


class DrawingPage(_Notices, TornadoVoilaHandler):
    """The page: a kernel for the visitor, and the pad. Or a notice why there is none."""

    SUPPORTED_METHODS = ("GET",)

    @allow_unauthenticated  # so that a missing token gets a notice of its own
    async def get(self, path: str = "") -> None:
        """Make a page for a new visitor."""
        visitors: Visitors = self.settings["visitors"]
        if self.current_user is None:
            self._refuse(403, notice(*NO_TOKEN))
        elif not is_opened(self.request.headers):
            self._refuse(403, notice(*EMBEDDED))
        elif path or self.get_argument("theme", None):  # the page's own switch does that without asking
            raise tornado.web.HTTPError(404)
        elif visitors.is_full():
            self.set_header("Retry-After", "10")
            self._refuse(503, notice(*FULL, refresh=10))
        else:
            with visitors.arriving() as self._got_kernel:
                await super().kernel_manager.renew_pool()
                await super().get(path)

    @property
    def kernel_manager(self) -> Any:
        """The kernels; the one that this page gets is reported to the list of visitors."""
        return ReportingKernels(super().kernel_manager, on_kernel=self._got_kernel)

    def _refuse(self, status: int, page: str) -> None:
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(page)


class VisitorWebsocket(_Notices, KernelWebsocketHandler):
    """Connects a page to its kernel through the message filter, and sends every message at once.

    By default the operating system holds a small message back until the one before it is acknowledged (Nagle's
    algorithm), and the browser acknowledges late when it has nothing to send: the end of a stroke came 40 ms late.
    """

    async def pre_get(self) -> None:
        """Find the kernel; answer 404 when it is gone."""
        if not self._is_handshake() or not re.fullmatch(SESSION_ID, self.get_argument("session_id", "")):
            raise tornado.web.HTTPError(400)
        if self.kernel_id not in self.kernel_manager:
            raise tornado.web.HTTPError(404)
        await super().pre_get()

    def _is_handshake(self) -> bool:
        # Tornado looks at these, too, but after Jupyter has noted the connection as open. An older protocol than ours
        # the filter would not understand.
        headers = self.request.headers
        return (
            headers.get("Upgrade", "").lower() == "websocket"
            and "upgrade" in headers.get("Connection", "").lower()
            and headers.get("Sec-WebSocket-Version") == "13"
            and bool(headers.get("Sec-WebSocket-Key"))
            and PROTOCOL in headers.get("Sec-WebSocket-Protocol", "")
            and self.check_origin()
        )

    def check_origin(self, origin: str | None = None) -> bool:
        """Tell whether the page that connects is ours."""
        try:
            return super().check_origin(origin)
        except ValueError:  # an address that is none
            return False

    async def open(self, kernel_id: str) -> None:
        """Connect a page to its kernel."""
        self.ws_connection.stream.max_write_buffer_size = MAX_UNSENT_BYTES
        self.settings["visitors"].connected(kernel_id, self)
        self.set_nodelay(True)
        await super().open(kernel_id)

    def write_message(self, message: bytes | str, binary: bool = False) -> Any:
        """Send a message, or cut off a page that does not read: a browser that falls behind connects again."""
        try:
            sent = super().write_message(message, binary)
        except tornado.iostream.StreamBufferFullError:
            return self.cut_off()
        except tornado.websocket.WebSocketClosedError:  # the kernel has not heard of it yet
            return None
        sent.add_done_callback(lambda sent: sent.cancelled() or sent.exception())  # a page that left is no error
        return sent

    def cut_off(self) -> None:
        """Close the connection at once, with all that has not been sent."""
        if self.ws_connection is not None:
            self.ws_connection.stream.close()

    def on_message(self, ws_message: str | bytes) -> None:
        """Receive a message of the page."""
        self.settings["visitors"].used(self.kernel_id)
        super().on_message(ws_message)

    def on_close(self) -> None:
        """Note that the page has disconnected."""
        self.settings["visitors"].disconnected(self.kernel_id, self)
        if getattr(self, "connection", None) is not None:
            super().on_close()


class KernelState(_Notices, KernelHandler):
    """Tells a page whether its kernel is there. Kernels can be neither listed nor made, restarted or deleted."""

    SUPPORTED_METHODS = ("GET",)


class Leave(_Notices, VoilaShutdownKernelHandler):
    """Ends the kernel of a page that is being left.

    A browser sends this last request without custom headers, so it cannot carry the token against forged requests.
    It needs none: a forger would have to know the id of the visitor's kernel.
    """

    SUPPORTED_METHODS = ("POST",)

    def check_xsrf_cookie(self) -> None:
        """Skip the check; see above."""

    @tornado.web.authenticated
    async def post(self, kernel_id: str) -> None:
        """End the kernel; the answer does not tell whether it was there."""
        self.set_status(204)
        self.finish()
        await self.settings["visitors"].end(kernel_id)


class DrawingServer(Voila):
    """Voila reduced to the drawing page and what it fetches."""

    visitors_limit = 1  # how many may be there at once
    extensions: tuple[str, ...] = ()  # of the front end, whose files may be fetched

    def setup_template_dirs(self) -> None:
        """Put the page's template, which lies beside this module, before those of Voila."""
        super().setup_template_dirs()
        self.template_paths = [str(HERE), *self.template_paths]

    def init_settings(self) -> dict[str, Any]:
        """Return the settings of the web application: a filter for each connection, a limit on visitors."""
        settings = super().init_settings()
        self.visitors = Visitors(self.kernel_manager, limit=self.visitors_limit)
        # Tornado takes Jupyter's milliseconds between pings for seconds, and logs a warning about them.
        logging.getLogger("tornado.general").setLevel(logging.ERROR)
        keep_to_one_line(self.log)
        sweep = tornado.ioloop.PeriodicCallback(self.visitors.sweep, SWEEP_SECONDS * 1000)
        sweep.start()
        return settings | {
            "visitors": self.visitors,
            "sweep": sweep,
            "kernel_websocket_connection_class": FilteredConnection,
            "websocket_max_message_size": 4 * MAX_MESSAGE_BYTES,  # beyond that the connection is closed
            "ws_ping_interval": PING_SECONDS * 1000,
            "ws_ping_timeout": 3 * PING_SECONDS * 1000,
            "headers": SECURITY_HEADERS,
            "log_function": lambda handler: None,
            "compress_response": True,
        }

    def init_handlers(self) -> list[Any]:
        """Return what can be fetched: the part of Voila's own list that the page needs.

        With a base URL, at that path and at the root: a reverse proxy may pass the path on, or take it off.
        """
        prefixes = dict.fromkeys((self.server_url, "/"))
        return [handler for prefix in prefixes for handler in self._handlers_at(prefix)]

    def _handlers_at(self, prefix: str) -> list[Any]:
        at = functools.partial(url_path_join, prefix)
        page = {
            "notebook_path": Path(self.notebook_path).relative_to(self.root_dir).as_posix(),
            "template_paths": self.template_paths,
            "config": self.config,
            "voila_configuration": self.voila_configuration,
        }
        extensions, static = "|".join(self.extensions), {"paths": self.static_paths}
        return [
            (at(rf"/api/kernels/{KERNEL_ID}"), KernelState),
            (at(rf"/api/kernels/{KERNEL_ID}/channels"), VisitorWebsocket),
            (at(rf"/voila/api/shutdown/{KERNEL_ID}"), Leave),
            (at(rf"/voila/templates/{BASE_TEMPLATE}/static/(.*)"), MultiStaticFileHandler, static),
            (at(r"/voila/static/(.*)"), MultiStaticFileHandler, static),
            (at(rf"/voila/labextensions/((?:{extensions})/.*)"), ExtensionFiles, {"path": self.labextensions_path}),
            (at(r"/(.*)"), DrawingPage, page),
        ]

    def listen(self) -> None:
        """Listen until stopped; refuse requests that are larger or slower than any of the page's."""
        limits = {
            "max_body_size": MAX_BODY_BYTES,
            "idle_connection_timeout": MAX_REQUEST_SECONDS,
            "body_timeout": MAX_REQUEST_SECONDS,
        }
        self.app.listen = functools.partial(self.app.listen, **limits)
        super().listen()
