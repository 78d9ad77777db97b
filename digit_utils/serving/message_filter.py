"""Lets the widgets' messages pass between a visitor's browser and a kernel, and nothing else.

A kernel runs whatever code it is sent, so its websocket must not be a way to send any. Every message of a browser is
taken apart before it reaches the kernel, and passed on only when the pad's own page could have sent it: it reports an
event, brings a picture, or asks for the state of the widgets. It sets no state: no widget of the pad takes its value
from the browser, and what a visitor could write into a widget, the kernel would send again with every request for
states. Whatever a kernel sends beyond answers to these, above all errors with their tracebacks, does not reach the
browser.

Jupyter's own `allowed_message_types` is not enough: it looks at the type alone, after a parser that can be made to
count to 2^64, and filters nothing that a kernel sends. `show_tracebacks` concerns the page, not its websocket.
"""

import itertools
import json
import time
from dataclasses import dataclass

from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

PROTOCOL = "v1.kernel.websocket.jupyter.org"
MAX_MESSAGE_BYTES = 65_536  # from the browser; a pointer event takes about 400
MAX_OFFSETS = 64  # one for each part of a message; the widgets' messages have five parts, and one for each buffer
MESSAGES_PER_SECOND = 1000.0  # a mouse sends 240 at most, and each finger 120
BURST = 2000  # messages at once, after a quiet time: what was drawn while the network was away
BYTES_PER_SECOND = 250_000.0  # of these messages; 240 events of a mouse a second take 100,000
BURST_BYTES = 4_000_000
MAX_UNANSWERED = BURST  # messages that the kernel has not worked off; further ones are dropped
LONGEST_ID = 100  # characters of a message's name; the front end's has 36
STATES_PER_SECOND = 2.0  # of widgets, that one connection may ask for
BURST_STATES = 100  # a page asks for all at once, or, where that takes long, for each of some forty widgets
ALL_STATES = 20.0  # a request for all states counts as so many: six a minute
MAX_COMMS = 50  # that one connection may open; a page opens one, and one more each time it connects again

PICTURES_PER_SECOND = 0.5  # reading one takes the kernel some tenths of a second
BURST_PICTURES = 5

CONTROL_TARGET = "jupyter.widget.control"
# Tuples, not sets: the values looked up in them may be anything that JSON can hold, lists included.
FROM_BROWSER = ("comm_msg", "comm_open", "comm_close", "comm_info_request", "kernel_info_request")
STATE_REQUESTS = {"request_state": 1.0, "request_states": ALL_STATES}
PICTURE = {"kind": "picture"}  # the only content with a buffer: a JPEG, which the page has shrunk
JPEG_START = b"\xff\xd8\xff"
WIDGET_METHODS = ("custom", *STATE_REQUESTS)
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


@dataclass(frozen=True)
class WidgetMessage:
    """A browser's message that may reach the kernel."""

    kind: str
    id: str  # as the browser has named it
    states: float = 0.0  # what it counts as a request for states
    pictures: int = 0  # how many it brings


def allowed_message(message: object) -> WidgetMessage | None:
    """Return a browser's message that may reach the kernel; None for any other message."""
    parts = split_message(message)
    if parts is None or parts[0] != b"shell":
        return None
    header, parent, metadata, content = (_json_object(part) for part in parts[1:5])
    if None in (header, parent, metadata, content):
        return None
    kind, message_id = header.get("msg_type"), header.get("msg_id")
    if kind not in FROM_BROWSER or not isinstance(message_id, str) or len(message_id) > LONGEST_ID:
        return None
    if kind == "comm_open" and content.get("target_name") != CONTROL_TARGET:
        return None  # or a visitor could make any number of widgets
    if kind != "comm_msg":
        return None if parts[5:] else WidgetMessage(kind, message_id)
    buffers = parts[5:]
    if not _is_widget_message(content) or (buffers and not _is_picture(content["data"], buffers)):
        return None
    return WidgetMessage(kind, message_id, STATE_REQUESTS.get(content["data"]["method"], 0.0), len(buffers))


