"""The ink layer's script in a real Chromium, by mouse, touch and pen: alone on a page, without a notebook around it.

The test stands in for the kernel: it sees every message that the script sends, and answers what it likes.
"""

import contextlib
import itertools

import numpy as np
import pytest

from digit_utils.pad.ink_layer import InkLayer, StrokeInbox
from digit_utils.pad.state import smooth_path

from .hand import Fingers

pytestmark = pytest.mark.browser

WIDTH, HEIGHT = 800, 400  # pixels of the paper, shown half as large
ADDRESS = "https://paper.test/"
PAGE = """
<!doctype html>
<body style="margin: 0; height: 3000px">
  <div id="paper" style="position: relative; width: 400px; height: 200px; margin: 50px">
    <canvas id="dry" width="800" height="400" tabindex="0" style="width: 100%; display: block"></canvas>
    <div id="layer"></div>
  </div>
</body>
"""
START = """async ([source, traits]) => {
    const { default: layer } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    window.sent = [];
    const actions = [];
    const paper = {
        get: () => ({ currentProcessing: window.queue ?? Promise.resolve() }),
        views: { one: Promise.resolve() },
        on: (name, action) => actions.push(action),
        off: () => {},
    };
    const model = {
        get: name => traits[name],
        send: message => sent.push({ ...message, at: performance.now() }),
        widget_manager: { get_model: async () => paper },
    };
    window.answer = message => actions.forEach(action => action(message));
    await layer.initialize({ model });
    window.leave = await layer.render({ model, el: document.getElementById("layer") });
    window.wet = document.querySelector("#layer canvas");
}"""
INK_AT = """places => places.map(([x, y]) => wet.getContext("2d").getImageData(x, y, 1, 1).data[3])"""


class Desk:
    """A paper with the layer on it. Places are in pixels of the paper, from (0, 0) to (800, 400)."""

    def __init__(self, page):
        self.page = page
        self.fingers = Fingers(page)
        self.cdp = self.fingers.session  # which knows of the touches of its own alone
        page.route(ADDRESS, lambda route: route.fulfill(body=PAGE, content_type="text/html"))
        page.goto(ADDRESS)  # a new document, and a safe one: others are not told of the places between two frames
        traits = {"width": WIDTH, "height": HEIGHT, "ink_colour": "#22304f", "ink_width": 36, "paper": "dry"}
        page.evaluate(START, [InkLayer._esm, traits])

    def on_screen(self, place):
        top = 50 - self.page.evaluate("scrollY")
        return 50 + place[0] / 2, top + place[1] / 2

    def mouse(self, *places, button="left"):
        """Draw with the mouse."""
        mouse = self.page.mouse
        mouse.move(*self.on_screen(places[0]))
        mouse.down(button=button)
        for place in places[1:]:
            mouse.move(*self.on_screen(place))
        mouse.up(button=button)

    def pen(self, kind, place, *, button="left", buttons=1):
        """Move a pen, or put it down, or lift it."""
        x, y = self.on_screen(place)
        event = {"type": kind, "x": x, "y": y, "button": button, "buttons": buttons, "clickCount": 1}
        self.cdp.send("Input.dispatchMouseEvent", event | {"pointerType": "pen"})

    def draw_by_pen(self, *places, **options):
        self.pen("mousePressed", places[0], **options)
        for place in places[1:]:
            self.pen("mouseMoved", place, **options)
        self.pen("mouseReleased", places[-1], **options | {"buttons": 0})

    def touch(self, kind, **fingers):
        self.fingers.send(kind, **{name: self.on_screen(place) for name, place in fingers.items()})

    def palm(self, kind, place, *, radius, finger=None):
        """Move a palm, of a size in CSS pixels, and a finger beside it."""
        (x, y), points = self.on_screen(place), []
        points.append({"x": x, "y": y, "id": 0, "radiusX": radius, "radiusY": radius})
        if finger:
            x, y = self.on_screen(finger)
            points.append({"x": x, "y": y, "id": 1})
        self.cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def has_ink(self, *places) -> list[bool]:
        return [alpha > 127 for alpha in self.page.evaluate(INK_AT, places)]

    @property
    def is_blank(self) -> bool:
        return not self.page.evaluate(
            "new Uint32Array(wet.getContext('2d').getImageData(0, 0, wet.width, wet.height).data.buffer).some(p => p)"
        )

    def sent(self) -> list[dict]:
        """Return what the script has sent, once it has had time to send."""
        self.page.wait_for_timeout(120)
        return self.page.evaluate("sent")

    def received(self) -> list[tuple[list, str]]:
        """Return the strokes that a kernel would make of what was sent."""
        inbox = StrokeInbox(width=WIDTH, height=HEIGHT)
        receipts = [receipt for message in self.sent() for receipt in inbox.receive(message)]
        return [(receipt.points, "tap" if receipt.is_tap else "lift") for receipt in receipts if receipt.points]

    def view(self) -> str:
        return next(message["view"] for message in self.sent() if message["kind"] == "ink")

    def answer(self, kind, **content) -> None:
        self.page.evaluate("message => answer(message)", {"kind": kind, "view": self.view(), **content})


