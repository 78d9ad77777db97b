import numpy as np
import pytest

from digit_utils.pad.state import (
    MAX_POINTS,
    MAX_STEPS,
    MAX_STROKES,
    DrawingFinger,
    DrawingState,
    LabelChange,
    Labelled,
    LabelState,
    StrokeDrawn,
    smooth_path,
)


def drawn(*strokes) -> DrawingState:
    state = DrawingState(side=100, width=100)
    for stroke in strokes:
        state.begin(*stroke[0])
        for point in stroke[1:]:
            state.extend(*point)
        state.end()
    return state


def test_a_stroke_holds_the_points_in_the_order_in_which_they_came():
    state = drawn([(10.0, 20.0), (30.0, 40.0), (30.0, 41.5)])
    assert len(state.strokes) == 1
    np.testing.assert_array_equal(state.strokes[0], [[10, 20], [30, 40], [30, 41.5]])
    assert not state.is_drawing


def test_moves_without_a_stroke_draw_nothing():
    state = DrawingState(side=100, width=100)
    assert not state.extend(5, 5)
    assert not state.end()
    assert state.strokes == []


def test_the_same_point_twice_is_kept_once():
    state = drawn([(1.0, 1.0), (1.0, 1.0), (2.0, 2.0), (2.0, 2.0)])
    assert state.strokes[0].tolist() == [[1, 1], [2, 2]]


def test_strokes_are_copies():
    state = drawn([(1.0, 1.0), (2.0, 2.0)])
    state.strokes[0][:] = 99
    assert state.strokes[0].tolist() == [[1, 1], [2, 2]]


@pytest.mark.parametrize(
    ("outside", "edge"),
    [
        ((150.0, 50.0), (100, 50)),
        ((-50.0, 50.0), (0, 50)),
        ((50.0, 150.0), (50, 100)),
        ((50.0, -50.0), (50, 0)),
        ((150.0, 250.0), (75, 100)),  # through the lower edge first, then past the right one
    ],
)
def test_a_stroke_that_leaves_the_paper_ends_where_it_crosses_the_edge(outside, edge):
    state = DrawingState(side=100, width=100)
    state.begin(50, 50)
    assert state.extend(*outside)
    assert not state.is_drawing
    assert state.strokes[0].tolist() == [[50, 50], list(edge)]
    assert not state.extend(60, 60)  # coming back takes a new stroke


def test_a_stroke_does_not_begin_beyond_the_edge():
    state = DrawingState(side=100, width=100)
    assert not state.begin(101, 50)
    assert not state.begin(50, -0.1)
    assert state.strokes == []


def test_a_new_stroke_ends_one_whose_end_got_lost():
    state = DrawingState(side=100, width=100)
    state.begin(10, 10)
    state.begin(20, 20)
    state.extend(30, 30)
    assert [stroke.tolist() for stroke in state.strokes] == [[[10, 10]], [[20, 20], [30, 30]]]


def test_undo_takes_back_one_stroke_and_clear_all_of_them():
    state = drawn([(1.0, 1.0), (2.0, 2.0)], [(3.0, 3.0), (4.0, 4.0)])
    assert state.undo()
    assert [stroke.tolist() for stroke in state.strokes] == [[[1, 1], [2, 2]]]
    state.clear()
    assert state.strokes == []
    state.clear()
    assert state.undo()
    assert len(state.strokes) == 1
    assert state.undo()
    assert state.strokes == []
    assert not state.undo()


def test_redo_repeats_what_was_undone_until_something_new_is_drawn():
    state = drawn([(1.0, 1.0), (2.0, 2.0)], [(3.0, 3.0), (4.0, 4.0)])
    state.clear()
    for _ in range(3):
        state.undo()
    assert not state.undo()
    counts = []
    while state.redo():
        counts.append(len(state.strokes))
    assert counts == [1, 2, 0]
    state.undo()
    assert [stroke.tolist() for stroke in state.strokes] == [[[1, 1], [2, 2]], [[3, 3], [4, 4]]]
    state.add([(5.0, 5.0)])
    assert state.redo() is None
    assert len(state.strokes) == 3


