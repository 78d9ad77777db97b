"""A hand for the tests: draws strokes on a pad in the browser, with the mouse or a finger, and reads what it shows."""

import time

import numpy as np

BLANK = "Draw a digit or a number"
BETWEEN_EVENTS = 0.002  # seconds; a fast hand on a fast device


class Pad:
    """One pad on a page of Playwright, seen and used from outside."""

    def __init__(self, page, *, index: int = 0):
        self.page = page
        self.canvas = page.locator(".digit-pad-paper > canvas").nth(index)
        self.layer = page.locator(".digit-pad-paper div > canvas").nth(index)  # where wet ink is drawn
        self.mark = page.locator(".digit-pad-mark").nth(index)
        self.caption = page.locator(".digit-pad-caption").nth(index)
        self.root = page.locator(".digit-pad").nth(index)

    def button(self, name: str):
        return self.root.get_by_role("button", name=name)

    def on_screen(self, strokes):
        """Place strokes on a sheet as high as the paper, 1: lists of (x, y) in CSS pixels of the window."""
        box = self.canvas.bounding_box()
        return [np.asarray(stroke) * box["height"] + [box["x"], box["y"]] for stroke in strokes]

    def draw_by_mouse(self, strokes) -> None:
        mouse = self.page.mouse
        for stroke in self.on_screen(strokes):
            mouse.move(*stroke[0])
            mouse.down()
            for point in stroke[1:]:
                mouse.move(*point)
                time.sleep(BETWEEN_EVENTS)
            mouse.up()

    def draw_by_touch(self, strokes) -> None:
        fingers = Fingers(self.page)
        for stroke in self.on_screen(strokes):
            fingers.send("touchStart", first=stroke[0])
            for point in stroke[1:]:
                fingers.send("touchMove", first=point)
                time.sleep(BETWEEN_EVENTS)
            fingers.send("touchEnd")

    def answer(self) -> str:
        """Wait until what is shown has settled; return the large digit, "?" or "".

        A blank pad counts as settled later than an answer: on a slow machine the answer may be still to come.
        """
        seen, looks = "", 0
        for _ in range(60):
            self.page.wait_for_timeout(100)
            text = self.mark.inner_text().strip() + self.caption.inner_text()
            looks = looks + 1 if text == seen else 0
            if looks >= (15 if BLANK in text else 1):
                break
            seen = text
        return self.mark.inner_text().strip()

    def reads(self, expected: str, *, seconds: float = 30) -> bool:
        """Wait until the answer settles on what is expected; a busy machine shows that of half a digit for a while."""
        end = time.monotonic() + seconds
        while (answer := self.answer()) != expected and time.monotonic() < end:
            pass
        return answer == expected

    def clear(self) -> None:
        self.button("Clear").click()
        self.page.wait_for_function(
            "([element, text]) => element.innerText.trim() === text", arg=[self.caption.element_handle(), BLANK]
        )

    def ink(self) -> np.ndarray:
        """Return where there is ink to be seen: (height, width) bool, in pixels of the drawing."""
        wet = self.wet_ink() if self.layer.count() else False  # first, since what dries meanwhile is dry then
        return self.dry_ink() | wet

    def dry_ink(self) -> np.ndarray:
        """Return where the kernel has drawn ink."""
        return self._ink_on(self.canvas)

    def wet_ink(self) -> np.ndarray:
        """Return where there is ink that the browser has drawn, ahead of the kernel."""
        return self._ink_on(self.layer)

    @staticmethod
    def _ink_on(canvas) -> np.ndarray:
        width, alpha = canvas.evaluate(
            """canvas => {
                const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
                let packed = '';
                for (let i = 3; i < all.length; i += 4) packed += all[i] > 127 ? '1' : '0';
                return [canvas.width, packed];
            }"""
        )
        return (np.frombuffer(alpha.encode(), np.uint8) == ord("1")).reshape(-1, width)

    def scrolled(self) -> list[str]:
        """Return what on the page is scrolled away from its beginning."""
        return self.page.evaluate(
            "[...document.querySelectorAll('*')].filter(e => e.scrollTop).map(e => e.tagName + e.id)"
        )


class Fingers:
    """Touches as the browser's own driver makes them."""

    def __init__(self, page):
        self.session = page.context.new_cdp_session(page)

    def send(self, kind: str, **fingers) -> None:
        """Send touchStart, touchMove, touchEnd or touchCancel with the places of all fingers that are on the screen."""
        names = ("first", "second")
        touches = [{"x": float(x), "y": float(y), "id": names.index(name)} for name, (x, y) in fingers.items()]
        self.session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
