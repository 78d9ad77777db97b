"""Figures for the notebooks.

Every function draws into the axes it is given, or into a new figure, and returns the axes. None changes matplotlib's
settings, so a reader's own style stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from digit_utils.types import Strokes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    from digit_utils.evaluation.calibration import Reliability
    from digit_utils.evaluation.metrics import Score
    from digit_utils.evaluation.predictions import Predictions
    from digit_utils.evaluation.robustness import Experiment

DPI = 144  # dots per inch: twice a browser's 72, so that figures stay sharp on dense screens
WIDTH = 6.5  # inches; at 144 dpi as wide as a notebook's column
FONT_SIZE = 11  # points: still legible where a phone shrinks the figure to its width
# Okabe and Ito's palette, which colour-blind people can tell apart, too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8A8A8A"
COLOURS = (BLUE, ORANGE, GREEN, RED)
FRAME = "#C0C0C0"  # around an image
LOWEST_ERROR = 0.1  # per cent: lower end of the logarithmic axis of error rates


def new_axes(columns: int = 1, *, width: float = WIDTH, height: float = 3.0) -> Axes | np.ndarray:
    """Return one axes, or an array of `columns` axes side by side, in a new figure; sizes in inches."""
    _, axes = _subplots(1, columns, (width, height))
    return axes


def new_grid(rows: int, columns: int, *, width: float = WIDTH, row_height: float = 2.2) -> tuple[Figure, np.ndarray]:
    """Return a new figure and its (rows, columns) axes, which share their vertical axis; sizes in inches."""
    return _subplots(rows, columns, (width, row_height * rows), sharey=True, squeeze=False)


def _subplots(rows: int, columns: int, size: tuple[float, float], **options: Any) -> tuple[Figure, Any]:
    """Make a figure whose labels and titles have FONT_SIZE; matplotlib's settings stay as they are."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(rows, columns, figsize=size, dpi=DPI, layout="constrained", **options)
    for ax in figure.axes:
        ax.tick_params(labelsize=FONT_SIZE)
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label):
            text.set_fontsize(FONT_SIZE)
    return figure, axes