def test_a_label_is_a_step_and_belongs_to_the_drawing_as_it_was():
    state = drawn([(1.0, 1.0), (2.0, 2.0)])
    label_state = state.label_state([0])
    state.label((label_state, 7))
    label_state.digit = 7
    state.label((label_state, 7))  # another tap changes nothing
    assert state.label_state([0]) is label_state
    state.add([(5.0, 5.0)])
    assert state.label_state([0]) is label_state, "of the one stroke, whatever is drawn beside it"
    assert state.label_state([0, 1]) is not label_state
    assert not state.label_state([0, 1]).is_labelled
    state.undo()
    assert state.label_state([0]) is label_state
    assert state.undo() == Labelled((LabelChange(label_state, None, 7),))
    assert len(state.strokes) == 1
    assert state.redo() == Labelled((LabelChange(label_state, None, 7),))
    state.clear()
    state.add([(1.0, 1.0), (2.0, 2.0)])
    assert state.label_state([0]) is not label_state, "another drawing, even if it is the same"


def test_several_labels_are_one_step():
    state = drawn([(1.0, 1.0)], [(50.0, 1.0)])
    first, second = state.label_state([0]), state.label_state([1])
    state.label((first, 1), (second, "."))
    first.digit, second.digit = 1, "."
    assert state.known_labels(reach=2) == {(0,): first, (1,): second}
    assert state.undo() == Labelled((LabelChange(first, None, 1), LabelChange(second, None, ".")))
    assert state.undo() == StrokeDrawn([(50.0, 1.0)])


def test_a_label_lapses_while_a_later_stroke_touches_its_ink():
    state = drawn([(10.0, 10.0), (20.0, 20.0)])
    label_state = state.label_state([0])
    state.label((label_state, 1))
    label_state.digit = 1
    state.add([(40.0, 10.0), (40.0, 20.0)])
    assert state.known_labels(reach=2) == {(0,): label_state}
    state.add([(12.0, 15.0), (18.0, 15.0)])
    assert state.known_labels(reach=2) == {}
    state.undo()
    assert state.known_labels(reach=2) == {(0,): label_state}
    state.undo()
    state.undo()
    state.undo()
    assert state.known_labels(reach=2) == {}


def test_steps_are_bounded_and_no_stroke_is_stuck_behind_forgotten_ones():
    state = DrawingState(side=100, width=100)
    for _ in range(5):
        state.add([(float(index % 97), float(index % 89)) for index in range(MAX_POINTS)])
        state.clear()
    undone = 0
    while state.undo():
        undone += len(state.strokes)
    assert undone == 1, "one drawing of this size is remembered"
    state = drawn([(1.0, 1.0), (2.0, 2.0)])
    for digit in range(2 * MAX_STEPS):
        state.label((LabelState(), digit % 10))
    for _ in range(MAX_STEPS + 1):
        assert state.undo()
    assert state.strokes == []


def test_undo_during_a_stroke_takes_that_stroke_back():
    state = drawn([(1.0, 1.0), (2.0, 2.0)])
    state.begin(5, 5)
    state.undo()
    assert not state.extend(6, 6)
    assert len(state.strokes) == 1


def test_the_memory_is_bounded_and_undo_makes_room_again():
    state = DrawingState(side=100, width=100)
    state.begin(0, 0)
    for index in range(MAX_POINTS + 500):
        state.extend(index % 97, index % 89)
    assert sum(len(stroke) for stroke in state.strokes) == MAX_POINTS
    assert not state.begin(1, 1)
    state.undo()
    assert state.begin(1, 1)


def test_of_ten_thousand_strokes_the_first_are_kept_and_undo_makes_room():
    state = DrawingState(side=100, width=100)
    for index in range(10_000):
        state.begin(index % 97, index % 89)
        state.end()
    assert len(state.strokes) == MAX_STROKES
    state.undo()
    assert state.begin(1, 1)
    assert not state.begin(2, 2)


def test_the_first_finger_draws_until_it_is_lifted():
    finger = DrawingFinger()
    assert finger.start([(10, 10)]) == (10, 10)
    assert finger.move([(20, 20)]) == (20, 20)
    assert finger.lift([])  # the browser lists the fingers that remain: none
    assert not finger.is_down


def test_a_second_finger_is_ignored_wherever_the_browser_lists_it():
    finger = DrawingFinger()
    finger.start([(10, 10)])
    assert finger.start([(80, 80), (10, 10)]) is None
    assert finger.move([(81, 80), (40, 10)]) == (40, 10)
    assert not finger.lift([(40, 10)])
    assert finger.move([(50, 10)]) == (50, 10)