@pytest.fixture(scope="module")
def window(chromium):
    context = chromium.new_context(viewport={"width": 600, "height": 400}, has_touch=True)
    yield context.new_page()
    context.close()


@pytest.fixture
def desk(window):
    desk = Desk(window)
    yield desk
    with contextlib.suppress(Exception):  # nobody touches the screen, as it should be
        desk.touch("touchCancel")


def test_the_script_says_that_it_runs(desk):
    assert [message["kind"] for message in desk.sent()] == ["ready"]


def test_the_mouse_leaves_ink_at_once_and_the_kernel_gets_the_same_points(desk):
    places = [(100, 100), (200, 120), (300, 300), (500, 200)]
    mouse = desk.page.mouse
    mouse.move(*desk.on_screen(places[0]))
    mouse.down()
    assert desk.has_ink(places[0]) == [True]
    for place in places[1:]:
        mouse.move(*desk.on_screen(place))
        assert desk.has_ink(place) == [True], "up to the last place, also while the pointer is held still"
    mouse.up()
    assert desk.received() == [(places, "lift")]
    assert desk.has_ink((100, 100), (500, 200), (700, 100)) == [True, True, False], "wet until the kernel answers"
    assert desk.page.evaluate("document.activeElement.id") == "dry", "whose keys work after a click"
    assert desk.page.evaluate("layer.hasAttribute('data-wet')")


def test_wet_ink_has_the_pixels_of_the_path_drawn_in_one_go(desk):
    rng = np.random.default_rng(3)
    places = np.cumsum(rng.uniform(-60, 60, (60, 2)), axis=0) % [700, 300] + 50
    desk.mouse(*places.tolist())
    difference = desk.page.evaluate(
        """points => {
            const fresh = document.createElement("canvas"), context = fresh.getContext("2d");
            [fresh.width, fresh.height] = [wet.width, wet.height];
            context.lineWidth = 36;
            context.lineCap = context.lineJoin = "round";
            context.strokeStyle = context.fillStyle = "#22304f";
            context.arc(...points[0], 18, 0, 2 * Math.PI);
            context.fill();
            context.beginPath();
            for (const point of points) context.lineTo(...point);
            context.stroke();
            const [a, b] = [wet, fresh].map(c => c.getContext("2d").getImageData(0, 0, c.width, c.height).data);
            return a.reduce((worst, value, i) => (i % 4 === 3 ? Math.max(worst, Math.abs(value - b[i])) : worst), 0);
        }""",
        smooth_path(desk.received()[0][0]).tolist(),
    )
    assert difference <= 2


