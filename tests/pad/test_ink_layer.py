"""The kernel's side of the ink layer, fed with the messages that a browser sends."""

import numpy as np
import pytest
from ipycanvas import Canvas

from digit_utils.pad import ink_layer
from digit_utils.pad.ink_layer import MAX_REMEMBERED, MAX_WET_STROKES, InkLayer
from digit_utils.pad.state import MAX_POINTS


class Page:
    """A layer, and what its owner and its browser get to see."""

    def __init__(self):
        canvas = Canvas(width=400, height=200)
        self.layer = InkLayer(canvas, ink_colour="#222222", ink_width=18)
        self.strokes, self.taps, self.sent, self.ready = [], [], [], 0
        canvas.send = lambda content, buffers=None: self.sent.append(content)
        self.layer.on_stroke(self._keep)
        self.layer.on_ready(self._count)

    def _keep(self, points, is_tap):
        self.strokes.append(points.tolist())
        self.taps.append(is_tap)

    def _count(self):
        self.ready += 1

    def receive(self, content):
        self.layer._handle_custom_msg(content, [])

    def ink(self, *points, view="a", stroke=0, start=0, end=None):
        flat = [value for point in points for value in point]
        self.receive({"kind": "ink", "view": view, "stroke": stroke, "start": start, "points": flat, "end": end})

    @property
    def wet(self):
        return [stroke.tolist() for stroke in self.layer.wet_strokes]

    def dry(self):
        """Return the strokes that the browser was told to be dry."""
        messages = [message for message in self.sent if message["kind"] == "dry"]
        return [(message["view"], stroke) for message in messages for stroke in message["strokes"]]


@pytest.fixture
def page():
    return Page()


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(ink_layer.time, "monotonic", lambda: now[0])
    return now


def test_batches_become_one_stroke_that_is_dry_once_it_was_handed_over(page):
    page.ink((1, 2), (3, 4))
    page.ink((5, 6), start=2)
    assert page.wet == [[[1, 2], [3, 4], [5, 6]]]
    assert page.strokes == []
    assert page.sent == []
    page.ink((7.25, 8.5), start=3, end="lift")
    assert page.strokes == [[[1, 2], [3, 4], [5, 6], [7.25, 8.5]]]
    assert page.taps == [False]
    assert page.wet == []
    assert page.sent == [{"kind": "dry", "view": "a", "strokes": [0]}]


def test_the_browser_hears_that_a_stroke_is_dry_after_it_was_drawn_not_before(page):
    page.layer.on_stroke(lambda points, is_tap: page.sent.append("drawn"))
    page.ink((1, 2), end="lift")
    assert page.sent == ["drawn", {"kind": "dry", "view": "a", "strokes": [0]}]


def test_a_tap_is_told_apart(page):
    page.ink((1, 2), end="tap")
    assert page.taps == [True]


def test_a_stroke_that_is_dropped_leaves_nothing(page):
    page.ink((1, 2), (3, 4))
    page.ink(start=2, end="drop")
    assert page.wet == page.strokes == []
    assert page.dry() == [("a", 0)]


def test_a_batch_that_comes_too_early_is_asked_for_again(page):
    page.ink((1, 1))
    page.ink((3, 3), start=2, end="lift")
    assert page.strokes == []
    assert page.sent == [{"kind": "missing", "view": "a", "stroke": 0, "start": 1}]
    page.ink((2, 2), (3, 3), start=1, end="lift")
    assert page.strokes == [[[1, 1], [2, 2], [3, 3]]]


def test_a_stroke_of_which_the_beginning_never_came_is_asked_for_from_the_beginning(page):
    page.ink((3, 3), start=7)
    assert page.sent == [{"kind": "missing", "view": "a", "stroke": 0, "start": 0}]
    assert page.wet == []


def test_what_comes_twice_is_kept_once(page):
    for _ in range(2):
        page.ink((1, 1), (2, 2))
        page.ink((2, 2), (3, 3), start=1)
    page.ink((1, 1), (2, 2), (3, 3), (4, 4), end="lift")
    for _ in range(2):
        page.ink((1, 1), (2, 2), (3, 3), (4, 4), end="lift")
    assert page.strokes == [[[1, 1], [2, 2], [3, 3], [4, 4]]]
    assert page.dry() == 3 * [("a", 0)], "told again, since it seems not to have been heard"


def test_two_views_draw_at_the_same_time_with_the_same_numbers(page):
    page.ink((1, 1), view="a")
    page.ink((9, 9), view="b")
    page.ink((2, 2), view="a", start=1, end="lift")
    page.ink((8, 8), view="b", start=1, end="lift")
    assert page.strokes == [[[1, 1], [2, 2]], [[9, 9], [8, 8]]]
    assert page.dry() == [("a", 0), ("b", 0)]


def test_points_beyond_the_edge_are_moved_onto_it(page):
    page.ink((-5, 100), (500, 300), end="lift")
    assert page.strokes == [[[0, 100], [400, 200]]]


def test_the_same_point_twice_in_a_row_is_kept_once(page):
    page.ink((1, 1), (1, 1), (2, 2), (1, 1), end="lift")
    assert page.strokes == [[[1, 1], [2, 2], [1, 1]]]


