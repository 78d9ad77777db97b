"""Allographs: the forms of the ten digits that people in different places write, as pen paths made here.

MNIST was written by Americans around 1990 and lacks forms that are common elsewhere: the 1 with a long flag or a foot,
the crossed 7, the slashed 0, the open 4, the flat-topped 3. Each form below is a skeleton: a few points that a pen
passes through, in a box from (0, 0) at the upper left to (1, 1) at the lower right. `draw_allograph` moves the
points a little, lays smooth curves through them and leaves slant, proportions, tremor and pen to
`digit_utils.augmentation.strokes`.

A stroke is written as a string: points "x,y" with a blank between them, and a "/" where the pen turns a sharp corner.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from digit_utils.preprocessing.strokes import curve_through

POINTS_PER_PIECE = 12  # points laid on the curve between two neighbouring points of a skeleton
JITTER = 0.035  # standard deviation of a skeleton's points, relative to the box


@dataclass(frozen=True)
class Allograph:
    """One way of writing a digit."""

    digit: int
    name: str
    strokes: tuple[str, ...]


def _forms(digit: int, **strokes: str | tuple[str, ...]) -> list[Allograph]:
    return [Allograph(digit, name, (paths,) if isinstance(paths, str) else paths) for name, paths in strokes.items()]


_OVAL = ".55,0 .25,.08 .06,.4 .1,.75 .4,1 .75,.9 .92,.55 .82,.15 .5,.0"
_OVAL_CLOCKWISE = ".45,0 .8,.1 .94,.45 .85,.85 .5,1 .15,.85 .06,.45 .2,.1 .5,.01"
_STEM_7 = ".95,.0 .65,.4 .4,1"

ALLOGRAPHS: tuple[Allograph, ...] = tuple(
    _forms(
        0,
        oval=_OVAL,
        clockwise=_OVAL_CLOCKWISE,
        narrow=".52,0 .32,.15 .26,.5 .34,.85 .52,1 .7,.85 .76,.5 .68,.15 .5,.01",
        overlapping=".7,.05 .4,.0 .1,.3 .06,.65 .3,.97 .7,.93 .93,.6 .85,.2 .55,.02 .3,.1",
        open_top=".4,.02 .12,.25 .06,.6 .25,.95 .65,.97 .92,.65 .88,.25 .65,.05",
        loop_at_top=".75,.2 .6,.02 .3,.08 .08,.4 .1,.75 .4,1 .75,.9 .92,.55 .8,.2 .55,.08 .4,.2 .6,.25 .85,.1",
        slashed=(_OVAL, ".85,.08 .5,.5 .15,.93"),
        slashed_beyond=(_OVAL, "1.05,-.08 .5,.5 -.05,1.06"),
        slashed_in_one=".55,0 .2,.1 .05,.5 .25,.93 .65,.95 .93,.6 .85,.2 .55,.0 / .9,.05 .1,.95",
        backslashed=(_OVAL, ".18,.12 .5,.5 .82,.88"),
        dotted=(_OVAL, ".5,.48 .51,.53"),
    )
    + _forms(
        1,
        plain=".5,0 .5,.5 .5,1",
        bent=".45,0 .5,.35 .5,.7 .46,1",
        flag=".28,.3 .55,.0 / .55,.5 .55,1",
        short_flag=".4,.13 .55,.0 / .55,.5 .55,1",
        long_flag=".1,.55 .37,.25 .6,.0 / .6,.5 .6,1",
        very_long_flag=".08,.85 .36,.42 .6,.0 / .62,.5 .62,1",
        flag_from_the_ground=".05,.95 .58,.0 / .62,1",
        curved_flag=".2,.42 .43,.26 .6,.0 / .58,.5 .55,1",
        foot=(".5,0 .5,.5 .5,1", ".2,1 .5,1 .8,1"),
        flag_and_foot=(".2,.25 .5,.0 / .5,.5 .5,1", ".15,1 .5,1 .85,1"),
        flag_and_foot_in_one=".2,.25 .52,.0 / .52,.5 .52,.98 / .15,1 / .85,1",
        long_flag_and_foot=(".05,.42 .3,.25 .55,.0 / .55,1", ".2,1 .55,1 .9,1"),
        two_stroke_flag=(".5,0 .5,.5 .5,1", ".5,.02 .35,.15 .2,.25"),
        hook_at_the_foot=".5,0 .47,.5 .44,1 / .6,.75",
        long_hook_at_the_foot=".52,0 .42,.5 .36,1 / .5,.78 .66,.52",
    )
    + _forms(
        2,
        simple=".08,.22 .3,.02 .65,.0 .85,.22 .7,.5 .35,.8 .05,1 / .5,.99 .95,1",
        wavy=".08,.2 .35,.0 .7,.05 .82,.3 .6,.6 .3,.85 .05,1 .3,.92 .6,1 .95,.92",
        loop=".1,.2 .35,.0 .7,.05 .78,.3 .6,.6 .3,.9 .1,.98 .03,.86 .2,.8 .45,.92 .7,1 .95,.93",
        big_loop=".12,.2 .4,.0 .75,.08 .75,.35 .5,.7 .2,.97 .02,.9 .12,.72 .38,.75 .6,.95 .98,.98",
        swan=".2,.3 .15,.12 .4,.0 .75,.1 .75,.4 .4,.75 .05,.98 / .4,.95 .95,1",
        angular=".05,.1 / .85,.05 / .05,1 / .95,1",
        straight_neck=".1,.25 .3,.02 .7,.02 .85,.25 / .08,.98 / .95,.98",
        round_back=".05,.15 .4,.0 .8,.15 .88,.42 .7,.72 .4,.92 .08,1 / .95,1",
        curled=".3,.3 .12,.25 .2,.05 .55,.0 .82,.2 .7,.5 .35,.82 .05,1 / .6,.98 .95,.9",
        curled_and_looped=".32,.26 .12,.3 .1,.1 .45,.0 .78,.14 .68,.45 .3,.85 .1,.98 .03,.85 .2,.77 .5,.95 .97,.9",
    )
    + _forms(
        3,
        round=".1,.12 .4,.0 .75,.1 .75,.35 .4,.47 / .8,.55 .9,.78 .6,1 .08,.92",
        smooth=".1,.15 .4,.0 .78,.12 .72,.38 .42,.48 .75,.55 .9,.78 .6,1 .1,.92",
        flat_top=".08,.02 .45,.02 .85,.0 / .4,.42 / .75,.5 .92,.75 .6,1 .08,.93",
        flat_top_steep=".05,.0 .8,.0 / .5,.4 / .85,.55 .85,.88 .5,1 .05,.9",
        looped=".1,.15 .4,.0 .75,.12 .68,.38 .42,.5 .33,.45 .45,.42 .8,.55 .85,.82 .55,1 .08,.92",
        pointed=".1,.05 .5,.0 .8,.2 / .35,.47 / .85,.7 .6,.97 .05,.98",
        big_belly=".2,.1 .5,.0 .7,.15 .6,.35 .35,.4 / .8,.45 .98,.72 .65,1 .05,.9",
        small_belly=".05,.2 .4,.0 .9,.12 .85,.45 .4,.6 / .7,.65 .7,.9 .4,1 .1,.95",
        hooked=".2,.25 .1,.1 .45,.0 .8,.15 .7,.4 .4,.48 / .8,.55 .88,.8 .55,1 .15,.95 .15,.8",
        curled=".3,.22 .18,.2 .22,.05 .5,.0 .76,.12 .68,.36 .42,.46 .8,.58 .86,.84 .5,1 .1,.93 .02,.77 .2,.74",
        curled_corner=".2,.2 .2,.05 .5,.0 .8,.14 .7,.38 / .4,.46 / .8,.52 .88,.82 .5,1 .1,.9 .12,.72 .3,.74",
    )
    + _forms(
        4,
        open=(".15,.0 .12,.3 .1,.55 / .5,.57 .95,.55", ".72,.05 .7,.5 .68,1"),
        open_high=(".2,.02 .1,.35 .15,.6 .5,.62 .8,.5", ".8,.0 .75,.5 .7,1"),
        open_parallel=(".1,.0 .08,.5 / .9,.5", ".75,.0 .75,1"),
        open_short_stem=(".35,.0 .1,.55 / .95,.58", ".65,.3 .62,.65 .6,1"),
        closed=".65,1 .67,.5 .68,.0 / .05,.68 / .98,.68",
        closed_two_strokes=(".65,.0 .3,.4 .03,.7 / .95,.7", ".65,.02 .66,.5 .66,1"),
        closed_stem_last=(".6,.0 / .05,.65 / 1,.65", ".62,.25 .62,.6 .62,1"),
        one_stroke_open=".3,.0 .15,.3 .1,.55 / .6,.5 .85,.4 / .85,.0 / .8,.5 .75,1",
        one_stroke_loop=".25,.0 .1,.4 .2,.55 .55,.5 .8,.25 .85,.02 / .8,.5 .75,1",
        lightning=".4,.0 .1,.55 / .9,.5 / .6,.3 / .55,1",
    )
    + _forms(
        5,
        two_strokes=(".2,.03 .16,.42 / .5,.36 .85,.5 .88,.78 .55,1 .08,.93", ".2,.02 .5,.02 .88,.0"),
        bar_first=".88,.02 .5,.02 .2,.03 / .15,.42 / .5,.35 .88,.52 .85,.82 .5,1 .08,.92",
        s_shaped=".85,.02 .45,.04 .2,.22 .35,.42 .72,.55 .85,.8 .5,1 .08,.93",
        angular=".9,.0 / .2,.02 / .15,.45 / .8,.45 / .85,.9 / .1,1",
        round_belly=(".25,.05 .2,.35 / .6,.3 .95,.55 .8,.9 .4,1 .1,.85", ".25,.04 .85,.02"),
        long_bar=(".2,.05 .18,.4 / .55,.38 .8,.6 .7,.9 .3,1 .05,.92", ".2,.05 .6,.04 1.1,-.04"),
        detached_bar=(".2,.15 .18,.48 / .5,.42 .85,.58 .8,.85 .45,1 .08,.93", ".25,.0 .6,.02 .95,-.02"),
        small_top=(".3,.0 .28,.22 / .7,.25 .9,.6 .65,.95 .1,.95", ".3,.0 .75,.0"),
        wavy_bar=(
            ".34,.06 .26,.4 / .56,.36 .86,.54 .78,.88 .35,1 .0,.92 .02,.78",
            ".2,.1 .42,.0 .72,.1 1.0,.06 1.08,-.08",
        ),
        curled=(".32,.05 .24,.42 / .58,.36 .88,.56 .8,.9 .4,1 .08,.92 .06,.75 .25,.72", ".3,.05 .6,.08 .95,-.02"),
    )
    + _forms(
        6,
        curved=".75,.0 .4,.15 .12,.5 .12,.8 .4,1 .8,.9 .85,.65 .55,.5 .2,.62 .1,.78",
        straight=".7,.0 .35,.35 .1,.7 .25,.97 .65,.98 .82,.75 .6,.55 .25,.6 .12,.75",
        tall=".45,.0 .2,.4 .15,.8 .4,1 .7,.9 .7,.68 .42,.6 .18,.75",
        small_bowl=".65,.0 .3,.3 .12,.65 .2,.95 .55,1 .68,.8 .45,.68 .15,.82",
        big_bowl=".85,.08 .55,.0 .15,.35 .08,.75 .4,1 .85,.88 .9,.55 .55,.35 .15,.55",
        spiral=".9,.12 .6,.0 .2,.2 .05,.6 .3,.97 .75,.95 .9,.65 .6,.45 .3,.6 .4,.78",
        open_bowl=".7,.0 .3,.25 .1,.65 .3,.98 .7,.95 .85,.7 .6,.55 .4,.65",
        clockwise=".15,.68 .5,.5 .85,.65 .8,.92 .45,1 .12,.8 .2,.4 .45,.12 .75,.0",
        vertical_stem=".15,.0 .12,.5 .15,.85 .45,1 .8,.9 .82,.62 .5,.5 .17,.65",
    )
    + _forms(
        7,
        plain=".05,.02 .5,.02 .92,.0 / .6,.45 .4,1",
        curved=".05,.08 .5,.05 .92,.02 .7,.4 .45,.75 .4,1",
        straight=".05,.0 .95,.0 / .35,1",
        steep=".15,.02 .85,.0 / .75,.5 .7,1",
        wavy_top=".05,.1 .3,.0 .6,.08 .92,.0 / .6,.5 .42,1",
        serif=".08,.22 .1,.02 / .5,.03 .92,.0 / .6,.45 .4,1",
        hooked=".05,.25 .12,.03 .5,.05 .92,.0 .65,.45 .45,1",
        narrow=".2,.03 .5,.01 .8,.0 / .72,.5 .66,1",
        narrow_slanted=".25,.02 .82,.0 / .6,.5 .42,1",
        curled=".24,.26 .06,.22 .1,.05 .45,.07 .95,.0 / .62,.45 .42,1",
        barred=(".05,.02 .5,.02 .92,.0 / .6,.45 .4,1", ".3,.52 .6,.5 .88,.48"),
        barred_long=(".05,.03 .95,.0 / .6,.5 .4,1", ".15,.55 .6,.5 1.0,.45"),
        barred_low=(".1,.03 .9,.0 / .6,.5 .4,1", ".22,.65 .55,.63 .8,.6"),
        barred_serif=(".08,.2 .1,.02 / .92,.0 / .6,.45 .4,1", ".3,.52 .6,.5 .88,.48"),
        barred_steep=(".1,.03 .85,.0 / .72,.5 .65,1", ".4,.5 .7,.47 1.0,.45"),
        barred_wide=(".05,.05 .9,.0 / .55,.5 .35,1", ".0,.52 .5,.5 1.0,.5"),
        barred_hooked=(".05,.18 .1,.03 .5,.05 .9,.0 .6,.5 .45,1", ".2,.5 .55,.5 .95,.47"),
        barred_wavy=(".05,.12 .25,.0 .6,.1 .95,.0 / .6,.5 .42,1", ".25,.54 .6,.52 .9,.48"),
        barred_dipping=(".05,.0 .18,.19 .48,.22 .92,.02 / .56,.3 .46,1", ".15,.62 .5,.6 .88,.57"),
        barred_tilted=(".08,.05 .9,.0 / .6,.45 .4,1", ".35,.4 .6,.5 .85,.58"),
    )
    + _forms(
        8,
        s_start=".8,.12 .5,.0 .2,.2 .4,.45 .75,.6 .85,.82 .5,1 .15,.82 .3,.58 .65,.4 .85,.15",
        reversed_start=".2,.12 .5,.0 .8,.2 .6,.45 .25,.62 .15,.85 .5,1 .85,.82 .7,.58 .35,.4 .18,.15",
        from_middle=".5,.47 .2,.3 .3,.05 .7,.05 .8,.3 .5,.47 .15,.65 .2,.93 .5,1 .82,.93 .85,.65 .52,.47",
        two_rings=(
            ".5,.0 .25,.1 .25,.38 .5,.48 .75,.38 .75,.1 .48,.0",
            ".5,.48 .15,.6 .18,.9 .5,1 .82,.9 .85,.6 .5,.48",
        ),
        from_bottom=".15,.95 .5,.5 .75,.2 .5,.0 .25,.2 .45,.48 .82,.8 .5,1 .2,.82 .45,.5",
        open_top=".7,.05 .3,.1 .3,.35 .65,.55 .8,.8 .5,1 .18,.85 .3,.6 .6,.42 .8,.08",
        crossed=".8,.1 .45,.0 .2,.2 .8,.8 .55,1 .2,.9 .25,.7 .85,.12",
        small_head=".65,.08 .45,.0 .35,.18 .5,.35 .85,.6 .75,.95 .35,1 .12,.75 .4,.42 .65,.2 .62,.06",
        open_to_the_right=".98,.0 .6,.04 .28,.22 .45,.46 .76,.64 .72,.92 .38,1 .13,.82 .38,.56 .7,.36 .98,.16",
        wide_open_top=".55,.0 .25,.16 .4,.42 .8,.66 .75,.94 .4,1 .16,.82 .4,.52 .75,.3 .92,.04",
        slanted_start=".9,.0 .55,.02 .25,.2 .45,.45 .75,.62 .7,.92 .35,1 .15,.8 .35,.55 .7,.35 .88,.02",
    )
    + _forms(
        9,
        straight=".82,.2 .5,.0 .15,.2 .25,.48 .6,.5 .82,.2 / .8,.6 .78,1",
        hooked=".82,.18 .5,.0 .15,.2 .25,.48 .6,.48 .82,.18 .82,.6 .65,.95 .25,1 .1,.88",
        round=".85,.25 .55,.0 .15,.15 .15,.42 .5,.52 .82,.3 .85,.65 .6,1 .15,.92",
        slanted=".75,.15 .45,.0 .12,.25 .35,.48 .75,.2 .55,.65 .35,1",
        far_slanted=".9,.12 .62,.0 .35,.18 .5,.38 .9,.14 / .5,.55 .12,1",
        bowl_first=".95,.42 .5,.46 .18,.28 .42,.0 .72,.1 / .7,.5 .66,1",
        small_bowl=".7,.12 .5,.0 .28,.12 .35,.33 .6,.3 .72,.08 .7,.5 .68,1",
        g_like=".8,.15 .45,.0 .12,.2 .3,.45 .65,.4 .82,.05 .82,.5 .75,.9 .4,1 .12,.82",
        open_bowl=".7,.02 .3,.05 .15,.3 .45,.48 .8,.25 .82,.0 / .8,.5 .76,1",
        two_strokes=(".78,.2 .5,.0 .18,.2 .3,.47 .6,.45 .78,.2", ".8,.02 .79,.5 .76,1"),
        clockwise=".78,.4 .35,.48 .15,.22 .5,.0 .82,.2 .8,.6 .55,1",
        big_bowl=".88,.3 .5,.0 .08,.2 .12,.55 .5,.65 .88,.3 .82,.7 .7,1",
        flat_foot=".82,.15 .5,.0 .15,.2 .25,.46 .62,.46 .82,.15 .88,.6 .8,.95 / .05,.98",
        slim_flat_foot=".7,.12 .5,.0 .3,.15 .38,.4 .65,.38 .72,.1 .78,.6 .7,.93 / .05,1",
        curled_tail=".8,.1 .4,.02 .2,.22 .5,.42 .82,.3 .8,.08 .85,.65 .55,.97 .12,.93 .15,.8 .4,.85",
        flat_tail=".8,.2 .5,.0 .15,.2 .25,.46 .6,.46 .82,.2 .78,.7 .6,.95 / .1,.97",
    )
)


@cache  # for speed: an epoch draws tens of thousands
def _parse(path: str) -> list[np.ndarray]:
    """Return the smooth pieces of a stroke's path: arrays (n, 2), each starting where the one before ended."""
    pieces = [
        np.array([[float(number) for number in point.split(",")] for point in piece.split()])
        for piece in path.split("/")
    ]
    joined = pieces[:1]
    for piece in pieces[1:]:
        joined.append(np.concatenate([joined[-1][-1:], piece]))
    return joined


