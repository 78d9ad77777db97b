"""What passes between a visitor's browser and a kernel: the widgets' messages and nothing else.

A kernel runs whatever code it is sent, so its websocket must not be a way to send any. Every message of a browser is
taken apart before it reaches the kernel, and passed on only when it is one that the pad's own page would send: it tells
of an event, or asks for the state of the widgets. What a kernel says beyond answers to these, errors with their
tracebacks above all, does not reach the browser.
"""

import itertools
import json
import time

from jupyter_server.services.kernels.connection.base import serialize_msg_to_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

PROTOCOL = "v1.kernel.websocket.jupyter.org"
LARGEST_MESSAGE = 65_536  # bytes from the browser; a pointer event takes about 400
LONGEST_TABLE = 64  # parts of a message; the widgets' messages have five, and one for each buffer
MESSAGES_PER_SECOND = 1000.0  # a mouse sends 240 at most, and each finger 120
BURST = 2000.0  # messages at once, after a quiet time: what was drawn while the network was away
COMMS_PER_VISIT = 50  # of one connection; a page opens one, and one more each time it connects again

CONTROL_TARGET = "jupyter.widget.control"
# Tuples, not sets: what is looked up in them may be anything that JSON can hold, lists included.
FROM_BROWSER = ("comm_msg", "comm_open", "comm_close", "comm_info_request", "kernel_info_request")
WIDGET_METHODS = ("custom", "update", "request_state", "request_states")
TO_BROWSER = ("status", "comm_msg", "comm_open", "comm_close", "comm_info_reply", "kernel_info_reply")


def parts_of(message: object) -> list[bytes] | None:
    """Take a websocket message apart: its channel, header, parent, metadata, content, then buffers. None for nonsense.

    Jupyter's own function trusts the table of offsets at the beginning; eight bytes could make it count to 2^64.
    """
    if not isinstance(message, bytes) or not 8 <= len(message) <= LARGEST_MESSAGE:
        return None
    count = int.from_bytes(message[:8], "little")
    if not 6 <= count <= LONGEST_TABLE or len(message) < 8 * (count + 1):
        return None
    offsets = [int.from_bytes(message[8 * index : 8 * (index + 1)], "little") for index in range(1, count + 1)]
    if offsets[0] != 8 * (count + 1) or offsets[-1] != len(message) or offsets != sorted(offsets):
        return None
    return [message[start:stop] for start, stop in itertools.pairwise(offsets)]


def may_pass(message: object) -> str | None:
    """Return the type of a browser's message that may reach the kernel; None for any other."""
    parts = parts_of(message)
    if parts is None or parts[0] != b"shell":
        return None
    header, parent, metadata, content = (_json_object(part) for part in parts[1:5])
    if None in (header, parent, metadata, content):
        return None
    kind = header.get("msg_type")
    if kind not in FROM_BROWSER:
        return None
    if kind == "comm_open" and content.get("target_name") != CONTROL_TARGET:
        return None  # or a visitor could make widgets without end
    if kind == "comm_msg" and not _is_widget_message(content):
        return None
    return kind


def _is_widget_message(content: dict) -> bool:
    data = content.get("data")
    return isinstance(content.get("comm_id"), str) and isinstance(data, dict) and data.get("method") in WIDGET_METHODS


def _json_object(part: bytes) -> dict | None:
    try:
        value = json.loads(part)
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of 5,000 digits, brackets without end
        return None
    return value if isinstance(value, dict) else None


class Budget:
    """How much may still pass: so much per second, and more at once after a quiet time."""

    def __init__(self, *, per_second: float, burst: float):
        self._per_second, self._burst = per_second, burst
        self._left, self._then = burst, time.monotonic()

    def spend(self) -> bool:
        """Take one away; tell whether there was one."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._then) * self._per_second)
        self._then = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class GuardedConnection(ZMQChannelsWebsocketConnection):
    """A browser's connection to its kernel, through which only the widgets' messages pass."""

    kernel_ws_protocol = PROTOCOL

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._budget = Budget(per_second=MESSAGES_PER_SECOND, burst=BURST)
        self._comms_left = COMMS_PER_VISIT

    def handle_incoming_message(self, incoming_msg: object) -> None:
        """Pass a browser's message on to the kernel, or pass over it."""
        if self.subprotocol != PROTOCOL or not self._budget.spend():
            return
        kind = may_pass(incoming_msg)
        if kind == "comm_open":
            self._comms_left -= 1
        if kind is None or self._comms_left < 0:
            self.log.info("passed over a message that the pad does not send")
            return
        super().handle_incoming_message(incoming_msg)

    def handle_outgoing_message(self, stream: object, outgoing_msg: list) -> None:
        """Pass what a kernel says on to the browser, when it is about widgets."""
        stream = self.channels.get(stream) if isinstance(stream, str) else stream
        _, parts = self.session.feed_identities(outgoing_msg)
        header, *rest = (bytes(part) for part in parts[1:])
        if stream is None or stream.closed() or json.loads(header).get("msg_type") not in TO_BROWSER:
            return
        self.write_message(serialize_msg_to_ws_v1([header, *rest], stream.channel), binary=True)