GOOD = {"kind": "ink", "view": "a", "stroke": 0, "start": 0, "points": [1, 2], "end": "lift"}


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Ink"},
        {"kind": ["ink"]},
        {"view": None},
        {"view": ""},
        {"view": "v" * 1000},
        {"view": ["a"]},
        {"stroke": -1},
        {"stroke": 1.5},
        {"stroke": "0"},
        {"stroke": True},
        {"stroke": 10**400},
        {"start": -1},
        {"start": None},
        {"points": None},
        {"points": [1]},
        {"points": {"0": 1, "1": 2}},
        {"points": [[1, 2]]},
        {"points": ["1", "2"]},
        {"points": [None, 1]},
        {"points": [True, False]},
        {"points": [float("nan"), 1]},
        {"points": [float("inf"), 1]},
        {"points": [10**400, 1]},
        {"points": [1.0] * 10_000},
        {"end": "dry"},
        {"end": True},
        {"end": ["lift"]},
    ],
    ids=str,
)
def test_what_no_layer_sends_is_passed_over(page, change):
    page.receive(GOOD | change)
    assert page.strokes == page.wet == page.sent == []
    page.receive(GOOD)
    assert page.strokes == [[[1, 2]]]


@pytest.mark.parametrize("content", [None, 7, "ink", [], {}, {"kind": "ink"}], ids=str)
def test_nonsense_is_passed_over(page, content):
    page.receive(content)
    assert page.strokes == page.wet == page.sent == []


def test_the_number_of_points_is_bounded_and_the_stroke_ends_all_the_same(page):
    count = MAX_POINTS + 3000
    places = [(index % 397, index % 199) for index in range(count)]
    for start in range(0, count, 1000):
        page.ink(*places[start : start + 1000], start=start)
    assert sum(map(len, page.layer.wet_strokes)) == MAX_POINTS
    page.ink(start=count, end="lift")
    assert len(page.strokes[0]) == MAX_POINTS
    assert page.dry() == [("a", 0)]


def test_strokes_that_never_end_are_bounded_in_number(page):
    for index in range(3 * MAX_WET_STROKES):
        page.ink((index, index), view=f"view{index}")
    assert len(page.wet) == MAX_WET_STROKES
    assert len(page.strokes) == 2 * MAX_WET_STROKES, "the oldest count as finished"


def test_what_is_remembered_of_finished_strokes_is_bounded(page):
    for index in range(MAX_REMEMBERED + 500):
        page.ink((1, 1), stroke=index, end="lift")
    assert len(page.layer._inbox._closed) == MAX_REMEMBERED
    page.ink((1, 1), stroke=MAX_REMEMBERED + 499, end="lift")
    assert len(page.strokes) == MAX_REMEMBERED + 500


def test_wet_strokes_can_be_taken_back_and_do_not_return(page):
    page.ink((1, 1), (2, 2))
    assert page.layer.drop_wet()
    assert page.dry() == [("a", 0)]
    page.ink((3, 3), start=2)
    page.ink((4, 4), start=3, end="lift")
    assert page.wet == page.strokes == []
    assert not page.layer.drop_wet()
    page.ink((5, 5), stroke=1, end="lift")
    assert page.strokes == [[[5, 5]]]


def test_a_stroke_that_a_closed_page_left_behind_is_finished_when_another_draws(page, clock):
    page.ink((1, 1), (2, 2), view="closed")
    clock[0] += 10
    page.ink((5, 5), view="b")
    assert page.strokes == [[[1, 1], [2, 2]]]
    assert page.wet == [[[5, 5]]]
    clock[0] += 10
    page.ink((6, 6), view="b", start=1)
    assert page.wet == [[[5, 5], [6, 6]]], "its own stroke, held still for a while, goes on"


def test_a_page_that_loads_anew_finishes_what_it_left_behind(page, clock):
    page.ink((1, 1), (2, 2))
    page.receive({"kind": "ready"})
    assert page.strokes == [], "perhaps it is only a second page"
    clock[0] += 10
    page.receive({"kind": "ready"})
    assert page.strokes == [[[1, 1], [2, 2]]]
    assert page.ready == 2


def test_strokes_are_copies(page):
    page.ink((1, 1), (2, 2))
    page.layer.wet_strokes[0][:] = 99
    assert page.wet == [[[1, 1], [2, 2]]]


def test_the_layer_tells_its_script_all_it_needs_to_draw_like_the_canvas():
    canvas = Canvas(width=1200, height=300)
    layer = InkLayer(canvas, ink_colour="#22304f", ink_width=36)
    state = layer.get_state()
    assert (state["width"], state["height"], state["ink_colour"], state["ink_width"]) == (1200, 300, "#22304f", 36)
    assert state["paper"] == canvas.model_id
    assert state["_model_module"] == "anywidget"
    assert "export default" in state["_esm"]


def test_random_messages_in_random_order_lose_nothing_that_is_sent_until_it_is_dry(page):
    """A network that loses, repeats and reorders, and a layer that answers as the real one does."""
    rng = np.random.default_rng(28)
    drawn = [[[int(value) for value in point] for point in rng.integers(0, 200, (30, 2))] for _ in range(20)]
    unheard = {(view, number) for number in range(20) for view in ("a",)}
    rounds = 0
    while unheard:
        rounds += 1
        assert rounds < 200
        for view, number in sorted(unheard):
            starts = rng.permutation(np.arange(0, 30, 6))
            for start in starts[rng.random(5) < 0.8]:
                end = "lift" if start == 24 else None
                page.ink(*drawn[number][start : start + 6], view=view, stroke=number, start=int(start), end=end)
        heard = [stroke for stroke in page.dry() if rng.random() < 0.7]
        unheard -= set(heard)
        page.sent.clear()
    assert sorted(page.strokes) == sorted(_without_repeats(stroke) for stroke in drawn)


def _without_repeats(points):
    return [point for index, point in enumerate(points) if index == 0 or point != points[index - 1]]