def _is_widget_message(content: dict) -> bool:
    data = content.get("data")
    return isinstance(content.get("comm_id"), str) and isinstance(data, dict) and data.get("method") in WIDGET_METHODS


def _is_picture(data: dict, buffers: list[bytes]) -> bool:
    content = data.get("content")
    return data["method"] == "custom" and content == PICTURE and len(buffers) == 1 and buffers[0].startswith(JPEG_START)


def _json_object(part: bytes) -> dict | None:
    try:
        value = json.loads(part)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, a number of 5,000 digits, endless brackets
        return None
    return value if isinstance(value, dict) else None


class TokenBucket:
    """A rate limit: so many tokens per second, and up to `burst` at once after a quiet time."""

    def __init__(self, *, per_second: float, burst: int):
        self._per_second, self._burst = per_second, burst
        self._tokens, self._updated_at = float(burst), time.monotonic()

    def take(self, count: float = 1) -> bool:
        """Take tokens, one for a message or one for each of its bytes; return whether there were enough."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._updated_at) * self._per_second)
        self._updated_at = now
        if self._tokens < count:
            return False
        self._tokens -= count
        return True


class UnansweredMessages:
    """The messages that the kernel has not worked off. It works them off in the order in which they were sent."""

    def __init__(self, limit: int):
        self._limit = limit
        self._ids: dict[str, None] = {}  # a set that knows its order

    def add(self, message_id: str) -> bool:
        """Note a message; return whether it may be sent. Two at a time of the same name may not."""
        if len(self._ids) >= self._limit or message_id in self._ids:
            return False
        self._ids[message_id] = None
        return True

    def answered(self, message_id: object) -> None:
        """Note that the kernel has worked off a message, and so all before it, whose answers may have been lost."""
        if not isinstance(message_id, str) or message_id not in self._ids:
            return
        while (oldest := next(iter(self._ids))) != message_id:
            del self._ids[oldest]
        del self._ids[message_id]


class FilteredConnection(ZMQChannelsWebsocketConnection):
    """A browser's connection to its kernel, through which only the widgets' messages pass."""

    kernel_ws_protocol = PROTOCOL
    limit_rate = False  # of what the kernel sends; over that limit, Jupyter would write into the visitor's page

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._messages = TokenBucket(per_second=MESSAGES_PER_SECOND, burst=BURST)
        self._bytes = TokenBucket(per_second=BYTES_PER_SECOND, burst=BURST_BYTES)
        self._states = TokenBucket(per_second=STATES_PER_SECOND, burst=BURST_STATES)
        self._pictures = TokenBucket(per_second=PICTURES_PER_SECOND, burst=BURST_PICTURES)
        self._unanswered = UnansweredMessages(MAX_UNANSWERED)
        self._comms_left = MAX_COMMS

    def handle_incoming_message(self, incoming_msg: object) -> None:
        """Pass a browser's message on to the kernel, or drop it."""
        if self.subprotocol != PROTOCOL or not (self._messages.take() and self._bytes.take(len(incoming_msg))):
            return
        message = allowed_message(incoming_msg)
        if message is not None and message.kind == "comm_open":
            self._comms_left -= 1
        is_paced = message is not None and self._states.take(message.states) and self._pictures.take(message.pictures)
        if not is_paced or self._comms_left < 0:
            self.log.info("dropped a message that the pad does not send")
        elif self.channels and self._unanswered.add(message.id):
            super().handle_incoming_message(incoming_msg)

    def handle_outgoing_message(self, stream: object, outgoing_msg: list) -> None:
        """Pass a kernel's message on to the browser if it concerns widgets."""
        _, parts = self.session.feed_identities(outgoing_msg)  # signature, header, parent, metadata, content, buffers
        kind = json.loads(bytes(parts[1])).get("msg_type")
        if kind == "status":
            if b'"idle"' not in bytes(parts[4]):
                return  # the page shows no kernel's state, and each message costs a phone time
            self._unanswered.answered(json.loads(bytes(parts[2])).get("msg_id"))
        if self.channels and kind in TO_BROWSER:
            super().handle_outgoing_message(stream, outgoing_msg)
