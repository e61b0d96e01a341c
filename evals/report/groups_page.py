"""A page with pictures of a panel's groups, so that a person can check what is taken for one thing, and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from consilience.core.render.html import picture_address
from consilience.core.render.phrases import source_name
from consilience.core.storage.atomic_write import write_atomically
from consilience.evals.report.report_page import base_css, pages
from consilience.orchestrator.grouping.grouping import Grouping
from consilience.orchestrator.grouping.links import REASON_WORDS
from consilience.orchestrator.panel.panel import Panel

MOST_GROUPS, MOST_PICTURES = 300, 24
"""On the page; of a group."""

GIVEN_WORDS = {"parent": "the folder that each image lies in", "manifest": "the manifest's column 'group'"}


@dataclass(frozen=True)
class GroupPicture:
    """One image of a group.

    Attributes:
        address: its picture as a data address; None where none was kept.
        name: of its file.
        label: its label.
    """

    address: str | None
    name: str
    label: str


@dataclass(frozen=True)
class ShownGroup:
    """A group of two images or more.

    Attributes:
        name: as it was given; the name of its first image's file where it was found.
        size: how many images it has.
        labels: images by label, the most frequent first.
        reasons: in words why they are together, and how many links say so.
        pictures: of its first images.
    """

    name: str
    size: int
    labels: tuple[tuple[str, int], ...]
    reasons: tuple[tuple[str, int], ...]
    pictures: tuple[GroupPicture, ...]


def write_groups_page(panel: Panel, path: Path) -> Path:
    """Write a page that opens without a network, and return its path.

    Raises:
        OSError: it cannot be written. PanelDamagedError: the panel's pictures cannot be read.
    """
    groups = shown_groups(panel)
    images = panel.labelled_images
    page = (
        pages()
        .get_template("groups.html")
        .render(
            style=base_css() + STYLE,
            title=panel.path.name,
            how=how_words(panel.grouping),
            images=len(images),
            groups=len(set(images.groups)),
            several=len(groups),
            mixed=sum(len(group.labels) > 1 for group in groups),
            shown=groups[:MOST_GROUPS],
        )
    )
    write_atomically(path, page)
    return path


def shown_groups(panel: Panel) -> list[ShownGroup]:
    """Return the groups of two images or more: those with several labels first, then the largest; pictures of some."""
    images = panel.labelled_images
    rows: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(images.groups):
        rows[name].append(row)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    group_of = dict(zip(images.ids, images.groups, strict=True))
    for link in panel.links:
        if link.image in group_of and link.other in group_of:
            reasons[group_of[link.image]][REASON_WORDS[link.reason]] += 1
    several = [(name, members) for name, members in rows.items() if len(members) > 1]
    labels_of = {name: Counter(images.labels[row] for row in members) for name, members in several}
    several.sort(key=lambda group: (-min(len(labels_of[group[0]]), 2), -len(group[1])))
    return [
        ShownGroup(
            source_name(images.sources[members[0]]) if panel.grouping.how == "found" else name,
            len(members),
            tuple(labels_of[name].most_common()),
            tuple(reasons[name].most_common()),
            _pictures(panel, members[:MOST_PICTURES]) if place < MOST_GROUPS else (),
        )
        for place, (name, members) in enumerate(several)
    ]


def how_words(grouping: Grouping) -> str:
    """Return in words where groups come from.

    >>> how_words(Grouping("given", "{group}-*.jpg"))
    "Groups are given: the pattern '{group}-*.jpg' on the paths."
    """
    if grouping.how == "none":
        return "Each image stands by itself: groups are switched off."
    if grouping.how == "given":
        words = GIVEN_WORDS.get(grouping.rule, f"the pattern '{grouping.rule}' on the paths")
        return f"Groups are given: {words}."
    return f"Groups are found: {grouping.rule} (distance of their vectors up to {grouping.distance:.3g})."


def _pictures(panel: Panel, rows: Sequence[int]) -> tuple[GroupPicture, ...]:
    images = panel.labelled_images
    jpegs = ((row, images.thumbnail(images.ids[row])) for row in rows)
    return tuple(
        GroupPicture(
            None if jpeg is None else picture_address(jpeg), source_name(images.sources[row]), images.labels[row]
        )
        for row, jpeg in jpegs
    )


STYLE = """
header, main { max-width: 76rem; margin: 0 auto; padding: 1rem; }
section { border-top: 1px solid var(--line); padding: .8rem 0; }
.pictures { display: flex; flex-wrap: wrap; gap: .6rem; margin: 0; padding: 0; list-style: none; }
.pictures li { width: 7rem; font-size: .8rem; overflow-wrap: anywhere; }
.pictures img { display: block; width: 100%; height: 7rem; object-fit: contain; background: var(--card); }
"""
