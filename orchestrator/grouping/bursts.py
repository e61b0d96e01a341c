"""Bursts: pictures that one camera took within seconds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from consilience.core.exif import Shot

SECONDS = 2.0
"""Between two pictures of a burst, at most: nobody turns to another thing, frames it and shoots in less."""

MOST = 32
"""Pictures in a burst, at most: a longer run is a machine that takes pictures of one thing after another."""


def bursts(shots: Sequence[Shot]) -> list[list[int]]:
    """Return the rows of the pictures of each burst, in the order in which they were taken: at least two rows each.

    Args:
        shots: camera and time of n pictures; one of an unknown camera or time is in no burst.

    >>> bursts([Shot("EOS", 10.0), Shot("EOS", 50.0), Shot("EOS", 11.5), Shot("X100", 11.0), Shot("EOS", 13.0)])
    [[0, 2, 4]]
    """
    by_camera: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for row, shot in enumerate(shots):
        if shot.camera and shot.seconds is not None:
            by_camera[shot.camera].append((shot.seconds, row))
    runs: list[list[int]] = []
    for taken in by_camera.values():
        taken.sort()
        runs.append([taken[0][1]])
        for (before, _), (seconds, row) in pairwise(taken):
            if seconds - before <= SECONDS:
                runs[-1].append(row)
            else:
                runs.append([row])
    return [rows for rows in runs if 2 <= len(rows) <= MOST]