def show_photos(
    photos: Sequence[np.ndarray],
    ink: np.ndarray,
    *,
    titles: Sequence[object] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show photos in a row, each in full, and below each the ink that preprocessing found in it.

    Args:
        photos: n images of any size, (height, width) uint8.
        ink: (n, 28, 28) in [0, 1].
        titles: n texts of one line, each above its photo.
        ax: where to draw; None makes a new figure.

    Raises ValueError when there is no photo, or when photos, ink and titles are not equally many.
    """
    if not len(photos) or len(photos) != len(ink):
        raise ValueError(f"there are {len(photos)} photos and {len(ink)} images of ink; expected one per photo")
    if titles is not None and len(titles) != len(photos):
        raise ValueError(f"there are {len(photos)} photos, but {len(titles)} titles")
    side, gap = 4 * ink.shape[1], 8
    mosaic = np.full((2 * (side + gap), len(photos) * (side + gap)), 255, np.uint8)
    for column, (photo, found) in enumerate(zip(photos, ink, strict=True)):
        scale = side / max(photo.shape)
        size = [max(1, round(length * scale)) for length in photo.shape[::-1]]
        shown = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST)
        left = column * (side + gap)
        mosaic[: size[1], left : left + size[0]] = shown
        mosaic[side + gap : 2 * side + gap, left : left + side] = 255 - 255 * np.kron(found, np.ones((4, 4)))
    headroom = side // 3 if titles is not None else 0
    if ax is None:
        ax = new_axes(height=WIDTH * (mosaic.shape[0] + headroom) / mosaic.shape[1])
    ax.imshow(mosaic, cmap="gray", vmin=0, vmax=255)
    ax.set_ylim(mosaic.shape[0] - 0.5, -0.5 - headroom)
    ax.set_axis_off()
    for column, title in enumerate(titles if titles is not None else ()):
        ax.text(column * (side + gap) + side / 2, -6, str(title), ha="center", va="bottom", fontsize=FONT_SIZE)
    return ax


def show_digits(
    images: np.ndarray,
    *,
    titles: Sequence[object] | None = None,
    columns: int = 10,
    width: float = WIDTH,
    ax: Axes | None = None,
) -> Axes:
    """Show images in rows, as dark ink on light paper, each in a thin frame that shows the edge of the image.

    Args:
        images: (n, height, width) of any number type, 0 for paper and the largest value for ink.
        titles: n short texts, each above its image.
        columns: images per row.
        width: of a new figure, in inches; its height follows.
        ax: where to draw; None makes a new figure.

    Raises:
        ValueError: `images` has another shape, or there are not n titles.
    """
    images = np.asarray(images)
    if images.ndim != 3 or not images.size:
        raise ValueError(f"images has shape {images.shape}; expected (n, height, width) with at least one image")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"there are {len(images)} images, but {len(titles)} titles")
    lines = max((str(title).count("\n") + 1 for title in titles), default=0) if titles is not None else 0
    columns = min(columns, len(images))
    line_height = 1.25 * FONT_SIZE / 72 * columns / width  # of an image's height, where images are squares
    headroom = line_height * lines + 0.1 if lines else 0.0
    mosaic, corners = _tile(images, columns=columns, headroom=headroom)
    if ax is None:
        ax = new_axes(width=width, height=width * mosaic.shape[0] / mosaic.shape[1])
    ax.imshow(mosaic, cmap="gray_r", vmin=0, vmax=images.max() or 1, interpolation="nearest")
    ax.set_axis_off()
    for left, top in corners:
        ax.add_patch(_frame(left, top, width=images.shape[2], height=images.shape[1]))
    for (left, top), title in zip(corners, titles if titles is not None else (), strict=False):
        middle = left + images.shape[2] / 2 - 0.5
        ax.text(middle, top - 1, str(title), ha="center", va="bottom", fontsize=FONT_SIZE, linespacing=1.0)
    return ax


def _frame(left: float, top: float, *, width: float, height: float) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((left - 0.5, top - 0.5), width, height, fill=False, edgecolor=FRAME, linewidth=0.7, clip_on=False)


def _tile(images: np.ndarray, *, columns: int, headroom: float) -> tuple[np.ma.MaskedArray, list[tuple[int, int]]]:
    """Lay images out in rows; return the mosaic, masked between them, and the (left, top) of each."""
    count, height, width = images.shape
    rows = -(-count // columns)
    gap = max(1, width // 14)
    top_margin = round(headroom * height)
    step_y, step_x = height + gap + top_margin, width + gap
    mosaic = np.ma.array(np.zeros((rows * step_y, columns * step_x - gap)), mask=True)
    corners = []
    for index, image in enumerate(images):
        left, top = index % columns * step_x, index // columns * step_y + top_margin
        mosaic[top : top + height, left : left + width] = image
        corners.append((left, top))
    return mosaic, corners


def show_histogram(
    values: np.ndarray,
    *,
    bins: Sequence[float] | np.ndarray,
    label: str,
    colour: str = BLUE,
    ax: Axes | None = None,
) -> Axes:
    """Show a histogram of values, in per cent of their number."""
    if ax is None:
        ax = new_axes()
    ax.hist(values, bins=bins, weights=np.full(len(values), 100 / len(values)), color=colour)
    ax.set(xlabel=label, ylabel="share (%)")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_strokes(strokes: Strokes, *, title: object = "", sheet: float | None = None, ax: Axes | None = None) -> Axes:
    """Show the path of a pen: each stroke in its own colour, a dot at each sample, a ring at its start.

    With `sheet`, the whole sheet from (0, 0) to (sheet, sheet) is shown, with a frame around it.
    """
    if ax is None:
        ax = new_axes(width=2.5, height=2.5)
    for index, stroke in enumerate(strokes):
        colour = COLOURS[index % len(COLOURS)]
        ax.plot(*np.transpose(stroke), color=colour, linewidth=1.2, marker=".", markersize=4)
        ax.plot(*stroke[0], marker="o", markersize=8, markerfacecolor="none", markeredgecolor=colour)
    ax.set_aspect("equal")
    ax.set(xticks=[], yticks=[])
    if sheet is not None:
        ax.set(xlim=(0, sheet), ylim=(0, sheet))
    ax.spines[:].set_visible(sheet is not None)
    ax.spines[:].set_color(GREY)
    ax.yaxis.set_inverted(True)  # y points down, as in images
    ax.set_title(str(title), fontsize=FONT_SIZE)
    return ax


def show_lattice(
    strokes: Strokes,
    groups: Sequence[Sequence[int]],
    *,
    texts: Sequence[str],
    probabilities: Sequence[float],
    ax: Axes | None = None,
) -> Axes:
    """Show how a number is found: the strokes, below them every group that may be a character, and the number.

    Each group stands below the middle of its strokes, in the row of their number, with its likeliest character and
    its probability. Those above one half are framed, and their characters are the last row; of the others, those
    with a stroke between them that is not theirs are left out.

    Args:
        strokes: n (m, 2) arrays, x right, y down, any unit.
        groups: the indices of the strokes of each group.
        texts: the likeliest character of each group.
        probabilities: of each group to be a character of the number, in [0, 1].
        ax: where to draw; None makes a new figure.
    """
    columns = np.argsort(np.argsort([np.asarray(stroke)[:, 0].mean() for stroke in strokes]))
    last = len(strokes) - 1
    most = max(map(len, groups))
    if ax is None:
        ax = new_axes(height=min(1.2, WIDTH / (len(strokes) + 1)) * (most + 2))
    _draw_strokes(ax, strokes, range(len(strokes)), middle=(last / 2, 0), size=(last + 0.8, 0.8))
    for group, text, probability in zip(groups, texts, probabilities, strict=True):
        x, y, likely = columns[list(group)].mean(), len(group) + 0.2, probability > 0.5
        if np.ptp(columns[list(group)]) >= len(group) and not likely:
            continue
        _draw_strokes(ax, strokes, group, middle=(x, y), size=(0.66, 0.5), alpha=1 if likely else 0.4)
        ax.add_patch(_frame(x + 0.08, y + 0.13, width=0.84, height=0.9))
        ax.patches[-1].set(edgecolor="black" if likely else FRAME, linewidth=1.6 if likely else 0.7)
        ax.text(x, y + 0.47, f"{text}  {probability:.0%}", ha="center", va="bottom", fontsize=FONT_SIZE)
        if likely:
            ax.text(x, most + 1.1, text, ha="center", va="center", fontsize=2 * FONT_SIZE)
    rows = ["drawn", "1 stroke", *(f"{count} strokes" for count in range(2, most + 1)), "number"]
    for name, y in zip(rows, [0, *np.arange(1, most + 1) + 0.2, most + 1.1], strict=True):
        ax.text(-0.55, y, name, ha="right", va="center", fontsize=FONT_SIZE)
    ax.set(xlim=(-1.55, last + 0.5), ylim=(most + 1.5, -0.5), aspect="equal")
    ax.set_axis_off()
    return ax


def _draw_strokes(
    ax: Axes,
    strokes: Strokes,
    places: Sequence[int],
    *,
    middle: tuple[float, float],
    size: tuple[float, float],
    alpha: float = 1,
) -> None:
    """Draw some strokes, each in its colour, as large as a box around a point (x, y) allows."""
    points = np.concatenate([np.asarray(strokes[place]) for place in places])
    low, high = points.min(axis=0), points.max(axis=0)
    scale = (np.array(size) / np.maximum(high - low, 1e-9)).min()
    for place in places:
        x, y = np.transpose((strokes[place] - (low + high) / 2) * scale + middle)
        ax.plot(x, y, marker=".", markersize=2, linewidth=2, color=COLOURS[place % len(COLOURS)], alpha=alpha)


def show_learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], *, ax: Axes | None = None) -> Axes:
    """Show the error rate on validation digits, in per cent on a logarithmic axis, epoch by epoch.

    Args:
        histories: the records of each run by its name, as `digit_utils.training.loop.train` returns them. Every key
            that ends in `_errors` is a curve, up to three per run, over the epochs that have it; a run's curves share
            a colour. 0 % is shown as 0.005 %, since a zero has no logarithm.
        ax: where to draw; None makes a new figure.
    """
    if ax is None:
        ax = new_axes(height=3.4)
    for index, (run, history) in enumerate(histories.items()):
        keys = dict.fromkeys(key for record in history for key in record if key.endswith("_errors"))
        for key, style in zip(keys, ("-", "--", ":"), strict=False):
            points = [(record["epoch"], max(100 * record[key], 0.005)) for record in history if key in record]
            label = ", ".join(filter(None, [run, key.removesuffix("_errors")]))
            ax.plot(*zip(*points, strict=True), style, marker=".", color=COLOURS[index % len(COLOURS)], label=label)
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    # A short axis may hold neither a power of ten nor 2 or 5 times it.
    labelled = "25" if high > 5 * low else "23456789"
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in labelled else "")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="epoch", ylabel="errors on validation digits (%)")
    ax.legend(frameon=False, fontsize=FONT_SIZE)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


# -------------------------------------------------------------------------------------------- evaluation


def show_predictions(predictions: Predictions, places: Sequence[int] | np.ndarray, *, ax: Axes | None = None) -> Axes:
    """Show the digits at some places as the network saw them: label → predicted digit, and its confidence."""
    titles = [
        f"{predictions.labels[place]} → {predictions.best[place]}\n{predictions.confidence[place]:.0%}"
        for place in places
    ]
    return show_digits(predictions.ink[places], titles=titles, ax=ax)


def show_rates(
    rates: Mapping[object, tuple[float, float, float]],
    *,
    label: str,
    usual: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Show rates as dots with their intervals, one row each, the first at the top.

    Args:
        rates: rate and both ends of its interval in [0, 1], by name; shown in per cent.
        label: what the rates are.
        usual: a rate to compare with, in [0, 1], as a dotted line.
        ax: where to draw; None makes a new figure.
    """
    if ax is None:
        ax = new_axes(height=0.8 + 0.3 * len(rates))
    middle, low, high = 100 * np.array(list(rates.values()), float).reshape(-1, 3).T
    rows = np.arange(len(rates))
    ax.hlines(rows, low, high, color=BLUE, linewidth=2)
    ax.plot(middle, rows, "o", color=BLUE, markersize=6, clip_on=False)
    if usual is not None:
        ax.axvline(100 * usual, color="black", linewidth=1, linestyle=":")
    ax.set(yticks=rows, yticklabels=[str(name) for name in rates], xlabel=f"{label} (%)")
    ax.set_xlim(left=0)
    ax.set_ylim(len(rates) - 0.5, -0.5)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_confusions(counts: np.ndarray, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Show a confusion matrix: how often each digit was taken for each other one.

    Args:
        counts: (10, 10) integers, rows are labels, columns predictions. The diagonal, the correct ones, stays grey.
        title: above the figure.
        ax: where to draw; None makes a new figure.
    """
    if ax is None:
        ax = new_axes(height=WIDTH)
    errors = np.ma.array(counts, mask=np.eye(len(counts), dtype=bool))
    most = max(1, errors.max())
    ax.imshow(errors, cmap=_colour_map("white", ORANGE, RED), vmin=0, vmax=most)
    ax.set_facecolor("#EDEDED")  # shows through the diagonal
    for row, column in zip(*np.nonzero(errors.filled(0)), strict=True):
        ax.text(column, row, counts[row, column], ha="center", va="center", fontsize=FONT_SIZE)
    digits = range(len(counts))
    ax.set(xticks=digits, yticks=digits, xlabel="read as", ylabel="label", title=title)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return ax


def _colour_map(*colours: str) -> LinearSegmentedColormap:
    """Return a colour map that passes evenly through some colours."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("", colours)


def show_reliability(bins: Reliability, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Show a reliability diagram: accuracy by bin of confidence, with 95 % intervals; the diagonal is calibrated.

    The area of a dot grows with the logarithm of the number of digits in its bin, which stands above it.
    """
    from digit_utils.evaluation.intervals import error_interval

    if ax is None:
        ax = new_axes(height=4.2)
    ax.plot([0, 100], [0, 100], color="black", linewidth=1, linestyle=":")
    for count, confidence, accuracy in zip(bins.counts, bins.confidence, bins.accuracy, strict=True):
        if not count:
            continue
        low, high = error_interval(round(accuracy * count), int(count))
        ax.plot([100 * confidence] * 2, [100 * low, 100 * high], color=BLUE, linewidth=1.5)
        ax.scatter(100 * confidence, 100 * accuracy, s=12 + 14 * np.log10(count), color=BLUE, zorder=3)
        above = 102 + 3 * (high > 0.97)
        ax.text(100 * confidence, above, f"{count:,}", rotation=90, ha="center", va="bottom", fontsize=FONT_SIZE - 2)
    ax.set(xlabel="how sure it was (%)", ylabel="right (%)", xlim=(0, 103), ylim=(0, 103))
    ax.set_title(title, pad=40)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_error_curve(
    strengths: Sequence[float],
    scores: Sequence[Score],
    *,
    label: str,
    name: str = "",
    colour: str = BLUE,
    ax: Axes | None = None,
) -> Axes:
    """Show error rates against the strength of a change, with bars for their 95 % intervals.

    The error rate has a logarithmic axis from 0.1 to 100 %; lower rates are shown at its lower edge.

    Args:
        strengths: n numbers; if positive and spanning more than a factor of fifteen, their axis is logarithmic.
        scores: the score at each of them.
        label: of the strengths.
        name: of the curve, for a legend.
        colour: of the curve.
        ax: where to draw; None makes a new figure.
    """
    if ax is None:
        ax = new_axes()
    percent = np.array([[result.error_rate, result.error_low, result.error_high] for result in scores]).T * 100
    middle, low, high = np.maximum(percent, LOWEST_ERROR)
    ax.plot(strengths, middle, marker=".", color=colour, label=name)
    ax.vlines(strengths, low, high, color=colour, linewidth=1)
    if min(strengths) > 0 and max(strengths) > 15 * min(strengths):
        ax.set_xscale("log")
        ax.set_xticks(strengths, [f"{strength:g}" for strength in strengths])  # powers of ten would label one, if any
        ax.set_xticks([], minor=True)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set(xlabel=label, ylim=(LOWEST_ERROR, 100))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_experiments(experiments: Sequence[Experiment], curves: Mapping[str, Sequence[Score]]) -> np.ndarray:
    """Show the error curves of experiments, two in a row, in a new figure; return its (rows, 2) axes.

    A dotted line marks the error rate of the unchanged digits.
    """
    figure, axes = new_grid(-(-len(experiments) // 2), 2)
    for ax, experiment in zip(axes.flat, experiments, strict=False):
        curve = curves[experiment.name]
        show_error_curve(experiment.strengths, curve, label=experiment.name, ax=ax)
        usual = curve[experiment.strengths.index(experiment.usual)].error_rate
        ax.axhline(max(100 * usual, LOWEST_ERROR), color="black", linewidth=1, linestyle=":")
    for ax in axes.flat[len(experiments) :]:
        ax.set_axis_off()
    figure.supylabel("misread (%)", fontsize=FONT_SIZE)
    return axes


def show_digit_scores(scores: Mapping[str, np.ndarray], *, threshold: float, ax: Axes | None = None) -> Axes:
    """Show histograms of the digit scores of several sets, on a logistic axis, and the threshold for "no digit".

    Args:
        scores: (n,) numbers in [0, 1] by the name of their set; those beyond 0.0001 and 0.9999 are shown at the edges.
        threshold: in [0, 1].
        ax: where to draw; None makes a new figure.
    """
    if ax is None:
        ax = new_axes(height=3.8)
    bins = np.linspace(-9.3, 9.3, 63)
    for index, (name, values) in enumerate(scores.items()):
        places = _logit(values)
        weights = np.full(len(places), 100 / len(places))
        colour = COLOURS[index % len(COLOURS)]
        label = f"{name} (n = {len(places):,})"
        ax.hist(places, bins, weights=weights, histtype="step", linewidth=1.6, color=colour, label=label)
    ax.axvline(_logit(threshold), color="black", linestyle=":", label=f"threshold {threshold:.3g}")
    marks = np.array([0.0001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
    ax.set(xticks=_logit(marks), xticklabels=[f"{mark:g}" for mark in marks])
    ax.set(xlabel="digit score", ylabel="share of the set (%)", yscale="log", ylim=(0.01, 100))
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.legend(frameon=False, fontsize=FONT_SIZE, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _logit(probability: np.ndarray | float) -> np.ndarray:
    inside = np.clip(probability, 0.0001, 0.9999)
    return np.log(inside / (1 - inside))
