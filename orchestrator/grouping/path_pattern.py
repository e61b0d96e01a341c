"""Groups that are given by the paths of the images: a pattern with the group's name in it, or the parent folder."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath

from consilience.core.errors import DatasetError

PARENT = "parent"
FIELD = "{group}"
REGULAR_EXPRESSION = "(?P<group>"

LONGEST = 500
"""Characters of a pattern."""

SECONDS = 20.0
"""How long a regular expression may take for all names."""

_MATCHER = """
import json, re, sys
pattern, names = json.load(sys.stdin)
matches = (re.search(pattern, name) for name in names)
json.dump([match and match["group"] for match in matches], sys.stdout)
"""


class PathPattern:
    """The name of each image's group, from its path.

    - `{group}-*.jpg`: `{group}` stands for the name, as short as it can be; `*` and `?` for any letters, or one, but a
      slash. Capital and small letters are alike. A pattern with slashes is matched with the end of the path, one
      without with the file's name.
    - `(?P<group>[a-z]+[0-9]+)-`: a regular expression that is searched for in the path, or, if it has no slash, in the
      file's name.
    - `parent`: the name of the folder that the image lies in.

    A name is a name: images called `apple10-...` under two labels show one thing.

    Args:
        pattern: as above.

    Raises:
        DatasetError: it is none of these; the message says what to write.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        if len(pattern) > LONGEST:
            raise DatasetError(f"a pattern for groups has at most {LONGEST} characters, not {len(pattern):,}")
        self._glob = None
        if REGULAR_EXPRESSION in pattern:
            try:
                re.compile(pattern)
            except (re.error, OverflowError, RecursionError) as cause:
                raise DatasetError(f"the pattern for groups '{pattern}' is no regular expression: {cause}") from cause
        elif pattern != PARENT:
            self._glob = _compiled(pattern)

    def groups(self, names: Sequence[str], seconds: float = SECONDS) -> list[str | None]:
        """Return the name of each image's group; None where the pattern does not match.

        Args:
            names: paths, with slashes.
            seconds: how long a regular expression may take.

        Raises:
            DatasetError: it takes longer.
        """
        if self.pattern == PARENT:
            return [PurePosixPath(name).parent.name or None for name in names]
        if "/" not in self.pattern:
            names = [PurePosixPath(name).name for name in names]
        if self._glob is not None:
            matches = map(self._glob.search, names)
            return [match["group"] if match else None for match in matches]
        return [group or None for group in _searched(self.pattern, names, seconds)]

    def checked_groups(self, names: Sequence[str], labels: Sequence[str]) -> list[str]:
        """Return the name of each image's group.

        Raises:
            DatasetError: an image matches not, or all are one group, or all of a label; the message names one.
        """
        groups = self.groups(names)
        missing = [name for name, group in zip(names, groups, strict=True) if group is None]
        if missing:
            some = (
                "none of the images" if len(missing) == len(names) else f"not all images (not {len(missing):,} of them)"
            )
            raise DatasetError(
                f"the pattern for groups '{self.pattern}' matches {some}, for example not '{missing[0]}'; correct it, "
                "or give the groups in a manifest with the columns path, label and group"
            )
        matched = [group for group in groups if group is not None]
        check_groups(matched, labels, f"the pattern for groups '{self.pattern}'")
        return matched


def check_groups(groups: Sequence[str], labels: Sequence[str], what: str) -> None:
    """Check that images can be split by group: that not all are one group, nor all of a label.

    Args:
        groups, labels: of n images.
        what: what gave the groups, as the message calls it.

    Raises:
        DatasetError: they cannot; says what to do.
    """
    remedy = "correct it so that each thing has a group of its own, or leave groups out with --group none"
    if len(groups) > 1 and len(set(groups)) == 1:
        raise DatasetError(f"{what} puts all {len(groups):,} images into one group, '{groups[0]}': {remedy}")
    for label in dict.fromkeys(labels):
        own = [group for group, name in zip(groups, labels, strict=True) if name == label]
        if len(own) > 1 and len(set(own)) == 1:
            raise DatasetError(
                f"{what} puts all {len(own):,} images of '{label}' into one group, '{own[0]}', so nothing can be "
                f"measured on a new one: {remedy}"
            )


def _compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern with wildcards as a regular expression that never goes back: it takes linear time.

    As `fnmatch` does: what follows a wildcard is looked for once, where it is found first, and the last wildcard takes
    what is left.
    """
    if pattern.count(FIELD) != 1:
        raise DatasetError(
            f"the pattern for groups '{pattern}' must name the group once: as '{FIELD}-*.jpg', as a regular expression "
            f"with '{REGULAR_EXPRESSION}...)', or say '{PARENT}' or 'none'"
        )
    if re.search(rf"\*{re.escape(FIELD)}|{re.escape(FIELD)}\*", pattern):
        raise DatasetError(
            f"the pattern for groups '{pattern}' does not say where the name begins and ends: put what stands between "
            f"{FIELD} and *, as in '{FIELD}-*.jpg'"
        )
    fixed, wild = [""], list[str]()
    for piece in re.findall(r"\{group\}|\*+|.", pattern, re.DOTALL):
        if piece == FIELD or piece.startswith("*"):
            wild.append("(?P<group>[^/]+?)" if piece == FIELD else "[^/]*?")
            fixed.append("")
        else:
            fixed[-1] += "[^/]" if piece == "?" else re.escape(piece)
    middle = [f"(?>{star}{text})" if text else star for star, text in zip(wild[:-1], fixed[1:-1], strict=True)]
    return re.compile(rf"(?:^|/){fixed[0]}{''.join(middle)}{wild[-1]}{fixed[-1]}\Z", re.IGNORECASE | re.DOTALL)


def _searched(pattern: str, names: Sequence[str], seconds: float) -> list[str | None]:
    """Return the groups that a regular expression finds, searched for in a process that can be ended.

    A regular expression may take for ever on a name that it does not match, and `re` cannot be interrupted.
    """
    command = [sys.executable, "-I", "-c", _MATCHER]
    try:
        ended = subprocess.run(  # noqa: S603  our own command: the pattern comes on standard input
            command, input=json.dumps([pattern, list(names)]).encode(), capture_output=True, timeout=seconds, check=True
        )
    except subprocess.TimeoutExpired as cause:
        raise DatasetError(
            f"the pattern for groups '{pattern}' takes longer than {seconds:g} s on {len(names):,} names; write it "
            f"without repetitions inside of repetitions, or as '{FIELD}-*.jpg'"
        ) from cause
    except subprocess.CalledProcessError as cause:
        raise DatasetError(f"the pattern for groups '{pattern}' cannot be searched for: make it simpler") from cause
    groups: list[str | None] = json.loads(ended.stdout)
    return groups
