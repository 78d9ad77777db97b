"""Figures for the notebooks.

Every function draws into the axes it is given, or into a new figure, and returns the axes. None changes the
settings of matplotlib, so a reader's own style stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from digit_utils.ink import Strokes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 80  # dots per inch: sharp enough on a page, small enough to be kept in a notebook
# Okabe and Ito's colours, which people who see fewer colours can tell apart too.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#8A8A8A"
COLOURS = (BLUE, ORANGE, GREEN, RED)


def new_axes(columns: int = 1, *, width: float = 9.0, height: float = 3.0) -> Axes | np.ndarray:
    """Return one axes, or an array of `columns` axes side by side, in a new figure; sizes in inches."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(1, columns, figsize=(width, height), dpi=DPI, layout="constrained")
    return axes


def show_digits(
    images: np.ndarray,
    *,
    titles: Sequence[object] | None = None,
    columns: int = 10,
    width: float = 9.0,
    ax: Axes | None = None,
) -> Axes:
    """Show pictures in rows, as dark ink on light paper.

    Args:
        images: (n, height, width) of any number type, 0 for paper and the largest value for ink.
        titles: n short texts, each above its picture.
        columns: pictures in a row.
        width: of a new figure, in inches; its height follows.
        ax: where to draw; None makes a new figure.

    Raises:
        ValueError: `images` has another shape, or there are not n titles.
    """
    images = np.asarray(images)
    if images.ndim != 3 or not images.size:
        raise ValueError(f"expected pictures as (n, height, width), found the shape {images.shape}")
    if titles is not None and len(titles) != len(images):
        raise ValueError(f"there are {len(images)} pictures, but {len(titles)} titles")
    headroom = 0.45 if titles is not None else 0.0  # of a picture's height
    mosaic, corners = _tile(images, columns=columns, headroom=headroom)
    if ax is None:
        ax = new_axes(width=width, height=width * mosaic.shape[0] / mosaic.shape[1])
    ax.imshow(mosaic, cmap="gray_r", vmin=0, vmax=images.max() or 1, interpolation="nearest")
    ax.set_axis_off()
    for (left, top), title in zip(corners, titles if titles is not None else (), strict=False):
        middle = left + images.shape[2] / 2 - 0.5
        ax.text(middle, top - 1, str(title), ha="center", va="bottom", fontsize=9, linespacing=1.0)
    return ax


def _tile(images: np.ndarray, *, columns: int, headroom: float) -> tuple[np.ma.MaskedArray, list[tuple[int, int]]]:
    """Lay pictures out in rows; return the mosaic, empty between them, and the (left, top) of each."""
    count, height, width = images.shape
    columns = min(columns, count)
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


def show_values(image: np.ndarray, *, ax: Axes | None = None) -> Axes:
    """Show one (height, width) picture of whole numbers with the number of each pixel written on it."""
    if ax is None:
        ax = new_axes(width=7.0, height=7.0 * image.shape[0] / image.shape[1])
    ax.imshow(image, cmap="gray_r", vmin=0, vmax=image.max() or 1)
    ax.set_axis_off()
    halfway = image.max() / 2
    for (row, column), value in np.ndenumerate(image):
        colour = "white" if value > halfway else "black" if value else "lightgrey"
        ax.text(column, row, str(value), ha="center", va="center", fontsize=6.5, color=colour)
    return ax


def show_class_balance(labels_by_name: Mapping[str, np.ndarray], *, ax: Axes | None = None) -> Axes:
    """Show the share of each of the ten digits, in per cent, a bar for each set: {"training": labels}."""
    if ax is None:
        ax = new_axes()
    width = 0.8 / len(labels_by_name)
    for index, (name, labels) in enumerate(labels_by_name.items()):
        shares = 100 * np.bincount(labels, minlength=10) / len(labels)
        offset = (index - (len(labels_by_name) - 1) / 2) * width
        ax.bar(np.arange(10) + offset, shares, width, label=name, color=COLOURS[index % len(COLOURS)])
    ax.axhline(10, color="black", linewidth=0.8, linestyle=":")
    ax.set(xlabel="digit", ylabel="share (%)", xticks=range(10))
    ax.legend(frameon=False, ncols=len(labels_by_name), loc="lower right", bbox_to_anchor=(1, 1))
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_histogram(
    values: np.ndarray,
    *,
    bins: Sequence[float] | np.ndarray,
    label: str,
    expected: float | None = None,
    colour: str = BLUE,
    ax: Axes | None = None,
) -> Axes:
    """Show how values are spread, in per cent of their number, with a dotted line where they are expected."""
    if ax is None:
        ax = new_axes(width=4.5)
    ax.hist(values, bins=bins, weights=np.full(len(values), 100 / len(values)), color=colour)
    if expected is not None:
        ax.axvline(expected, color="black", linewidth=1, linestyle=":")
    ax.set(xlabel=label, ylabel="share (%)")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def show_strokes(strokes: Strokes, *, title: object = "", sheet: float | None = None, ax: Axes | None = None) -> Axes:
    """Show the path of a pen: each stroke in its own colour, a dot at each sample, a ring at its start.

    With `sheet` the whole sheet from (0, 0) to (sheet, sheet) is shown, with a frame around it.
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
    ax.yaxis.set_inverted(True)  # y points down, as in pictures
    ax.set_title(str(title), fontsize=9)
    return ax


def show_learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], *, ax: Axes | None = None) -> Axes:
    """Show the error rate on validation digits, in per cent on a logarithmic axis, epoch by epoch.

    Args:
        histories: the records of each run by its name, as `training.train` returns them; every key that ends in
            `_errors` is a curve, and a run's curves share a colour.
        ax: where to draw; None makes a new figure.
    """
    if ax is None:
        ax = new_axes(width=6.0, height=3.4)
    for index, (run, history) in enumerate(histories.items()):
        keys = [key for key in history[0] if key.endswith("_errors")]
        for key, style in zip(keys, ("-", "--", ":"), strict=False):
            rates = [max(100 * record[key], 0.005) for record in history]  # a zero has no logarithm
            label = ", ".join(filter(None, [run, key.removesuffix("_errors")]))
            epochs = [record["epoch"] for record in history]
            ax.plot(epochs, rates, style, marker=".", color=COLOURS[index % len(COLOURS)], label=label)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if str(f"{value:.0e}")[0] in "25" else "")
    ax.set(xlabel="epoch", ylabel="errors on validation digits (%)")
    ax.legend(frameon=False, fontsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    return ax
