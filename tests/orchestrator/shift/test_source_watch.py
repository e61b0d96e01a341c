"""The watch on a source: what counts, when an alarm is raised, and what lifts it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from consilience.orchestrator.grouping.grouping import Grouping
from consilience.orchestrator.shift.shift_reference import ShiftReference
from consilience.orchestrator.shift.source_watch import KEPT, SourceWatch

Drawn = Callable[..., np.ndarray]
Make = Callable[..., ShiftReference]


def follow(watch: SourceWatch, vectors: np.ndarray, name: str) -> int | None:
    """Show images to the watch, and return after how many it raised the alarm."""
    for number, vector in enumerate(vectors, 1):
        watch.observe(f"{name} {number}", name, vector)
        if watch.alarm:
            return number
    return None


def test_usual_images_raise_no_alarm_and_strange_ones_do_also_late(reference: ShiftReference, drawn: Drawn) -> None:
    watch = SourceWatch(reference)
    assert follow(watch, drawn(600, 1), "usual") is None
    assert watch.counted >= 590  # few happen to lie as near to another as two of one thing
    noticed = follow(watch, drawn(100, 2, away=1.0), "strange")
    assert noticed is not None
    assert 8 <= noticed <= 40


def test_a_burst_and_an_image_sent_again_count_once(reference: ShiftReference, drawn: Drawn) -> None:
    watch, odd = SourceWatch(reference), drawn(1, 3, away=2.0)[0]
    for number in range(200):
        shaken = odd + 1e-3 * np.random.default_rng(number).standard_normal(24)
        watch.observe(f"frame {number % 7}", "burst", (shaken / np.linalg.norm(shaken)).astype(np.float32))
    assert (watch.seen, watch.counted, watch.alarm) == (200, 1, False)


def test_labelled_images_do_not_count(reference: ShiftReference, drawn: Drawn) -> None:
    watch = SourceWatch(reference)
    assert not watch.observe("labelled 4", "seen before", drawn(1, 4, away=1.0)[0])
    assert (watch.seen, watch.counted) == (1, 0)


def test_where_people_grouped_the_labelled_images_one_image_of_so_many_counts(
    drawn: Drawn, make_reference: Make
) -> None:
    vectors = drawn(300, 5)
    reference = make_reference(vectors, [f"part {row // 10}" for row in range(300)], Grouping("given", "x"))
    watch = SourceWatch(reference)
    follow(watch, drawn(95, 6), "new")
    assert (watch.seen, watch.counted) == (95, 10)


def test_it_goes_on_after_a_restart_as_if_there_were_none(reference: ShiftReference, drawn: Drawn) -> None:
    images = np.concatenate([drawn(70, 7), drawn(6, 8, away=1.0)])
    whole, parts = SourceWatch(reference), SourceWatch(reference)
    for number, vector in enumerate(images):
        whole.observe(f"{number}", "image", vector)
        parts.observe(f"{number}", "image", vector)
        parts = SourceWatch.restored(reference, parts.to_dict(), parts.recent)
    assert parts.to_dict() == whole.to_dict()
    assert len(parts.recent) == KEPT


def test_the_alarm_is_lifted_by_labelled_images_of_the_new_source_alone(drawn: Drawn, make_reference: Make) -> None:
    old, away = drawn(300, 9), drawn(120, 10, away=1.5)
    watch = SourceWatch(make_reference(old))
    assert follow(watch, away[:60], "away") is not None
    unrelated = make_reference(np.concatenate([old, drawn(30, 11)]))
    assert SourceWatch.restored(unrelated, watch.to_dict(), watch.recent).alarm
    learned = make_reference(np.concatenate([old, away[60:90]]))
    lifted = SourceWatch.restored(learned, watch.to_dict(), watch.recent)
    assert not lifted.alarm
    assert lifted.seen == watch.seen
    assert follow(lifted, away[90:], "more of it") is None


def test_the_alarm_is_lifted_when_usual_images_come_again_and_not_before(
    reference: ShiftReference, drawn: Drawn
) -> None:
    watch = SourceWatch(reference)
    assert follow(watch, drawn(40, 12, away=1.0), "away") is not None
    for number, vector in enumerate(drawn(KEPT - 1, 13, away=1.0)):
        watch.observe(f"still {number}", "away", vector)
    assert watch.alarm
    for number, vector in enumerate(drawn(2 * KEPT, 14)):
        watch.observe(f"usual {number}", "usual", vector)
    assert not watch.alarm


def test_with_no_held_out_image_it_says_nothing(drawn: Drawn, make_reference: Make) -> None:
    watch = SourceWatch(make_reference(drawn(2, 15)))
    assert follow(watch, drawn(300, 16, away=1.0), "anything") is None


@pytest.mark.slow
def test_at_most_one_unchanged_stream_in_a_hundred_ever_raises_an_alarm(drawn: Drawn, make_reference: Make) -> None:
    """Forty streams of 1,500 images, each beside another panel of 60 labelled images."""
    alarms = [follow(SourceWatch(make_reference(drawn(60, seed))), drawn(1500, seed + 1000), "s") for seed in range(40)]
    assert sum(alarm is not None for alarm in alarms) <= 2
