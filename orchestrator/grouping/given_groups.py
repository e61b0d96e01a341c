"""Groups that the user gives: a manifest's column, or a rule on the paths."""

from __future__ import annotations

from collections.abc import Sequence

from consilience.core.errors import DatasetError
from consilience.orchestrator.grouping.grouping import NO_GROUPING, Grouping
from consilience.orchestrator.grouping.path_pattern import PathPattern, check_groups

NONE, MANIFEST = "none", "manifest"


def given_groups(
    names: Sequence[str], labels: Sequence[str], written: Sequence[str | None], rule: str | None
) -> tuple[Grouping, list[str | None]] | None:
    """Return where groups come from, and the group of each image, None where it has none; None: none are given.

    Args:
        names: paths of n images, below the labelled folder or as a manifest writes them, with slashes.
        labels: of the images.
        written: the groups that a manifest names; None where it names none.
        rule: a pattern on the path, see `PathPattern`; 'parent'; 'none', which switches groups off; None: no rule.

    Raises:
        DatasetError: the rule is no pattern, does not match every image, or puts all images or all of a label into one
            group; or there are a rule and a manifest's groups.
    """
    if rule == NONE:
        return NO_GROUPING, [None] * len(names)
    if any(group is not None for group in written):
        if rule is not None:
            raise DatasetError(
                f"the manifest names groups already: leave out --group '{rule}', or the column 'group' of the manifest"
            )
        named = [name if group is None else group for name, group in zip(names, written, strict=True)]
        check_groups(named, labels, "the manifest's column 'group'")
        return Grouping("given", MANIFEST), [*written]
    if rule is None:
        return None
    return Grouping("given", rule), [*PathPattern(rule).checked_groups(names, labels)]
