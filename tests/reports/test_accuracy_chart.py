"""The chart of mIoU against time: what is on the front, what is drawn where, and that names cover no other names."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.text import Annotation

from nas.reports.accuracy_chart import ChartPanel, ChartPoint, draw_accuracy_chart, front


def point(name: str, ms: float, miou: float | None, **more: object) -> ChartPoint:
    return ChartPoint(name=name, ms=ms, miou=miou, **{"kind": "measured", **more})  # type: ignore[arg-type]


def test_the_front_is_what_no_other_network_beats_in_both() -> None:
    draw = np.random.default_rng(0)
    points = [point(str(n), *map(float, draw.integers(1, 12, 2))) for n in range(40)]
    points += [point("without", 0.1, None), points[3]]
    kept = front(points)
    beaten = [
        any(
            other.ms <= one.ms and (other.miou or 0) >= (one.miou or 0) and (other.ms, other.miou) != (one.ms, one.miou)
            for other in points
            if other.miou is not None
        )
        for one in points
    ]
    expected = {(one.ms, one.miou) for one, is_beaten in zip(points, beaten, strict=True) if one.miou is not None and not is_beaten}
    assert [(one.ms, one.miou) for one in kept] == sorted(expected)


def test_kinds_have_their_own_colours_and_fronts_and_the_unknown_stand_on_the_axis() -> None:
    measured = [point("a", 1.0, 0.5, kind="measured: test of camvid"), point("b", 2.0, 0.6, kind="measured: test of camvid")]
    published = [point("c", 3.0, 0.7, kind="published: cityscapes val", is_published=True)]
    figure = draw_accuracy_chart([ChartPanel("board", [*measured, *published, point("d", 20.0, None)])])
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["measured: test of camvid", "published: cityscapes val", "mIoU not known"]
    filled, hollow = axes.collections
    assert filled.get_offsets().tolist() == [[1.0, 50.0], [2.0, 60.0]]
    assert hollow.get_offsets().tolist() == [[3.0, 70.0]]
    assert hollow.get_facecolor()[0].tolist() == [1.0, 1.0, 1.0, 1.0]
    fronts = [line.get_xydata().tolist() for line in axes.lines[:2]]
    assert fronts == [[[1.0, 50.0], [2.0, 60.0]], [[3.0, 70.0]]]
    assert axes.lines[2].get_xdata() == [20.0]


def test_the_axis_of_miou_does_not_go_below_nothing() -> None:
    (axes,) = draw_accuracy_chart([ChartPanel("board", [point("a", 1.0, 0.02), point("b", 2.0, 0.7)])]).axes
    assert axes.get_ylim()[0] == 0.0


def test_names_cover_no_other_names_and_one_without_a_place_is_left_out() -> None:
    points = [point(f"a network of a long name {n}", 10 + n / 100, 0.5 + n / 1000) for n in range(6)]
    crowd = [point("the same place", 5.0, 0.6) for _ in range(30)]
    figure = draw_accuracy_chart(
        [ChartPanel("board", points), ChartPanel("crowd", crowd), ChartPanel("x", [point("alone", 1.0, None)])]
    )
    shown = [[one for one in axes.texts if isinstance(one, Annotation)] for axes in figure.axes]
    assert len(shown[0]) == 6
    assert 1 <= len(shown[1]) < 30
    assert [one.get_text() for one in shown[2]] == ["alone"]
    for names in shown:
        boxes = [name.get_window_extent() for name in names]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert figure.axes[2].get_yticks().tolist() == []


def test_a_name_stays_within_the_frame_where_there_is_a_side_for_it() -> None:
    points = [point("first", 6.0, 0.7), point("the slowest network of all of them", 20.0, 0.8)]
    (axes,) = draw_accuracy_chart([ChartPanel("board", points)]).axes
    boxes = [one.get_window_extent() for one in axes.texts if isinstance(one, Annotation)]
    assert len(boxes) == 2
    assert all(axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 for box in boxes)


def test_names_of_files_are_no_formulas() -> None:
    figure = draw_accuracy_chart([ChartPanel("my $board^$", [point("x$1_$2^$.onnx", 1.0, 0.5), point("y$_$", 2.0, None)])])
    assert {text.get_text() for text in figure.axes[0].texts} == {"x$1_$2^$.onnx", "y$_$"}
