"""Lets the widgets' messages pass between a visitor's browser and a kernel, and nothing else.

A kernel runs whatever code it is sent, so its websocket must not be a way to send any. Every message of a browser is
taken apart before it reaches the kernel, and passed on only when the pad's own page could have sent it: it reports an
event, or asks for the state of the widgets. Whatever a kernel sends beyond answers to these, above all errors with
their tracebacks, does not reach the browser.

Jupyter's own `allowed_message_types` is not enough: it looks at the type alone, after a parser that can be made to
count to 2^64, and filters nothing that a kernel sends. `show_tracebacks` concerns the page, not its websocket.
"""

import itertools
import json
import time

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

PROTOCOL = "v1.kernel.websocket.jupyter.org"
MAX_MESSAGE_BYTES = 65_536  # from the browser; a pointer event takes about 400
MAX_OFFSETS = 64  # one for each part of a message; the widgets' messages have five parts, and one for each buffer
MESSAGES_PER_SECOND = 1000.0  # a mouse sends 240 at most, and each finger 120
BURST = 2000  # messages at once, after a quiet time: what was drawn while the network was away
MAX_COMMS = 50  # that one connection may open; a page opens one, and one more each time it connects again

CONTROL_TARGET = "jupyter.widget.control"
# Tuples, not sets: the values looked up in them may be anything that JSON can hold, lists included.
FROM_BROWSER = ("comm_msg", "comm_open", "comm_close", "comm_info_request", "kernel_info_request")
WIDGET_METHODS = ("custom", "update", "request_state", "request_states")
TO_BROWSER = ("status", "comm_msg", "comm_open", "comm_close", "comm_info_reply", "kernel_info_reply")


def split_message(message: object) -> list[bytes] | None:
    """Split a websocket message into channel, header, parent, metadata, content and buffers. None if malformed.

    Jupyter's own function trusts the table of offsets at the beginning; eight bytes could make it count to 2^64.
    """
    if not isinstance(message, bytes) or not 8 <= len(message) <= MAX_MESSAGE_BYTES:
        return None
    count = int.from_bytes(message[:8], "little")
    if not 6 <= count <= MAX_OFFSETS or len(message) < 8 * (count + 1):
        return None
    offsets = [int.from_bytes(message[8 * index : 8 * (index + 1)], "little") for index in range(1, count + 1)]
    if offsets[0] != 8 * (count + 1) or offsets[-1] != len(message) or offsets != sorted(offsets):
        return None
    return [message[start:stop] for start, stop in itertools.pairwise(offsets)]


def allowed_type(message: object) -> str | None:
    """Return the type of a browser's message that may reach the kernel; None for any other message."""
    parts = split_message(message)
    if parts is None or parts[0] != b"shell":
        return None
    header, parent, metadata, content = (_json_object(part) for part in parts[1:5])
    if None in (header, parent, metadata, content):
        return None
    kind = header.get("msg_type")
    if kind not in FROM_BROWSER:
        return None
    if kind == "comm_open" and content.get("target_name") != CONTROL_TARGET:
        return None  # or a visitor could make any number of widgets
    if kind == "comm_msg" and not _is_widget_message(content):
        return None
    return kind


def _is_widget_message(content: dict) -> bool:
    data = content.get("data")
    return isinstance(content.get("comm_id"), str) and isinstance(data, dict) and data.get("method") in WIDGET_METHODS


def _json_object(part: bytes) -> dict | None:
    try:
        value = json.loads(part)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, a number of 5,000 digits, endless brackets
        return None
    return value if isinstance(value, dict) else None


class TokenBucket:
    """A rate limit: so many messages per second, and up to `burst` at once after a quiet time."""

    def __init__(self, *, per_second: float, burst: int):
        self._per_second, self._burst = per_second, burst
        self._tokens, self._updated_at = float(burst), time.monotonic()

    def take(self) -> bool:
        """Take one token; return whether there was one."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._updated_at) * self._per_second)
        self._updated_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class FilteredConnection(ZMQChannelsWebsocketConnection):
    """A browser's connection to its kernel, through which only the widgets' messages pass."""

    kernel_ws_protocol = PROTOCOL
    limit_rate = False  # of what the kernel sends; over that limit, Jupyter would write into the visitor's page

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._rate_limit = TokenBucket(per_second=MESSAGES_PER_SECOND, burst=BURST)
        self._comms_left = MAX_COMMS

    def handle_incoming_message(self, incoming_msg: object) -> None:
        """Pass a browser's message on to the kernel, or drop it."""
        if self.subprotocol != PROTOCOL or not self._rate_limit.take():
            return
        kind = allowed_type(incoming_msg)
        if kind == "comm_open":
            self._comms_left -= 1
        if kind is None or self._comms_left < 0:
            self.log.info("dropped a message that the pad does not send")
            return
        super().handle_incoming_message(incoming_msg)

    def handle_outgoing_message(self, stream: object, outgoing_msg: list) -> None:
        """Pass a kernel's message on to the browser if it concerns widgets."""
        _, parts = self.session.feed_identities(outgoing_msg)  # signature, header, parent, metadata, content, buffers
        if self.channels and json.loads(bytes(parts[1])).get("msg_type") in TO_BROWSER:
            super().handle_outgoing_message(stream, outgoing_msg)
