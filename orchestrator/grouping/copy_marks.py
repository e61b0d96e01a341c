"""Names that differ by a mark only, of a copy or an augmentation: 'leaf.jpg', 'leaf (1).jpg', 'leaf_rot90.png'."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

from consilience.core.dataset import PARTS

MOST = 32
"""Images of one name, at most: of more, what looks like marks numbers the images ('leaf_aug1' to 'leaf_aug900')."""

_WORDS = "|".join(
    [
        "copy|copie|kopie|copia|duplicate|dup",
        "aug|augm|augmented|augmentation|rot|rotate|rotated|rotation|flip|flipped|flip_?(lr|ud|tb|h|v)|[hv]_?flip(ped)?",
        "mirror|mirrored|crop|cropped|zoom|zoomed|shear|sheared|shift|shifted|scaled?|resized?|rescaled?|warp|warped",
        "noise|noisy|blur|blurred|bright|brightness|brighter|dark|darker|contrast|gamma|hue|saturation|jitter|cutout",
        "gr[ae]y|gr[ae]yscale|equali[sz]ed|sharpened|transposed?|affine|elastic|distorted|newpixel",
        "edit|edited|bearbeitet|original|orig|thumb|thumbnail|small|preview|compressed|min",
    ]
)
_NUMBER = r"[-+]?\d{1,4}(\.\d+)?(deg|%|px|x)?"
_SUFFIX = re.compile(
    rf"(?P<stem>.*[^\s_.\-+])(?:"
    rf"[\s_.\-+]+({_WORDS})([\s_.\-]*{_NUMBER})?([\s_]*\(\d{{1,3}}\))?"  # x_copy, x-edited, x_rot90, x copy (2)
    r"|[\s_\-]+\d{1,3}deg(rees)?"  # x_90deg
    r"|[\s_\-]+\d{2,5}x\d{2,5}"  # x-640x480
    r"|@\dx"  # x@2x
    r"|[._](jpe?g|png|bmp)\.rf\.[0-9a-f]{8,64}"  # x_jpg.rf.0123456789abcdef: versions by Roboflow
    r")"
)
_PREFIX = re.compile(
    rf"(?:(copy|kopie|copie|copia) (\(\d+\) )?(of|von|de|di)|({_WORDS})([\s_.\-]*{_NUMBER})?)[\s_.\-]+"
    r"(?P<stem>(?=.*([^\W\d_]|\d\d))\S.*)"  # 'flip_1' and 'flip_2' are no copies of '1' and '2'
)
_NUMBERED = re.compile(r"(?P<stem>.*\S)\s*\(\d{1,3}\)")


def unmarked(stem: str) -> str:
    """Return a file's name, without its ending, without the marks of copies and augmentations, in small letters.

    >>> [unmarked(stem) for stem in ("Leaf_rot90", "aug_3_leaf", "leaf - Copy (2)", "leaf-edited_flip")]
    ['leaf', 'leaf', 'leaf', 'leaf']
    >>> unmarked("rot_9"), unmarked("leaf (1)")  # hardly anything would be left; and this may be a number
    ('rot_9', 'leaf (1)')
    """
    name = unicodedata.normalize("NFC", stem).casefold().strip()
    while match := _SUFFIX.fullmatch(name) or _PREFIX.fullmatch(name):
        name = match["stem"]
    return name


def of_one_name(names: Sequence[str]) -> list[list[int]]:
    """Return the rows of images whose names differ by a mark, or by the format, only: at least two rows each.

    A number in brackets is a mark where the name without it is there as well: 'leaf (1)' to 'leaf (90)' alone are
    ninety leaves. Names are compared within a folder; that of a part (`train/`, `val/`) does not count.

    Args:
        names: paths below the labelled folder, with slashes.

    >>> of_one_name(["a/leaf.jpg", "b/leaf.jpg", "a/leaf (1).jpg", "a/tree (1).jpg", "a/tree (2).jpg"])
    [[0, 2]]
    """
    paths = [PurePosixPath(name) for name in names]
    keys = [
        (*(folder for folder in path.parts[:-1] if folder.casefold() not in PARTS), unmarked(path.stem))
        for path in paths
    ]
    held = set(keys)
    rows: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        match = _NUMBERED.fullmatch(key[-1])
        bare = (*key[:-1], unmarked(match["stem"])) if match else key
        rows[bare if bare in held else key].append(row)
    return [group for group in rows.values() if 2 <= len(group) <= MOST]