def draw_allograph(allograph: Allograph, rng: np.random.Generator | None = None) -> list[np.ndarray]:
    """Return one drawing of an allograph as strokes, (n, 2) float64 in about the unit box, x right, y down.

    With a generator the points of the skeleton are moved at random with a standard deviation of JITTER; without one
    the drawing is the skeleton itself.
    """
    return draw_skeleton(allograph.strokes, rng)


def draw_skeleton(paths: Sequence[str], rng: np.random.Generator | None = None) -> list[np.ndarray]:
    """Return one drawing of paths, one a stroke, written as above: what `draw_allograph` does for a digit's form."""
    strokes = []
    for path in paths:
        pieces = _parse(path)
        moved = [piece if rng is None else piece + rng.normal(0, JITTER, piece.shape) for piece in pieces]
        for before, after in pairwise(moved):
            after[0] = before[-1]  # the pen does not jump at a corner
        curves = [smooth_curve(piece) for piece in moved]
        strokes.append(np.concatenate([curves[0]] + [curve[1:] for curve in curves[1:]]))
    return strokes


def random_allographs(count: int, rng: np.random.Generator) -> tuple[list[list[np.ndarray]], np.ndarray]:
    """Return `count` drawings and their digits, (count,) int64: digits evenly, and evenly a digit's forms."""
    forms = [[form for form in ALLOGRAPHS if form.digit == digit] for digit in range(10)]
    digits = rng.integers(0, 10, count)
    chosen = [forms[digit][rng.integers(len(forms[digit]))] for digit in digits]
    return [draw_allograph(form, rng) for form in chosen], digits


def smooth_curve(points: np.ndarray, *, per_piece: int = POINTS_PER_PIECE) -> np.ndarray:
    """Return a uniform Catmull-Rom curve, rounder than the one of ink: ((n - 1) * per_piece + 1, 2) float64."""
    return curve_through(points, pieces=per_piece, exponent=0)
