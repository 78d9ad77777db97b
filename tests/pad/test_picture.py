"""A picture on the pad: opened, read, framed, tapped and corrected."""

import base64
import io

import cv2
import numpy as np
import pytest
from PIL import Image

from digit_utils.pad.picture import PadPicture
from digit_utils.pad.widget import DigitPad
from digit_utils.preprocessing.inputs import ImageInputError
from digit_utils.recognition.adaptation import AdaptiveRecognizer
from tests.support.pictures import SAMPLES, picture_of

TWO_NUMBERS = picture_of(("2026", 100, 80), ("47", 150, 400))


@pytest.fixture
def pad(recognizer):
    return DigitPad(AdaptiveRecognizer(recognizer))


def file_of(picture, suffix="JPEG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, suffix, **options)
    return file.getvalue()


def texts(pad) -> list[str]:
    return [number.text for number in pad.numbers]


def mark(pad, start, stop):
    """Drag over the picture, as the ink layer says it."""
    pad._layer._take_in(None, {"kind": "mark", "places": [list(start), list(stop)]}, [])
    pad.predict()


def tap(pad, place):
    mark(pad, place, place)


def middle(box):
    return box[0] + box[2] / 2, box[1] + box[3] / 2


def test_an_opened_picture_is_shown_and_every_number_in_it_is_read(pad):
    pad.open(TWO_NUMBERS)
    assert texts(pad) == ["2026", "47"]
    assert pad._view._caption.value == "2 numbers: 2026, 47"
    assert pad.number.text == "2026"
    assert "<b>6</b>" in pad._view._tiles.value, "the number that is selected"
    assert 'src="data:image/jpeg;base64,' in pad._view._photo.value
    assert pad._view._boxes.value.count('class="digit-pad-box"') == 2
    assert ">2026</text>" in pad._view._boxes.value


@pytest.mark.parametrize("form", ["path", "bytes", "turned", "gray"])
def test_a_picture_may_be_a_path_bytes_or_an_array_and_is_turned_upright(pad, form, tmp_path):
    if form == "path":
        picture = tmp_path / "photo.png"
        picture.write_bytes(file_of(TWO_NUMBERS, "PNG"))
    elif form == "turned":  # as a phone held upright stores it: on its side, with a note how to turn it
        exif = Image.Exif()
        exif[0x0112] = 6
        picture = file_of(np.rot90(TWO_NUMBERS).copy(), exif=exif)
    else:
        picture = file_of(TWO_NUMBERS) if form == "bytes" else cv2.cvtColor(TWO_NUMBERS, cv2.COLOR_RGB2GRAY)
    pad.open(picture)
    assert texts(pad) == ["2026", "47"]
    assert 'viewBox="0 0 1000 700"' in pad._view._boxes.value


def test_what_is_shown_is_the_picture_shrunk_to_what_a_screen_shows():
    large = cv2.resize(TWO_NUMBERS, (3000, 2100))
    html = PadPicture(large).picture_html()
    data = html.split("base64,")[1].rstrip('">')
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert shown.shape == (896, 1280, 3)
    expected = cv2.resize(large, (1280, 896), interpolation=cv2.INTER_AREA)
    assert np.abs(shown.astype(int) - expected).mean() < 3, "colours in their order"


@pytest.mark.parametrize(
    ("picture", "told"),
    [
        (b"no picture at all", "the picture cannot be decoded as an image; save it as PNG or JPEG and try again"),
        (file_of(TWO_NUMBERS)[:300], "the picture cannot be decoded as an image"),
        (np.zeros((3, 500), np.uint8), "the picture has 500 x 3 pixels; each side must have at least 8"),
    ],
)
def test_a_picture_that_cannot_be_read_is_refused_in_one_sentence_and_the_drawing_stays(pad, picture, told):
    pad.replay(SAMPLES[4])
    with pytest.raises(ImageInputError, match=told):
        pad.open(picture)
    assert len(pad.strokes) == len(SAMPLES[4])
    assert pad.predict().digit == 4


@pytest.mark.parametrize(("side", "told"), [(5_000, "has 5000 x 5000 pixels"), (30_000, "has far more than")])
def test_the_limit_on_pixels_is_checked_before_a_file_is_decoded(side, told):
    file = bytearray(file_of(np.zeros((64, 64), np.uint8)))
    frame = file.index(b"\xff\xc0")  # the header, with height and width
    file[frame + 5 : frame + 9] = side.to_bytes(2, "big") * 2
    with pytest.raises(ImageInputError, match=f"the picture {told}.* make it smaller"):
        PadPicture(bytes(file), max_pixels=2_000_000)


def test_a_picture_lies_on_a_new_sheet_and_undo_brings_the_drawing_back(pad):
    pad.replay(SAMPLES[4])
    pad.open(TWO_NUMBERS)
    assert pad.strokes == []
    pad.undo()
    assert texts(pad) == []
    assert pad._view._photo.value == pad._view._boxes.value == ""
    assert pad._view._caption.value == "Draw a digit or a number"
    pad.undo()
    assert pad.predict().digit == 4


@pytest.mark.parametrize("way", ["clear", "undo", "replay"])
def test_clear_undo_and_a_new_drawing_take_the_picture_away(pad, way):
    pad.open(TWO_NUMBERS)
    pad.replay(SAMPLES[3]) if way == "replay" else getattr(pad, way)()
    assert pad._view._photo.value == pad._view._boxes.value == ""
    assert (pad.prediction and pad.prediction.digit) == (3 if way == "replay" else None)


def test_a_picture_without_a_number_says_so(pad):
    pad.open(picture_of())
    assert texts(pad) == []
    assert pad._view._caption.value == "No number found. Drag a box around one."


def test_one_digit_in_a_picture_is_shown_as_a_drawn_one(pad):
    pad.open(picture_of(("7", 300, 200)))
    assert pad.prediction.digit == 7
    assert pad._view._caption.value == "This is a 7"
    assert "The drawing as the network sees it" in pad._view._tiles.value


def test_a_drag_marks_the_region_that_is_read_alone(pad):
    pad.open(TWO_NUMBERS)
    mark(pad, (60, 350), (500, 600))
    assert texts(pad) == ["47"]
    assert pad._view._caption.value == "This is 47"
    np.testing.assert_allclose(pad.numbers[0].box, (178, 414, 155, 95), atol=12, err_msg="in the whole picture")
    assert "digit-pad-outside" in pad._view._boxes.value
    assert pad.strokes == [], "a drag leaves no ink"


def test_without_the_ink_layer_nothing_is_drawn_over_a_picture(pad):
    pad.open(TWO_NUMBERS)
    pad._pointer.mouse_down(60, 350)
    pad._pointer.mouse_move(500, 600)
    pad._pointer.mouse_up(500, 600)
    assert pad.strokes == []
    assert texts(pad) == ["2026", "47"]


def test_a_frame_beyond_the_picture_ends_at_its_edge(pad):
    pad.open(TWO_NUMBERS)
    mark(pad, (-50, 900), (1200, -20))
    assert texts(pad) == ["2026", "47"]
    assert "M0.0 0.0h1000.0v700.0" in pad._view._boxes.value


def test_a_tap_on_a_digit_shows_its_bars_and_what_the_network_saw(pad):
    pad.open(TWO_NUMBERS)
    four = pad.numbers[1].digits[0]
    tap(pad, middle(four.box))
    assert pad.prediction.digit == 4
    assert "digit-pad-box-selected" in pad._view._boxes.value
    assert pad._view._caption.value == "2 numbers: 2026, 47"
    tap(pad, (900, 600))
    assert pad.prediction.digit == 4, "beside all digits a tap selects nothing"


def test_a_label_corrects_the_selected_digit_and_digits_like_it_and_can_be_forgotten(recognizer):
    pad = DigitPad(AdaptiveRecognizer(recognizer))
    other = picture_of(("7", 300, 200))
    pad.open(TWO_NUMBERS)
    tap(pad, middle(pad.numbers[1].digits[1].box))
    assert pad.correct(1).digit == 1
    assert texts(pad) == ["2026", "41"]
    assert pad._view.corrections._note.value.count("Labelled 1.") == 1
    pad.open(other)
    assert pad.prediction.digit == 1, "the same form in another picture"
    assert "Tap the digit in the picture" in pad._view.corrections._note.value


def test_forgetting_a_label_in_a_picture_brings_the_reading_back(pad):
    pad.open(TWO_NUMBERS)
    tap(pad, middle(pad.numbers[1].digits[1].box))
    pad.correct(1)
    assert pad.forget().digit == 7
    assert texts(pad) == ["2026", "47"]


def test_undo_takes_back_labels_and_regions_of_a_picture_before_the_picture(pad):
    pad.open(TWO_NUMBERS)
    mark(pad, (60, 350), (500, 600))
    assert pad.correct(1).digit == 1
    assert pad.correct(2).digit == 2
    seen = []
    for _ in range(4):
        pad.undo()
        seen.append(texts(pad))
        if len(seen) == 2:
            pad.redo()
            seen.append(texts(pad))
            pad.undo()
    assert seen == [["41"], ["47"], ["41"], ["2026", "47"], []]
    assert pad._view._photo.value == ""


def test_redo_brings_back_regions_and_labels_of_a_picture_until_something_else_is_done(pad):
    pad.open(TWO_NUMBERS)
    mark(pad, (60, 350), (500, 600))
    pad.correct(1)
    for _ in range(2):
        pad.undo()
    assert texts(pad) == ["2026", "47"]
    seen = []
    for _ in range(3):
        pad.redo()
        seen.append((texts(pad), pad._picture.label_of_selected))
    assert seen == [(["47"], None), (["41"], 1), (["41"], 1)]
    pad.undo()
    pad.correct(9)
    pad.redo()
    assert texts(pad) == ["49"]


def test_where_nothing_is_found_nothing_asks_for_corrections(pad):
    pad.open(np.full((200, 300), 255, np.uint8))
    assert pad._view._caption.value == "No number found. Drag a box around one."
    assert pad._view.corrections._note.value == "Once a number is found, it can be corrected here."
    pad.clear()
    assert pad._view.corrections._note.value == "Wrong? Tap the right digit."


def test_a_picture_from_the_browser_is_read_and_a_bad_one_is_one_sentence_on_the_pad(pad):
    pad._layer._take_in(None, {"kind": "picture"}, [memoryview(file_of(TWO_NUMBERS))])
    pad.predict()
    assert texts(pad) == ["2026", "47"]
    assert pad._layer.frames
    large, damaged = file_of(picture_of(width=2000, height=1000)), file_of(TWO_NUMBERS)[:300]
    for content, buffers, told in (
        ({"kind": "no picture"}, [], "cannot be decoded as an image; save it as PNG or JPEG and try again."),
        ({"kind": "picture"}, [damaged], "cannot be decoded as an image; save it as PNG or JPEG and try again."),
        ({"kind": "picture"}, [large], "has 2000 x 1000 pixels; make it smaller than 1,638,400 pixels."),
    ):
        pad.clear()
        pad._layer._take_in(None, content, buffers)
        assert pad._view._caption.value == f"The picture {told}"
        assert not pad._layer.frames


@pytest.mark.parametrize("places", [None, [], [[1, 2]], [[1, 2], [3]], [[1, 2], [3, "4"]], [[1, 2], [1e300, 4]], "ab"])
def test_a_mark_that_no_browser_sends_is_passed_over(pad, places):
    pad.open(TWO_NUMBERS)
    pad._layer._take_in(None, {"kind": "mark", "places": places}, [])
    pad._layer._take_in(None, {"kind": ["mark"]}, [])
    pad.predict()
    assert texts(pad) == ["2026", "47"]


def test_the_arrow_keys_walk_through_a_number_of_a_picture(pad):
    pad.open(TWO_NUMBERS)
    for expected in (2, 6, 2):
        pad._on_key_down("ArrowRight" if expected == 6 else "ArrowLeft", False, False, False)
        assert pad.prediction.digit == expected


def test_what_the_browser_could_not_have_made_is_not_opened(pad):
    for buffers in ([], [file_of(TWO_NUMBERS, "PNG")], [file_of(TWO_NUMBERS)] * 2):
        pad._layer._take_in(None, {"kind": "picture"}, buffers)
    pad.predict()
    assert texts(pad) == []
    assert pad._view._caption.value == "Draw a digit or a number"


def test_a_recogniser_of_drawings_alone_says_that_it_failed():
    class OfDrawings:
        def recognize(self, strokes):
            raise AssertionError

    pad = DigitPad(OfDrawings())
    pad.open(TWO_NUMBERS)
    assert pad._view._caption.value == "Recognition failed: AttributeError"


def test_the_strip_shows_the_selected_character_as_it_is_in_the_picture(pad):
    pad.open(TWO_NUMBERS)
    pad._view.unfold.click()
    address = pad._view._tiles.value.split("--step-drawing:url(data:image/png;base64,")[1].split(")")[0]
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(address), np.uint8), cv2.IMREAD_GRAYSCALE)
    x, y, width, height = pad.number.digits[-1].box
    margin = 0.15 * max(width, height)
    part = TWO_NUMBERS[int(y - margin) : int(y + height + margin) + 1, int(x - margin) : int(x + width + margin) + 1]
    expected = cv2.resize(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), shown.shape[::-1], interpolation=cv2.INTER_AREA)
    assert max(shown.shape) == 112
    assert np.abs(shown.astype(int) - expected).mean() < 1
