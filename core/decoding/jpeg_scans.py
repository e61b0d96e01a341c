"""The scans of a JPEG: a progressive one sends the whole image many times over, and each scan costs time."""

from __future__ import annotations

import re

_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""A marker of a segment; in a scan's data FF is followed by 00, or by the number of a restart."""

_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_WITHOUT_LENGTH = (0x01, 0xD8)


def count_scans(data: bytes, most: int) -> int:
    """Return how many scans the first image in a JPEG file has; counting ends at `most` + 1.

    Args:
        data: the bytes of the file.
        most: how many are of interest.
    """
    scans, position = 0, 2
    while scans <= most and (marker := _MARKER.search(data, position)):
        kind, position = data[marker.end() - 1], marker.end()
        if kind == _END_OF_IMAGE:
            break
        scans += kind == _START_OF_SCAN
        if kind not in _WITHOUT_LENGTH:
            position += int.from_bytes(data[position : position + 2], "big")
    return scans
