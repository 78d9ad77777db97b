"""What passes a visitor's websocket: the pad's own messages, and no way to run code."""

import json

import numpy as np
import pytest

from digit_utils.serving.message_filter import (
    MAX_MESSAGE_BYTES,
    TokenBucket,
    UnansweredMessages,
    WidgetMessage,
    allowed_message,
    split_message,
)
from tests.support.page_client import packed


def event(**content):
    return {"comm_id": "a1", "data": {"method": "custom", "content": content}}


def framed(*parts):
    """Return parts with a right table of offsets, whatever is in them."""
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return b"".join([len(offsets).to_bytes(8, "little"), *(value.to_bytes(8, "little") for value in offsets), *parts])


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("kernel_info_request", {}),
        ("comm_info_request", {"target_name": "jupyter.widget"}),
        ("comm_open", {"comm_id": "a1", "target_name": "jupyter.widget.control", "data": {}}),
        ("comm_msg", {"comm_id": "a1", "data": {"method": "request_states"}}),
        ("comm_msg", event(event="mouse_move", x=1.5, y=2)),
        ("comm_msg", event(kind="ink", view="k3x9", stroke=4, start=12, points=[800.25] * 1000, end=None)),
        ("comm_msg", {"comm_id": "a1", "data": {"method": "request_state"}}),
        ("comm_close", {"comm_id": "a1", "data": {}}),
    ],
)
def test_what_the_page_sends_passes(kind, content):
    assert allowed_message(packed(kind, content)).kind == kind


@pytest.mark.parametrize(
    "kind",
    [
        "execute_request",
        "inspect_request",
        "complete_request",
        "history_request",
        "is_complete_request",
        "create_subshell_request",
        "debug_request",
        "interrupt_request",
        "shutdown_request",
        "input_reply",
        "Execute_Request",
        "",
        None,
        7,
        ["comm_msg"],
    ],
)
def test_what_runs_code_looks_around_or_ends_kernels_does_not_pass(kind):
    message = packed(kind if isinstance(kind, str) else "", {"code": "1", "silent": False})
    if not isinstance(kind, str):
        parts = split_message(message)
        header = json.loads(parts[1]) | {"msg_type": kind}
        message = framed(parts[0], json.dumps(header).encode(), *parts[2:])
    assert allowed_message(message) is None


@pytest.mark.parametrize("channel", ["control", "stdin", "iopub", "", "Shell"])
def test_only_the_shell_channel_is_open(channel):
    assert allowed_message(packed("comm_msg", event(), channel=channel)) is None


def test_a_second_type_in_the_header_does_not_smuggle_one_through():
    parts = split_message(packed("comm_msg", event()))
    header = b'{"msg_type": "comm_msg", "msg_type": "execute_request"}'
    assert allowed_message(framed(parts[0], header, *parts[2:])) is None


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("comm_open", {"comm_id": "a1", "target_name": "jupyter.widget", "data": {"state": {}}}),
        ("comm_open", {"comm_id": "a1", "target_name": ["jupyter.widget.control"]}),
        ("comm_open", {}),
        ("comm_msg", {}),
        ("comm_msg", {"comm_id": "a1"}),
        ("comm_msg", {"comm_id": "a1", "data": {"method": "execute"}}),
        ("comm_msg", {"comm_id": "a1", "data": {"method": "update", "state": {"value": "7"}, "buffer_paths": []}}),
        ("comm_msg", {"comm_id": "a1", "data": {"method": "update", "state": {}}}),
        ("comm_msg", {"comm_id": "a1", "data": {"method": "echo_update", "state": {"value": "7"}}}),
        ("comm_msg", {"comm_id": "a1", "data": ["custom"]}),
        ("comm_msg", {"comm_id": {"a": 1}, "data": {"method": "custom"}}),
        ("comm_msg", {"comm_id": "a1", "data": {"method": ["custom"]}}),
    ],
)
def test_comm_messages_that_no_pad_sends_do_not_pass(kind, content):
    assert allowed_message(packed(kind, content)) is None


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\xff" * 8,  # would have Jupyter's own function count to 2^64
        b"\xff" * 4096,
        (2**40).to_bytes(8, "little") + b"\0" * 64,
        packed("comm_msg", event())[:-5],
        packed("comm_msg", event()) + b"x",
        b"shell",
        "a text",
        '{"channel": "shell", "header": {"msg_type": "execute_request"}}',
        None,
        packed("comm_msg", event(x="a" * MAX_MESSAGE_BYTES)),
        framed(b"shell", b"{}", b"{}", b"{}"),
        framed(b"shell", b"[" * 30_000, b"{}", b"{}", b"{}"),
        framed(b"shell", b'{"msg_type": "comm_msg"}', b"{}", b"{}", b'{"x": ' + b"9" * 5000 + b"}"),
        framed(b"shell", b"\xff\xfe", b"{}", b"{}", b"{}"),
        framed(b"shell", b"null", b"{}", b"{}", b"{}"),
        framed(b"\xff", b'{"msg_type": "kernel_info_request"}', b"{}", b"{}", b"{}"),
    ],
    ids=range(17),
)
def test_a_malformed_message_is_dropped(nonsense):
    assert allowed_message(nonsense) is None