def test_messages_are_few_while_the_pen_moves_and_the_last_is_sent_at_once(desk):
    lag = desk.page.evaluate(
        """async () => {
            const box = wet.getBoundingClientRect(), common = { pointerId: 5, pointerType: "pen", bubbles: true };
            const dispatch = (name, step, buttons) => wet.dispatchEvent(new PointerEvent(name, {
                ...common, button: 0, buttons,
                clientX: box.left + step % 400, clientY: box.top + 100 + 50 * Math.sin(step),
            }));
            const start = performance.now();
            dispatch("pointerdown", 0, 1);
            let step = 0;
            while (performance.now() < start + 1500) {
                dispatch("pointermove", ++step, 1);
                await new Promise(done => setTimeout(done, 4));
            }
            const end = performance.now();
            dispatch("pointerup", step, 0);
            await new Promise(done => setTimeout(done, 50));
            return sent.at(-1).at - end;
        }"""
    )
    messages = [message for message in desk.sent() if message["kind"] == "ink"]
    assert messages[-1]["end"] == "lift"
    assert lag < 40
    assert len(messages) <= 1.5 * 30 + 1
    gaps = [second["at"] - first["at"] for first, second in itertools.pairwise(messages[:-1])]
    assert min(gaps) > 1000 / 30
    assert len(messages[0]["points"]) > 2
    assert [message["start"] for message in messages] == list(
        itertools.accumulate([0] + [len(message["points"]) // 2 for message in messages[:-1]])
    )


def test_places_between_two_frames_are_not_lost(desk):
    places = [(100 + 20 * step, 100 + 3 * step**2) for step in range(8)]
    desk.page.evaluate(
        """places => {
            const event = ([x, y]) => ({
                pointerId: 1, pointerType: "mouse", button: 0, buttons: 1, clientX: 50 + x / 2, clientY: 50 + y / 2,
            });
            const coalescedEvents = places.slice(1).map(place => new PointerEvent("pointermove", event(place)));
            wet.dispatchEvent(new PointerEvent("pointerdown", event(places[0])));
            wet.dispatchEvent(new PointerEvent("pointermove", { ...event(places.at(-1)), coalescedEvents }));
            wet.dispatchEvent(new PointerEvent("pointerup", event(places.at(-1))));
        }""",
        places,
    )
    assert np.allclose(desk.received()[0][0], places)


@pytest.mark.parametrize("button", ["right", "middle"])
def test_other_buttons_draw_nothing(desk, button):
    desk.mouse((100, 100), (300, 300), button=button)
    assert desk.is_blank
    assert desk.received() == []
    desk.page.keyboard.press("Escape")


def test_the_right_button_opens_the_notebooks_menu_and_a_long_touch_none(desk):
    opens = "wet.dispatchEvent(new MouseEvent('contextmenu', { cancelable: true, bubbles: true }))"
    desk.mouse((100, 100), (110, 100))
    assert desk.page.evaluate(opens)
    desk.touch("touchStart", first=(300, 300))
    assert not desk.page.evaluate(opens)
    desk.touch("touchEnd")


def test_a_click_with_ctrl_draws_nothing(desk):
    desk.page.keyboard.down("Control")
    desk.mouse((100, 100), (300, 300))
    desk.page.keyboard.up("Control")
    assert desk.is_blank


def test_the_wheel_scrolls_the_page_but_not_while_one_draws(desk):
    mouse = desk.page.mouse
    mouse.move(*desk.on_screen((100, 100)))
    mouse.down()
    mouse.wheel(0, 60)
    desk.page.wait_for_timeout(200)
    assert desk.page.evaluate("scrollY") == 0
    mouse.up()
    mouse.wheel(0, 60)
    desk.page.wait_for_function("scrollY === 60", timeout=2000)


def test_a_finger_draws_and_the_page_does_not_scroll(desk):
    desk.touch("touchStart", first=(100, 50))
    for y in (100, 200, 300):
        desk.touch("touchMove", first=(100, y))
        assert desk.has_ink((100, y)) == [True]
    desk.touch("touchEnd")
    assert len(desk.received()) == 1
    assert desk.page.evaluate("scrollY") == 0


def test_a_second_finger_draws_nothing(desk):
    desk.touch("touchStart", first=(100, 50))
    desk.touch("touchMove", first=(100, 150))
    desk.touch("touchStart", first=(100, 150), second=(600, 300))
    for step in range(5):
        desk.touch("touchMove", first=(100, 160 + 20 * step), second=(600 - 30 * step, 300))
    desk.touch("touchEnd", second=(480, 300))
    desk.touch("touchMove", second=(400, 300))
    desk.touch("touchEnd")
    (stroke, _), *others = desk.received()
    assert others == []
    assert {x for x, _ in stroke} == {100}


@pytest.mark.parametrize("radius", [12, 60], ids=["as small as a finger", "as large as a palm"])
def test_a_palm_that_lies_there_first_does_not_draw_and_does_not_keep_the_finger_from_it(desk, radius):
    palm = (700, 350)
    desk.palm("touchStart", palm, radius=radius)
    desk.page.wait_for_timeout(100)
    desk.palm("touchStart", palm, radius=radius, finger=(100, 100))
    for y in (150, 200, 300):
        desk.palm("touchMove", (702, 351), radius=radius, finger=(100, y))
    assert desk.has_ink((100, 300), palm) == [True, False]
    desk.palm("touchEnd", (702, 351), radius=radius)
    desk.palm("touchMove", (600, 300), radius=radius)
    desk.touch("touchEnd")
    strokes = desk.received()
    assert [stroke for stroke, _ in strokes] == [[(100, 100), (100, 150), (100, 200), (100, 300)]]
    assert not any(message["kind"] == "ink" and message["points"][:2] == [700, 350] for message in desk.sent())


def test_a_touch_that_grows_to_a_palm_leaves_nothing(desk):
    desk.palm("touchStart", (400, 200), radius=10)
    assert desk.has_ink((400, 200)) == [True]
    desk.palm("touchMove", (402, 200), radius=60)
    assert desk.is_blank
    desk.touch("touchEnd")
    assert desk.received() == []


def test_a_touch_that_the_system_calls_off_before_it_moved_leaves_nothing(desk):
    desk.touch("touchStart", first=(400, 200))
    desk.touch("touchCancel")
    assert desk.is_blank
    assert desk.received() == []


def test_a_pen_draws_while_a_hand_draws_beside_it_whose_ink_goes(desk):
    desk.touch("touchStart", first=(600, 300))
    desk.touch("touchMove", first=(660, 330))
    desk.sent()  # on its way to the kernel
    desk.draw_by_pen((100, 100), (200, 150), (300, 100))
    desk.touch("touchMove", first=(700, 300))
    desk.touch("touchEnd")
    assert [stroke for stroke, _ in desk.received()] == [[(100, 100), (200, 150), (300, 100)]]
    assert desk.has_ink((600, 300), (300, 100)) == [False, True]


def test_a_hand_that_comes_down_while_the_pen_is_near_draws_nothing(desk):
    desk.draw_by_pen((100, 100), (200, 100))
    desk.touch("touchStart", first=(600, 300))
    desk.touch("touchMove", first=(500, 300))
    desk.touch("touchEnd")
    assert len(desk.received()) == 1


@pytest.mark.parametrize(("button", "buttons"), [("right", 2), ("middle", 4)])
def test_the_buttons_of_a_pen_draw_nothing(desk, button, buttons):
    desk.draw_by_pen((100, 100), (300, 300), button=button, buttons=buttons)
    assert desk.is_blank
    desk.page.keyboard.press("Escape")


def test_a_pen_that_hovers_draws_nothing(desk):
    desk.pen("mouseMoved", (100, 100), button="none", buttons=0)
    desk.pen("mouseMoved", (300, 300), button="none", buttons=0)
    assert desk.is_blank


def test_a_stroke_ends_at_the_edge_and_goes_on_from_the_edge(desk):
    desk.mouse((700, 100), (900, 200), (900, 300), (700, 300), (600, 300))
    assert [stroke for stroke, _ in desk.received()] == [[(700, 100), (800, 150)], [(800, 300), (700, 300), (600, 300)]]


def test_a_stroke_that_runs_past_the_corner_does_not_leave_a_dot(desk):
    desk.mouse((700, 350), (850, 350), (850, 450), (700, 450))
    assert [stroke for stroke, _ in desk.received()] == [[(700, 350), (800, 350)]]


def test_a_button_whose_release_nobody_saw_ends_the_stroke_where_it_was(desk):
    mouse = desk.page.mouse
    mouse.move(*desk.on_screen((100, 100)))
    mouse.down()
    mouse.move(*desk.on_screen((200, 100)))
    x, y = desk.on_screen((400, 300))
    desk.cdp.send("Input.dispatchMouseEvent", {"type": "mouseMoved", "buttons": 0, "x": x, "y": y})
    assert desk.received() == [([(100, 100), (200, 100)], "lift")]
    mouse.up()


def test_a_short_touch_is_a_tap_and_leaves_a_dot(desk):
    desk.touch("touchStart", first=(300, 200))
    desk.touch("touchMove", first=(304, 200))
    desk.touch("touchEnd")
    assert [kind for _, kind in desk.received()] == ["tap"]
    assert desk.has_ink((300, 200)) == [True]


def test_wet_ink_stays_until_the_dry_ink_is_painted_and_then_goes(desk):
    desk.page.evaluate("void (window.queue = new Promise(done => { window.paint = done; }))")
    desk.mouse((100, 100), (300, 100))
    desk.mouse((100, 300), (300, 300))
    desk.answer("dry", strokes=[0])
    desk.page.wait_for_timeout(100)
    assert desk.has_ink((200, 100), (200, 300)) == [True, True]
    gone = "async () => { paint(); await new Promise(done => setTimeout(done)); }"
    desk.page.evaluate(gone)
    assert desk.has_ink((200, 100), (200, 300)) == [False, True]
    assert desk.page.evaluate("layer.hasAttribute('data-wet')")
    desk.answer("dry", strokes=[1, 77])
    desk.page.wait_for_timeout(50)
    assert desk.is_blank
    assert not desk.page.evaluate("layer.hasAttribute('data-wet')")
    desk.page.evaluate("delete window.queue")


def test_what_another_view_drew_is_not_taken_away(desk):
    desk.mouse((100, 100), (300, 100))
    desk.page.evaluate("answer({ kind: 'dry', view: 'another', strokes: [0] })")
    desk.page.wait_for_timeout(50)
    assert desk.has_ink((200, 100)) == [True]


def test_a_stroke_that_is_taken_back_while_it_is_drawn_goes_and_the_next_one_draws(desk):
    mouse = desk.page.mouse
    mouse.move(*desk.on_screen((100, 100)))
    mouse.down()
    mouse.move(*desk.on_screen((200, 100)))
    desk.answer("dry", strokes=[0])
    mouse.move(*desk.on_screen((300, 100)))
    mouse.up()
    desk.page.wait_for_timeout(50)
    assert desk.is_blank
    desk.mouse((100, 300), (300, 300))
    assert desk.has_ink((200, 300)) == [True]


def test_points_that_the_kernel_misses_are_sent_again(desk):
    desk.mouse((100, 100), (200, 100), (300, 100))
    desk.answer("missing", stroke=0, start=1)
    again = desk.sent()[-1]
    assert (again["start"], again["points"], again["end"]) == (1, [200, 100, 300, 100], "lift")


def test_a_stroke_of_which_nothing_is_heard_is_sent_again_less_and_less_often(chromium):
    context = chromium.new_context(viewport={"width": 600, "height": 400}, has_touch=True)
    page = context.new_page()
    page.clock.install()
    desk = Desk(page)
    desk.mouse((100, 100), (300, 100))
    page.clock.run_for(200)
    counts = []
    for seconds in (1.5, 1, 4, 8, 16, 32):
        page.clock.run_for(1000 * seconds)
        counts.append(sum(message["kind"] == "ink" and message["end"] == "lift" for message in page.evaluate("sent")))
    assert counts == [1, 2, 3, 4, 5, 6]
    page.evaluate("answer({ kind: 'dry', view: sent.at(-1).view, strokes: [0] })")
    before = len(page.evaluate("sent"))
    page.clock.run_for(120_000)
    assert len(page.evaluate("sent")) == before
    context.close()


def test_a_long_stroke_travels_in_messages_of_a_bounded_size(desk):
    desk.page.evaluate(
        """() => {
            const event = step => ({
                pointerId: 1, pointerType: "mouse", button: 0, buttons: 1,
                clientX: 60 + step % 300, clientY: 60 + step % 170,
            });
            wet.dispatchEvent(new PointerEvent("pointerdown", event(0)));
            const coalescedEvents = [...Array(1800).keys()].map(step => new PointerEvent("pointermove", event(step)));
            wet.dispatchEvent(new PointerEvent("pointermove", { ...event(1799), coalescedEvents }));
            wet.dispatchEvent(new PointerEvent("pointerup", event(1799)));
        }"""
    )
    messages = [message for message in desk.sent() if message["kind"] == "ink"]
    assert max(len(message["points"]) for message in messages) == 1000
    assert len(desk.received()[0][0]) == 1800


def test_a_view_that_is_taken_away_sends_what_it_has(desk):
    mouse = desk.page.mouse
    mouse.move(*desk.on_screen((100, 100)))
    mouse.down()
    mouse.move(*desk.on_screen((200, 100)))
    desk.page.evaluate("leave()")
    mouse.up()
    assert desk.received() == [([(100, 100), (200, 100)], "lift")]