def test_when_the_drawing_finger_is_lifted_the_palm_does_not_take_over():
    finger = DrawingFinger()
    finger.start([(10, 10)])
    finger.start([(10, 10), (90, 90)])
    assert finger.lift([(90, 90)])
    assert finger.move([(60, 60)]) is None
    assert finger.lift([]) is False


def test_after_a_palm_the_new_finger_draws_not_the_palm():
    finger = DrawingFinger()
    finger.start([(10, 10)])
    finger.start([(10, 10), (90, 90)])
    finger.lift([(90, 90)])
    assert finger.start([(30, 30), (90, 91)]) == (30, 30)
    assert finger.start([(30, 30), (90, 91), (5, 5)]) is None


def on_paper(place) -> bool:
    return 0 <= place[0] <= 400 and 0 <= place[1] <= 400


@pytest.mark.parametrize("fingers", [[(-40, 900), (400, 300)], [(400, 300), (-40, 900)]])
def test_a_palm_that_rests_beside_the_paper_does_not_draw_and_keeps_nobody_from_drawing(fingers):
    finger = DrawingFinger()
    moved = [(x - 10, y) if x > 0 else (x, y) for x, y in fingers]
    palm = [(-40, 900)]
    for _ in range(2):
        assert finger.start(fingers, on_paper=on_paper) == (400, 300)
        assert finger.move(moved) == (390, 300)
        assert finger.lift(palm)
    palm = [(-40, 700)]  # it has moved, and that is not told either
    assert finger.start([*palm, (200, 200)], on_paper=on_paper) == (200, 200)


def test_a_hand_that_rests_on_the_paper_is_not_taken_for_a_finger_that_came_down_at_its_edge():
    finger = DrawingFinger()
    finger.start([(10, 10)], on_paper=on_paper)
    finger.start([(10, 10), (90, 90)], on_paper=on_paper)
    finger.lift([(90, 90)])
    assert finger.start([(400.2, 200), (90, 91)], on_paper=on_paper) == (400.2, 200)


def test_of_fingers_never_heard_of_the_last_in_the_list_is_the_new_one():
    assert DrawingFinger().start([(10, 10), (90, 90)]) == (90, 90)
    assert DrawingFinger().start([(-40, 900), (-10, 300)], on_paper=on_paper) == (-10, 300)


def test_fingers_without_a_start_and_empty_lists_are_harmless():
    finger = DrawingFinger()
    assert finger.start([]) is None
    assert finger.move([]) is None
    assert finger.lift([]) is False
    finger.start([(1, 1)])
    assert finger.move([]) is None
    assert finger.move([(2, 2)]) == (2, 2), "it goes on after an event without a place"
    assert finger.move([]) is None
    assert finger.lift([]) is True
    assert not finger.is_down
    assert finger.start([(5, 5)]) == (5, 5)


def test_a_smooth_path_joins_the_ends_and_stays_near_the_points():
    points = np.array([[0, 0], [50, 0], [50, 50], [0, 50]], float)
    path = smooth_path(points)
    assert path[0].tolist() == [0, 0]
    assert path[-1].tolist() == [0, 50]
    assert path.min() >= 0
    assert path.max() <= 50
    # no step turns by more than a right angle's sixth, give or take: the corner is gone
    steps = np.diff(path, axis=0)
    steps = steps[np.linalg.norm(steps, axis=1) > 0]
    angles = np.degrees(np.abs(np.diff(np.unwrap(np.arctan2(steps[:, 1], steps[:, 0])))))
    assert angles.max() < 30


def test_a_straight_stroke_stays_straight():
    path = smooth_path([(0, 0), (10, 5), (20, 10), (40, 20)])
    np.testing.assert_allclose(path[:, 1], path[:, 0] / 2, atol=1e-12)


@pytest.mark.parametrize("points", [[(3.0, 4.0)], [(3.0, 4.0), (8.0, 9.0)]])
def test_short_strokes_have_a_path_from_first_to_last_point(points):
    path = smooth_path(points)
    assert path.shape == (2, 2)
    assert path[0].tolist() == list(points[0])
    assert path[-1].tolist() == list(points[-1])