JPEG = b"\xff\xd8\xff\xe0" + bytes(45_000)
PICTURE = event(kind="picture")


def test_a_picture_passes_and_is_counted():
    assert allowed_message(packed("comm_msg", PICTURE, msg_id="a", buffers=[JPEG])) == WidgetMessage(
        "comm_msg", "a", pictures=1
    )


@pytest.mark.parametrize(
    ("kind", "content", "buffers"),
    [
        ("comm_msg", PICTURE, [JPEG, JPEG[:9]]),
        ("comm_msg", PICTURE, [JPEG[:4] + bytes(MAX_MESSAGE_BYTES)]),
        ("comm_msg", PICTURE, [b"%!PS-Adobe-3.0 EPSF-3.0"]),  # what other decoders than that of JPEG would open
        ("comm_msg", PICTURE, [b"\x89PNG\r\n\x1a\n"]),
        ("comm_msg", PICTURE, [b""]),
        ("comm_msg", event(kind="picture", more=1), [JPEG]),
        ("comm_msg", event(kind=["picture"]), [JPEG]),
        ("comm_msg", event(kind="ink"), [JPEG]),
        ("comm_msg", {"comm_id": "a1", "data": {"method": "request_states", "content": PICTURE}}, [JPEG]),
        ("comm_msg", {"comm_id": "a1", "data": {"method": "custom"}}, [JPEG]),
        ("kernel_info_request", {}, [JPEG]),
    ],
)
def test_of_messages_with_buffers_only_a_picture_passes(kind, content, buffers):
    assert allowed_message(packed(kind, content, buffers=buffers)) is None


def test_offsets_that_run_backwards_or_overlap_are_malformed():
    message = bytearray(packed("comm_msg", event()))
    message[16:24], message[24:32] = message[24:32], message[16:24]
    assert split_message(bytes(message)) is None


def test_a_token_bucket_empties_and_fills_again(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("digit_utils.serving.message_filter.time.monotonic", lambda: now[0])
    bucket = TokenBucket(per_second=10, burst=5)
    assert [bucket.take() for _ in range(7)] == [True] * 5 + [False] * 2
    now[0] += 0.25
    assert [bucket.take() for _ in range(4)] == [True, True, False, False]
    now[0] += 100
    assert sum(bucket.take() for _ in range(20)) == 5


def test_a_bucket_of_bytes_lets_a_large_message_wait_and_not_a_small_one(monkeypatch):
    monkeypatch.setattr("digit_utils.serving.message_filter.time.monotonic", lambda: 0.0)
    bucket = TokenBucket(per_second=10, burst=100)
    assert [bucket.take(count) for count in (60, 60, 40, 0, 1)] == [True, False, True, True, False]


@pytest.mark.parametrize("message_id", [None, 7, ["a"], "a" * 1000])
def test_a_message_without_a_usable_name_does_not_pass(message_id):
    parts = split_message(packed("comm_msg", event()))
    header = json.dumps(json.loads(parts[1]) | {"msg_id": message_id}).encode()
    assert allowed_message(framed(parts[0], header, *parts[2:])) is None


def test_requests_for_states_are_counted_and_one_for_all_counts_more():
    def states(method):
        return allowed_message(packed("comm_msg", {"comm_id": "a1", "data": {"method": method}})).states

    assert states("custom") == 0
    assert 1 == states("request_state") < states("request_states")
    assert allowed_message(packed("comm_open", {"target_name": "jupyter.widget.control"}, msg_id="b")) == WidgetMessage(
        "comm_open", "b"
    )


def test_no_more_messages_wait_for_the_kernel_than_allowed_and_an_answer_covers_those_before_it():
    waiting = UnansweredMessages(3)
    assert [waiting.add(name) for name in ("a", "a", "b", "c", "d")] == [True, False, True, True, False]
    waiting.answered("unknown")
    waiting.answered(["a"])
    assert not waiting.add("d")
    waiting.answered("b")
    assert [waiting.add(name) for name in ("d", "e", "f")] == [True, True, False]


def test_of_600_corrupted_messages_only_well_formed_widget_messages_pass():
    rng = np.random.default_rng(0)
    dangerous = packed("execute_request", {"code": "1"})
    harmless = packed("comm_msg", event(event="mouse_move", x=1, y=2))
    passed = 0
    for index in range(600):
        message = bytearray(dangerous if index % 2 else harmless)
        for place in rng.integers(0, len(message), rng.integers(1, 4)):
            message[place] = rng.integers(256)
        if index % 5 == 0:
            message = message[: rng.integers(len(message))]
        allowed = allowed_message(bytes(message))
        if allowed is not None:
            passed += 1
            channel, header, _, _, content = split_message(bytes(message))[:5]
            assert channel == b"shell"
            assert json.loads(header)["msg_type"] == allowed.kind == "comm_msg"
            assert json.loads(content)["data"]["method"] == "custom"
    assert 0 < passed < 300
