"""Correcting a misreading on the pad: by button, key and method, into the memory and into the file."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest

from digit_utils.datasets import drawings as datasets_drawings
from digit_utils.datasets.drawings import DrawingsFileError, LabelledDrawing, append_drawing, read_drawings
from digit_utils.datasets.loading import load_dataset
from digit_utils.datasets.samples import sample_digits
from digit_utils.pad import labelling
from digit_utils.pad.corrections import NOTHING_DRAWN, QUESTION
from digit_utils.pad.state import MAX_POINTS
from digit_utils.pad.widget import DigitPad
from digit_utils.recognition.adaptation import AdaptiveRecognizer
from digit_utils.recognition.recognizer import Prediction, Recognizer

SAMPLES = {sample.digit: sample.strokes for sample in sample_digits(side=800)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "drawings.jsonl"


def send(pad, event, **content):
    """Deliver an event as the browser does."""
    pad._canvas._handle_frontend_event(None, {"event": event, **content}, [])


def press(pad, key, **modifiers):
    keys = {"shift_key": False, "ctrl_key": False, "meta_key": False}
    send(pad, "key_down", key=key, **keys | modifiers)


def draw(pad, strokes):
    for stroke in strokes:
        send(pad, "mouse_down", x=stroke[0][0], y=stroke[0][1])
        for x, y in stroke[1:]:
            send(pad, "mouse_move", x=float(x), y=float(y))
        send(pad, "mouse_up", x=stroke[-1][0], y=stroke[-1][1])


def tap(pad, digit):
    """Tap a button, as the browser tells of it."""
    button = pad._view.corrections._buttons[digit]
    button._handle_button_msg(None, {"event": "click"}, [])


def note(pad):
    return pad._view.corrections._note.value


def chosen(pad):
    buttons = enumerate(pad._view.corrections._buttons)
    return [digit for digit, button in buttons if "digit-pad-chosen" in button._dom_classes]


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ------------------------------------------------------------------------------------------------------------
# On the pad


def test_one_tap_corrects_and_similar_drawings_follow():
    pad = DigitPad()
    draw(pad, SAMPLES[1])
    assert pad.predict().digit == 1
    assert note(pad) == QUESTION
    tap(pad, 7)
    assert pad.prediction.digit == 7
    assert ">7<" in pad._view._tiles.value
    assert chosen(pad) == [7]
    assert "Labelled 7" in note(pad)
    assert 'role="alert"' in note(pad)
    pad.clear()
    assert (chosen(pad), note(pad)) == ([], QUESTION)
    draw(pad, [stroke * 0.6 + 50 for stroke in SAMPLES[1]])  # smaller and elsewhere
    assert pad.predict().digit == 7
    for digit in (0, 2, 3, 4, 5, 6, 7, 8, 9):
        pad.clear()
        draw(pad, SAMPLES[digit])
        assert pad.predict().digit == digit


def test_another_tap_on_the_same_drawing_replaces_the_first():
    pad = DigitPad()
    draw(pad, SAMPLES[1])
    tap(pad, 7)
    tap(pad, 4)
    assert pad.prediction.digit == 4
    assert chosen(pad) == [4]
    tap(pad, 1)
    assert pad.prediction.digit == 1
    assert len(pad._recognizer) == 1


def test_digit_keys_on_the_paper_do_the_same_but_not_with_ctrl():
    pad = DigitPad()
    draw(pad, SAMPLES[3])
    press(pad, "5", ctrl_key=True)
    press(pad, "5", meta_key=True)
    assert chosen(pad) == []
    press(pad, "5")
    assert pad.prediction.digit == 5
    assert chosen(pad) == [5]


@pytest.mark.parametrize("key", ["", "12", "0123456789", "Unidentified", None])
def test_a_key_that_is_no_single_digit_labels_nothing(key):
    pad = DigitPad()
    draw(pad, SAMPLES[3])
    press(pad, key)
    assert chosen(pad) == []
    assert note(pad) == QUESTION


def test_a_drawing_that_changes_needs_a_new_label():
    pad = DigitPad()
    draw(pad, SAMPLES[1])
    pad.correct(7)
    draw(pad, [np.array([[300.0, 400], [500, 400]])])
    assert (chosen(pad), note(pad)) == ([], QUESTION)
    pad.correct(4)
    assert len(pad._recognizer) == 2
    pad.undo()
    pad.undo()
    assert chosen(pad) == [7]  # the drawing, and what was said of it before
    assert pad.prediction.digit == 7
    assert len(pad._recognizer) == 1


def test_undo_takes_back_a_wrong_label_from_memory_and_file_and_redo_gives_it_again(path):
    pad = DigitPad(drawings=path)
    draw(pad, SAMPLES[1])
    tap(pad, 7)
    press(pad, "z", ctrl_key=True)
    assert len(pad.strokes) == len(SAMPLES[1]), "the stroke stays"
    assert (pad.prediction.digit, chosen(pad), len(pad._recognizer)) == (1, [], 0)
    assert "removed from the file" in note(pad)
    assert read_drawings(path)[0] == []
    assert DigitPad(drawings=path).replay(SAMPLES[1]).digit == 1, "after a restart as well"
    press(pad, "y", ctrl_key=True)
    assert (pad.prediction.digit, chosen(pad), len(pad._recognizer)) == (7, [7], 1)
    assert [drawing.digit for drawing in read_drawings(path)[0]] == [7]
    pad.undo()
    pad.undo()
    assert pad.strokes == []
    press(pad, "Z", ctrl_key=True, shift_key=True)
    assert len(pad.strokes) == 1


def test_undo_of_a_second_label_brings_back_the_first():
    pad = DigitPad()
    draw(pad, SAMPLES[1])
    tap(pad, 4)
    tap(pad, 7)
    tap(pad, 7)
    pad.undo()
    assert (pad.prediction.digit, chosen(pad), len(pad._recognizer)) == (4, [4], 1)


def test_the_label_of_a_cleared_drawing_can_be_forgotten_after_undo(path):
    pad = DigitPad(drawings=path)
    draw(pad, SAMPLES[1])
    tap(pad, 7)
    pad.clear()
    pad._view.corrections.forget.click()
    assert len(pad._recognizer) == 1, "a blank paper has no label"
    pad.undo()
    assert chosen(pad) == [7]
    pad._view.corrections.forget.click()
    assert (pad.prediction.digit, chosen(pad), len(pad._recognizer)) == (1, [], 0)
    assert read_drawings(path)[0] == []
    pad.undo()
    assert (pad.prediction.digit, chosen(pad), len(pad._recognizer)) == (7, [7], 1)


def test_a_label_that_cannot_be_removed_from_the_file_is_forgotten_all_the_same(path, monkeypatch, caplog):
    pad = DigitPad(drawings=path)
    draw(pad, SAMPLES[1])
    tap(pad, 7)

    def fail(*_):
        raise DrawingsFileError("the disk is gone")

    monkeypatch.setattr(labelling, "append_drawing", fail)
    pad.undo()
    assert "could not be removed from the file" in note(pad)
    assert "the disk is gone" in caplog.text
    assert len(pad._recognizer) == 0


def test_a_label_needs_a_drawing_and_a_digit(path):
    pad = DigitPad(drawings=path)
    tap(pad, 3)
    assert NOTHING_DRAWN in note(pad)
    assert chosen(pad) == []
    first = note(pad)
    assert pad.correct(3) is None
    assert NOTHING_DRAWN in note(pad)
    assert note(pad) != first, "or a screen reader would not say it again"
    assert not path.exists()
    draw(pad, SAMPLES[1])
    assert NOTHING_DRAWN not in note(pad)
    with pytest.raises(ValueError, match="digit is 10; expected a whole number from 0 to 9"):
        pad.correct(10)


def test_each_pad_has_corrections_of_its_own_unless_they_share_a_recogniser():
    recognizer = Recognizer.load()
    first, second = DigitPad(recognizer), DigitPad(recognizer)
    third = DigitPad(first._recognizer)
    draw(first, SAMPLES[1])
    first.correct(7)
    for pad, expected in ((second, 1), (third, 7)):
        draw(pad, SAMPLES[1])
        assert pad.predict().digit == expected
    assert recognizer.recognize(SAMPLES[1]).digit == 1


class AlwaysTwo:
    """Recognises everything as a 2, and does not adapt."""

    def recognize(self, strokes):
        return Prediction(2, np.eye(10)[2], 1.0, np.ones((28, 28), np.float32))


def test_corrections_are_saved_although_the_recogniser_does_not_adapt(path):
    pad = DigitPad(AlwaysTwo(), drawings=path)
    draw(pad, SAMPLES[6])
    assert pad.correct(6).digit == 2
    assert [(line["digit"], line["read"]) for line in lines(path)] == [(6, 2)]


def test_every_button_has_a_name_for_screen_readers():
    names = [button.description for button in DigitPad()._view.corrections._buttons]
    assert names == [f"It is {'an' if digit == 8 else 'a'} {digit}" for digit in range(10)]


# ------------------------------------------------------------------------------------------------------------
# Into the file


def test_only_corrections_are_saved_and_the_pad_says_so_beforehand(path):
    pad = DigitPad(drawings=path)
    assert "saved" in note(pad)
    draw(pad, SAMPLES[2])
    tap(pad, 2)  # it was read so
    assert not path.exists()
    assert "Saved" not in note(pad)
    pad.clear()
    draw(pad, SAMPLES[1])
    tap(pad, 7)
    assert note(pad).count("Saved.") == 1
    (line,) = lines(path)
    assert (line["digit"], line["read"]) == (7, 1)
    for written, drawn in zip(line["strokes"], pad.strokes, strict=True):
        np.testing.assert_allclose(written, drawn, atol=0.005)
    assert "saved" not in note(DigitPad())


def test_all_labelled_drawings_are_saved_with_keep_all(path):
    pad = DigitPad(drawings=path, keep_all=True)
    assert "Labelled drawings are saved" in note(pad)
    for digit, said in ((2, 2), (1, 7), (3, 3)):
        pad.clear()
        draw(pad, SAMPLES[digit])
        tap(pad, said)
    assert [(line["digit"], line["read"]) for line in lines(path)] == [(2, 2), (7, 1), (3, 3)]
    assert load_dataset(str(path)).train.labels.tolist() == [2, 7, 3]


def test_a_wrong_label_is_replaced_or_removed_in_the_file(path):
    pad = DigitPad(drawings=path)
    draw(pad, SAMPLES[1])
    tap(pad, 4)
    tap(pad, 7)
    pad.clear()
    draw(pad, SAMPLES[3])
    tap(pad, 8)
    tap(pad, 3)  # it was read right
    assert "is removed" in note(pad)
    drawings, problems = read_drawings(path)
    assert problems == []
    assert [(drawing.digit, drawing.read) for drawing in drawings] == [(7, 1)]


def test_a_new_pad_uses_the_file_s_corrections_but_not_where_others_draw(path):
    pad = DigitPad(drawings=path, keep_all=True)
    draw(pad, SAMPLES[1])
    pad.correct(7)
    pad.clear()
    draw(pad, SAMPLES[2])
    pad.correct(2)
    with path.open("ab") as stream:
        stream.write(b'{"digit": 3, "str')
    with pytest.warns(UserWarning, match="line 3 is left out"):
        again = DigitPad(drawings=path)
    assert len(again._recognizer) == 1  # what was read right teaches nothing
    draw(again, SAMPLES[1])
    assert again.predict().digit == 7
    stranger = DigitPad(drawings=path, recall=False)
    draw(stranger, SAMPLES[1])
    assert stranger.predict().digit == 1


def test_a_file_that_cannot_be_written_is_refused_before_anybody_draws(tmp_path):
    (tmp_path / "in the way").write_text("")
    with pytest.raises(DrawingsFileError, match=r"cannot be saved in .*drawings\.jsonl"):
        DigitPad(drawings=tmp_path / "in the way" / "drawings.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(DrawingsFileError, match="it is a folder"):
        DigitPad(drawings=tmp_path / "folder.jsonl")
    with pytest.raises(ValueError, match=r"'mine\.txt'; its name must end in \.jsonl"):
        DigitPad(drawings="mine.txt")


def test_a_save_that_fails_is_reported_and_the_correction_holds_all_the_same(path, monkeypatch, caplog):
    pad = DigitPad(drawings=path)

    def fail(*_):
        raise DrawingsFileError("the drawing was not saved: /home/me/drawings.jsonl cannot be written (disk full)")

    monkeypatch.setattr(labelling, "append_drawing", fail)
    draw(pad, SAMPLES[1])
    tap(pad, 7)
    assert "could not be saved" in note(pad)
    assert "/home" not in note(pad)  # a visitor learns nothing about the machine
    assert "disk full" in caplog.text
    assert pad.prediction.digit == 7
    monkeypatch.undo()
    tap(pad, 7)
    assert [line["digit"] for line in lines(path)] == [7]


@pytest.fixture
def scribble():
    """As many points as a drawing may have."""
    return [np.random.default_rng(0).uniform(0, 800, (MAX_POINTS, 2))]


def tapped(pad, strokes, *digits):
    """Draw anew and tap digits; return what the pad said each time."""
    pad.clear()
    draw(pad, strokes)
    said = []
    for digit in digits:
        tap(pad, digit)
        said.append(note(pad))
    return said


def test_one_page_cannot_fill_the_file_with_taps_on_a_huge_drawing(path, scribble, monkeypatch, caplog):
    monkeypatch.setattr(labelling, "MAX_BYTES_PER_PAD", 800_000)
    pad = DigitPad(AlwaysTwo(), drawings=path)
    said = tapped(pad, scribble, *[3, 4] * 2)
    assert "Saved." in said[0]
    assert "is removed" in " ".join(said)
    assert path.stat().st_size < labelling.MAX_BYTES_PER_PAD + 400_000
    assert f"MB to {path}, the most it may add; reload the page" in caplog.text
    assert read_drawings(path) == ([], [])  # rather nothing than a label that was a slip
    assert "no room for more" in tapped(pad, SAMPLES[1], 7)[0]
    assert "Saved." in tapped(DigitPad(AlwaysTwo(), drawings=path), SAMPLES[1], 7)[0]


def test_pages_that_are_loaded_again_and_again_cannot_make_the_file_larger_than_it_may_be(
    path, scribble, monkeypatch, caplog
):
    monkeypatch.setattr(datasets_drawings, "LARGEST_FILE", 800_000)
    for digit in (3, 4, 5, 6):
        became = labelling.DrawingLabeller(drawings=path).label(AlwaysTwo(), labelling.LabelState(), scribble, digit)
    assert became is labelling.SaveResult.FULL
    assert path.stat().st_size <= 800_000
    assert f"no room for another drawing: {path} has" in caplog.text
    assert "move it to another place" in caplog.text
    assert [drawing.digit for drawing in read_drawings(path)[0]] == [3, 4]


def test_a_pad_whose_file_is_full_is_still_a_pad_to_draw_on(path, monkeypatch, caplog):
    pad = DigitPad(drawings=path)
    tapped(pad, SAMPLES[1], 7)
    monkeypatch.setattr(datasets_drawings, "LARGEST_FILE", path.stat().st_size)
    newcomer = DigitPad(drawings=path)
    assert f"no room for another drawing: {path} has" in caplog.text
    assert "no room for more" in tapped(newcomer, SAMPLES[3], 8)[0]
    assert newcomer.prediction.digit == 8


def test_in_a_full_file_a_wrong_label_is_removed_whatever_is_tapped_next(path, monkeypatch):
    pad = DigitPad(AlwaysTwo(), drawings=path)
    tapped(pad, SAMPLES[5], 5)
    for digit, told in ((2, "The earlier correction is removed"), (4, "is removed, but there is no room")):
        monkeypatch.undo()
        tapped(pad, SAMPLES[1], 7)
        monkeypatch.setattr(datasets_drawings, "LARGEST_FILE", path.stat().st_size)
        tap(pad, digit)
        assert told in note(pad)
        assert "/" not in note(pad).replace("</span>", "")  # a visitor learns nothing about the machine
        assert [drawing.digit for drawing in read_drawings(path)[0]] == [5]
    size = path.stat().st_size
    for digit in (4, 7, 2):
        tap(pad, digit)
    assert path.stat().st_size == size, "what is not there need not be taken back"
    monkeypatch.undo()
    tap(pad, 4)
    assert [drawing.digit for drawing in read_drawings(path)[0]] == [5, 4]


def test_another_tap_on_the_same_button_writes_nothing(path):
    pad = DigitPad(AlwaysTwo(), drawings=path)
    assert all("Saved." in said for said in tapped(pad, SAMPLES[1], 7, 7, 7))
    assert len(lines(path)) == 1
    tap(pad, 1)
    tap(pad, 7)
    assert [line["digit"] for line in lines(path)] == [7, 1, 7]


def test_pads_of_many_visitors_share_one_file(path):
    pads = [DigitPad(AlwaysTwo(), drawings=path, recall=False) for _ in range(6)]

    def visit(pad):
        for digit in (1, 3, 4, 5):
            pad.clear()
            draw(pad, SAMPLES[digit])
            pad.correct(digit)

    threads = [threading.Thread(target=visit, args=(pad,)) for pad in pads]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    drawings, problems = read_drawings(path)
    assert problems == []
    assert sorted(drawing.digit for drawing in drawings) == sorted([1, 3, 4, 5] * 6)


def test_a_slow_disk_does_not_label_the_next_drawing(path, monkeypatch):
    pad = DigitPad(AlwaysTwo(), drawings=path)
    draw(pad, SAMPLES[1])
    started, release = threading.Event(), threading.Event()

    def slow(*arguments):
        started.set()
        release.wait(20)
        return append_drawing(*arguments)

    monkeypatch.setattr(labelling, "append_drawing", slow)
    correcting = threading.Thread(target=pad.correct, args=(1,))
    correcting.start()
    assert started.wait(20)
    pad.clear()
    draw(pad, SAMPLES[5])
    release.set()
    correcting.join(20)
    assert chosen(pad) == []
    assert "Labelled" not in note(pad)
    pad.correct(5)
    assert [line["digit"] for line in lines(path)] == [1, 5]
    assert len({line["id"] for line in lines(path)}) == 2


def test_real_misreadings_of_one_writer_are_corrected_on_the_pad(pendigits, path):
    from digit_utils.evaluation.robustness import slanted

    plain, validation = Recognizer.load(), pendigits.validation
    own = validation.take(validation.writers == 20)
    hand = [[stroke + 200 for stroke in slanted(strokes, degrees=40)] for strokes in own.strokes]
    wrong = [place for place, strokes in enumerate(hand) if plain.recognize(strokes).digit != own.labels[place]]
    assert len(wrong) >= 4
    pad = DigitPad(drawings=path)
    met = 0
    for place in wrong:
        pad.clear()
        pad.replay(hand[place])
        if pad.prediction.digit != own.labels[place]:
            met += 1
            assert pad.correct(int(own.labels[place])).digit == own.labels[place]
    assert met < len(wrong)  # some were read right because of those before them
    assert len(lines(path)) == met
    again = DigitPad(drawings=path)
    for place in wrong:
        assert again._recognizer.recognize(hand[place]).digit == pad._recognizer.recognize(hand[place]).digit


@pytest.mark.slow
def test_two_hundred_corrections_are_loaded_within_three_seconds_of_computing(path):
    for index in range(300):
        digit = index % 10
        append_drawing(path, LabelledDrawing(SAMPLES[digit], (digit + 1) % 10, read=digit))
    reader = AdaptiveRecognizer(Recognizer.load())
    start = time.process_time()
    labelling.DrawingLabeller(drawings=path).load_corrections(reader)
    assert time.process_time() - start < 3
    assert len(reader) == 200


# ------------------------------------------------------------------------------------------------------------
# Other users of the file


def test_a_model_trained_with_a_file_is_asked_only_what_was_held_out(path, capsys):
    from types import SimpleNamespace

    from digit_utils.evaluation.held_out import own_drawings_for
    from digit_utils.recognition.model_file import ModelCard

    for digit in (1, 1, 1, 1, 1, 3):
        append_drawing(path, LabelledDrawing(SAMPLES[digit], digit))
    with path.open("ab") as stream:
        stream.write(b"?")
    trained = SimpleNamespace(card=ModelCard(provenance={"data": {"mnist": "ab", "drawings.jsonl": "cd"}}))
    stranger = SimpleNamespace(card=ModelCard(provenance={"data": {"mnist": "ab"}}))
    asked, told = own_drawings_for(trained, str(path))
    assert (asked.labels.tolist(), len(asked.strokes)) == ([1], 1)
    assert "holds out" in told
    asked, told = own_drawings_for(stranger, str(path))
    assert sorted(asked.labels.tolist()) == [1, 1, 1, 1, 1, 3]
    assert "all 6 drawings" in told
    assert "line 7 is left out" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_a_file_of_drawings_that_is_missing_is_told_before_a_notebook_starts(command, path, capsys):
    from digit_utils import cli

    assert cli.main([command, "--drawings", str(path)]) == 1
    assert f"there is no {path}" in capsys.readouterr().err


def test_the_page_refuses_a_file_that_will_not_do_and_fills_in_the_pads_parameters(path, capsys):
    from digit_utils import cli
    from digit_utils.serving.app import page_notebook

    assert cli.main(["draw", "--no-browser", "--drawings", "mine.txt"]) == 1
    assert cli.main(["draw", "--no-browser", "--keep-all"]) == 1
    told = capsys.readouterr().err
    assert "must end in .jsonl" in told
    assert "--drawings FILE.jsonl" in told
    first = page_notebook(drawings=str(path), recall=True).cells[0].source.splitlines()
    assert set(first) == {f"drawings = {str(path)!r}", "keep_all = False", "recall = True", "model = ''"}
    assert "drawings = ''" in page_notebook().cells[0].source  # nothing is saved unless asked for
