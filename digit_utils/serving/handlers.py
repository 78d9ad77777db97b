"""Voila as the drawing page needs it. Imported only when a page is served, because Voila takes a second to import.

Of all that Voila and Jupyter's server offer, only what the page fetches is served: the page itself, the scripts and
styles of the front end, and a guarded connection to the visitor's own kernel. Everything else is not there.
"""

import asyncio
import functools
import html
import logging
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tornado.ioloop
import tornado.web
from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import allow_unauthenticated
from jupyter_server.base.handlers import FileFindHandler
from jupyter_server.services.kernels.handlers import KernelHandler, _kernel_id_regex
from jupyter_server.services.kernels.websocket import KernelWebsocketHandler
from jupyter_server.utils import url_path_join
from voila.app import Voila
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.static_file_handler import MultiStaticFileHandler, TemplateStaticFileHandler
from voila.tornado.handler import TornadoVoilaHandler

from digit_utils.serving.message_filter import LARGEST_MESSAGE, PROTOCOL, GuardedConnection
from digit_utils.serving.sessions import SWEEP_SECONDS, Visitors

TRIES = 4  # kernels, more than wait at once, that turn out to be of no use before a visitor is told that there is none
LARGEST_BODY = 4096  # bytes of a request; a page that is left sends an empty one
PING_SECONDS = 20  # between two questions to a page whether it is still there; three without an answer, and it is not
NOTICE = Path(__file__).with_name("notice.html")
SECURITY_HEADERS = {
    # The page's own scripts and styles are inline, the front end compiles its schemas; nothing comes from elsewhere.
    "Content-Security-Policy": "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; connect-src 'self' blob: data:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

FULL = (
    "The page is full",
    "Everybody who fits is drawing. Stay here: this page tries again by itself, every ten seconds.",
)
NO_TOKEN = ("This link is not whole", "The page opens with the complete link, or with the QR code on the other screen.")
NOT_FOUND = ("There is nothing here", 'Go to <a href="/">the drawing page</a>.')
BROKEN = ("Something went wrong", "That was our mistake. Reload the page to try again.")

_log = logging.getLogger(__name__)


def notice(title: str, text: str, *, refresh: int | None = None) -> str:
    """Return a whole page that says one thing; with `refresh` it loads itself again after so many seconds."""
    again = f'<meta http-equiv="refresh" content="{refresh}">' if refresh else ""
    template = string.Template(NOTICE.read_text(encoding="utf-8"))
    return template.substitute(title=html.escape(title), text=text, again=again)


class _PoliteErrors:
    """Tells a visitor of an error in one sentence, without anything about the inside."""

    def write_error(self, status_code: int, **_) -> None:
        """Write a notice in place of the page that was asked for."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(notice(*(BROKEN if status_code >= 500 else NOT_FOUND)))


class _PlainPaths(_PoliteErrors):
    """Serves files of the front end; a path that climbs leads nowhere, before anybody resolves it."""

    def prepare(self) -> object:
        """Turn away what climbs."""
        if any(part in ("", ".", "..") for path in self.path_args for part in path.replace("\\", "/").split("/")):
            raise tornado.web.HTTPError(404)
        return super().prepare()


class TemplateFiles(_PlainPaths, TemplateStaticFileHandler):
    """The template's styles and scripts."""


class StaticFiles(_PlainPaths, MultiStaticFileHandler):
    """Voila's scripts."""


class ExtensionFiles(_PlainPaths, FileFindHandler):
    """The scripts of the widgets and the canvas."""


class _Kernels:
    """A kernel manager that tells which kernel it hands out, as soon as it knows."""

    def __init__(self, kernels: Any, *, told: Callable[[str], None]):
        self._kernels, self._told = kernels, told

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernels, name)

    async def get_rendered_notebook(self, **options) -> Any:
        """Hand out a kernel that has waited for a visitor, and is still of use. Raises HTTPError when none is."""
        for _ in range(TRIES):
            try:
                task, cells, kernel_id = await self._kernels.get_rendered_notebook(**options)
            except Exception:
                # Voila has taken it out of its pool all the same, and fills that up only after a success.
                _log.warning("a kernel could not be started ahead", exc_info=True)
                self._kernels.fill_if_needed(delay=0, **options)
                continue
            if await self._is_of_use(task, kernel_id):
                self._told(kernel_id)
                return task, cells, kernel_id
            await self._discard(task, kernel_id)
        raise tornado.web.HTTPError(503)

    async def start_kernel(self, **options) -> str:
        """Start a kernel, because none has waited."""
        kernel_id = await ensure_async(self._kernels.start_kernel(**options))
        self._told(kernel_id)
        return kernel_id

    async def _is_of_use(self, task: asyncio.Task, kernel_id: str) -> bool:
        """Tell whether a kernel lives and its page has not failed; one still in the making is sent piece by piece."""
        if task.done() and (task.cancelled() or task.exception() is not None):
            return False
        return kernel_id in self._kernels and await ensure_async(self._kernels.get_kernel(kernel_id).is_alive())

    async def _discard(self, task: asyncio.Task, kernel_id: str) -> None:
        """End a kernel that is of no use. Whatever keeps it from ending does not keep the visitor waiting."""
        failure = task.exception() if task.done() and not task.cancelled() else None
        _log.warning("a kernel that waited for a visitor was of no use", exc_info=failure)
        task.cancel()
        try:
            if kernel_id in self._kernels:
                await self._kernels.end_kernel(kernel_id)
        except Exception:
            _log.warning("a kernel could not be ended", exc_info=True)


