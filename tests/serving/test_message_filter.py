"""What passes a visitor's websocket: the pad's own messages, and no way to run code."""

import json

import pytest

from digit_utils.serving.message_filter import LARGEST_MESSAGE, Budget, may_pass, parts_of
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
        ("comm_msg", {"comm_id": "a1", "data": {"method": "update", "state": {"value": "7"}, "buffer_paths": []}}),
        ("comm_close", {"comm_id": "a1", "data": {}}),
    ],
)
def test_what_the_page_sends_passes(kind, content):
    assert may_pass(packed(kind, content)) == kind


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
        parts = parts_of(message)
        header = json.loads(parts[1]) | {"msg_type": kind}
        message = framed(parts[0], json.dumps(header).encode(), *parts[2:])
    assert may_pass(message) is None


@pytest.mark.parametrize("channel", ["control", "stdin", "iopub", "", "Shell"])
def test_only_the_shell_channel_is_open(channel):
    assert may_pass(packed("comm_msg", event(), channel=channel)) is None


def test_a_second_type_in_the_header_does_not_smuggle_one_through():
    parts = parts_of(packed("comm_msg", event()))
    header = b'{"msg_type": "comm_msg", "msg_type": "execute_request"}'
    assert may_pass(framed(parts[0], header, *parts[2:])) is None


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("comm_open", {"comm_id": "a1", "target_name": "jupyter.widget", "data": {"state": {}}}),
        ("comm_open", {"comm_id": "a1", "target_name": ["jupyter.widget.control"]}),
        ("comm_open", {}),
        ("comm_msg", {}),
        ("comm_msg", {"comm_id": "a1"}),
        ("comm_msg", {"comm_id": "a1", "data": {"method": "execute"}}),
        ("comm_msg", {"comm_id": "a1", "data": ["custom"]}),
        ("comm_msg", {"comm_id": {"a": 1}, "data": {"method": "custom"}}),
        ("comm_msg", {"comm_id": "a1", "data": {"method": ["custom"]}}),
    ],
)
def test_comm_messages_that_no_pad_sends_do_not_pass(kind, content):
    assert may_pass(packed(kind, content)) is None


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
        packed("comm_msg", event(x="a" * LARGEST_MESSAGE)),
        framed(b"shell", b"{}", b"{}", b"{}"),
        framed(b"shell", b"[" * 30_000, b"{}", b"{}", b"{}"),
        framed(b"shell", b'{"msg_type": "comm_msg"}', b"{}", b"{}", b'{"x": ' + b"9" * 5000 + b"}"),
        framed(b"shell", b"\xff\xfe", b"{}", b"{}", b"{}"),
        framed(b"shell", b"null", b"{}", b"{}", b"{}"),
        framed(b"\xff", b'{"msg_type": "kernel_info_request"}', b"{}", b"{}", b"{}"),
    ],
    ids=range(17),
)
def test_nonsense_is_passed_over_at_once(nonsense):
    assert may_pass(nonsense) is None


def test_offsets_that_run_backwards_or_overlap_are_nonsense():
    message = bytearray(packed("comm_msg", event()))
    message[16:24], message[24:32] = message[24:32], message[16:24]
    assert parts_of(bytes(message)) is None


def test_a_budget_is_spent_and_fills_again(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("digit_utils.serving.message_filter.time.monotonic", lambda: now[0])
    budget = Budget(per_second=10, burst=5)
    assert [budget.spend() for _ in range(7)] == [True] * 5 + [False] * 2
    now[0] += 0.25
    assert [budget.spend() for _ in range(4)] == [True, True, False, False]
    now[0] += 100
    assert sum(budget.spend() for _ in range(20)) == 5
