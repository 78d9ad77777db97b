"""Voila as the drawing page needs it. Imported only when a page is served, because Voila takes a second to import."""

from typing import Any

from voila.app import Voila
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler


class PromptWebsocket(VoilaKernelWebsocketHandler):
    """Sends every message at once.

    By default the operating system holds a small message back until the one before it is acknowledged (Nagle's
    algorithm), and the browser acknowledges late when it has nothing to say: the end of a stroke came 40 ms late.
    """

    async def open(self, kernel_id: str) -> None:
        """Connect a page to its kernel."""
        await super().open(kernel_id)
        self.set_nodelay(True)


class DrawingServer(Voila):
    """Voila with prompt websockets."""

    def init_handlers(self) -> list[Any]:
        """Return Voila's own handlers, with the websocket's exchanged."""
        handlers = super().init_handlers()
        return [
            (route, PromptWebsocket if handler is VoilaKernelWebsocketHandler else handler, *options)
            for route, handler, *options in handlers
        ]