class DrawingPage(_PoliteErrors, TornadoVoilaHandler):
    """The page: a kernel for the visitor, and the pad. Or why there is none."""

    SUPPORTED_METHODS = ("GET",)

    @allow_unauthenticated  # to be told politely what is missing
    async def get(self, path: str = "") -> None:
        """Make a page for a new visitor."""
        visitors: Visitors = self.settings["visitors"]
        if self.current_user is None:
            self._refuse(403, notice(*NO_TOKEN))
        elif path or self.get_argument("theme", "light") not in ("light", "dark"):
            raise tornado.web.HTTPError(404)
        elif visitors.is_full():
            self.set_header("Retry-After", "10")
            self._refuse(503, notice(*FULL, refresh=10))
        else:
            with visitors.arriving() as got:
                self._got = got
                await super().get(path)

    @property
    def kernel_manager(self) -> Any:
        """The kernels, of which the one that this page gets is told to the visitors' list."""
        return _Kernels(super().kernel_manager, told=self._got)

    def _refuse(self, status: int, page: str) -> None:
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.finish(page)


class VisitorsWebsocket(_PoliteErrors, KernelWebsocketHandler):
    """Connects a page to its kernel, through a guard, and sends every message at once.

    By default the operating system holds a small message back until the one before it is acknowledged (Nagle's
    algorithm), and the browser acknowledges late when it has nothing to say: the end of a stroke came 40 ms late.
    """

    async def pre_get(self) -> None:
        """Find the kernel; a page whose kernel is gone is told so by a plain "not found"."""
        if PROTOCOL not in self.request.headers.get("Sec-WebSocket-Protocol", ""):
            raise tornado.web.HTTPError(400)  # an older one, in which the guard would not find its way
        if self.kernel_id not in self.kernel_manager:
            raise tornado.web.HTTPError(404)
        await super().pre_get()

    async def open(self, kernel_id: str) -> None:
        """Connect a page to its kernel."""
        self.settings["visitors"].connected(kernel_id, self)
        self.set_nodelay(True)
        await super().open(kernel_id)

    def on_message(self, ws_message: str | bytes) -> None:
        """Take in one message of the page."""
        self.settings["visitors"].gave_sign(self.kernel_id)
        super().on_message(ws_message)

    def on_close(self) -> None:
        """Note that the page is gone."""
        self.settings["visitors"].disconnected(self.kernel_id, self)
        if getattr(self, "connection", None) is not None:
            super().on_close()


class KernelState(_PoliteErrors, KernelHandler):
    """Tells a page whether its kernel is there. Kernels can be neither listed nor made, restarted or deleted."""

    SUPPORTED_METHODS = ("GET",)


class Leave(_PoliteErrors, VoilaShutdownKernelHandler):
    """Ends the kernel of a page that is being left.

    A browser sends this last word without headers of its own, so it cannot bring the token against forged requests.
    It needs none: a forger would have to know the id of the visitor's kernel.
    """

    SUPPORTED_METHODS = ("POST",)

    def check_xsrf_cookie(self) -> None:
        """Do without; see above."""

    @tornado.web.authenticated
    async def post(self, kernel_id: str) -> None:
        """End the kernel; say nothing about whether it was there."""
        self.set_status(204)
        self.finish()
        await self.settings["visitors"].end(kernel_id)


class DrawingServer(Voila):
    """Voila, of which only the drawing page and what it fetches can be reached."""

    visitors_limit = 1  # how many may be there at once
    extensions: tuple[str, ...] = ()  # of the front end, whose files may be fetched

    def init_settings(self) -> dict[str, Any]:
        """Return the settings of the web application, with a guard at each connection and a limit for visitors."""
        settings = super().init_settings()
        self.visitors = Visitors(self.kernel_manager, limit=self.visitors_limit)
        # Tornado takes Jupyter's milliseconds between pings for seconds, and warns of what it then thinks of them.
        logging.getLogger("tornado.general").setLevel(logging.ERROR)
        sweep = tornado.ioloop.PeriodicCallback(self.visitors.sweep, SWEEP_SECONDS * 1000)
        sweep.start()
        return settings | {
            "visitors": self.visitors,
            "sweep": sweep,
            "kernel_websocket_connection_class": GuardedConnection,
            "websocket_max_message_size": 4 * LARGEST_MESSAGE,  # beyond that the connection is closed
            "ws_ping_interval": PING_SECONDS * 1000,
            "ws_ping_timeout": 3 * PING_SECONDS * 1000,
            "headers": SECURITY_HEADERS,
            "log_function": lambda handler: None,
        }

    def init_handlers(self) -> list[Any]:
        """Return what can be fetched. Compare Voila's own list: what it has beyond this one no page needs."""
        at = functools.partial(url_path_join, self.server_url)
        extensions = "|".join(self.extensions)
        return [
            (at(rf"/api/kernels/{_kernel_id_regex}"), KernelState),
            (at(rf"/api/kernels/{_kernel_id_regex}/channels"), VisitorsWebsocket),
            (at(rf"/voila/api/shutdown/{_kernel_id_regex}"), Leave),
            (at(rf"/voila/templates/({self.voila_configuration.template}/static/.*)"), TemplateFiles),
            (at(r"/voila/static/(.*)"), StaticFiles, {"paths": self.static_paths}),
            (at(rf"/voila/labextensions/((?:{extensions})/.*)"), ExtensionFiles, {"path": self.labextensions_path}),
            (at(r"/(.*)"), DrawingPage, self._page_options()),
        ]

    def _page_options(self) -> dict[str, Any]:
        return {
            "notebook_path": Path(self.notebook_path).relative_to(self.root_dir).as_posix(),
            "template_paths": self.template_paths,
            "config": self.config,
            "voila_configuration": self.voila_configuration,
        }

    def listen(self) -> None:
        """Listen, and refuse requests that are larger than any of the page's."""
        self.app.listen = functools.partial(self.app.listen, max_body_size=LARGEST_BODY)
        super().listen()
