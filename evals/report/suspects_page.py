"""A page with pictures of the images whose labels are perhaps wrong, so that a person can look at each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from consilience.core.render.html import picture_address
from consilience.core.render.phrases import counted, one_line, percent, source_name
from consilience.core.storage.atomic_write import write_atomically
from consilience.evals.report.groups_page import STYLE
from consilience.evals.report.report_page import base_css, pages
from consilience.orchestrator.label_errors.suspects import Suspect, Suspects
from consilience.retrieval.memory.labelled_images import LabelledImages


@dataclass(frozen=True)
class SuspectCard:
    """One suspect, as the page shows it.

    Attributes:
        suspect: the image.
        name: of its file.
        words: what speaks against its label, a sentence each.
        picture: its picture as a data address; None where none was kept.
        copy_picture: the same of its copy with another label; None where there is no copy.
    """

    suspect: Suspect
    name: str
    words: tuple[str, ...]
    picture: str | None
    copy_picture: str | None


def write_suspects_page(suspects: Suspects, path: Path) -> Path:
    """Write a page that opens without a network, and return its path.

    Raises:
        OSError: it cannot be written. PanelDamagedError: the panel's pictures cannot be read.
    """
    images = suspects.panel.labelled_images
    cards = [
        SuspectCard(
            suspect,
            source_name(suspect.source),
            suspicion_words(suspects, suspect),
            _picture(images, suspect.id),
            _picture(images, suspect.copy),
        )
        for suspect in suspects.shown
    ]
    page = (
        pages()
        .get_template("suspects.html")
        .render(
            style=base_css() + STYLE,
            title=suspects.panel.path.name,
            images=len(images),
            total=suspects.total,
            unjudged=counted(suspects.unjudged) if suspects.unjudged else "",
            cards=cards,
        )
    )
    write_atomically(path, page, shared=True)
    return path


def suspicion_words(suspects: Suspects, suspect: Suspect) -> tuple[str, ...]:
    """Return in plain words what speaks against a label, a sentence each; all on one line."""
    words = []
    for reason in suspect.why:
        if reason == "contradicted" and suspect.named_probability is not None:
            words.append(f"the panel says {one_line(suspect.named or '')}, {percent(suspect.named_probability)}")
        elif reason == "copy" and suspect.copy is not None:
            copy = suspects.image(suspect.copy)
            words.append(f"a copy has the label {one_line(copy['label'])}: {source_name(copy['source'])}")
        elif reason == "none-of-these":
            words.append("unlike the others: perhaps none of the labels")
    return tuple(words)


def _picture(images: LabelledImages, identity: str | None) -> str | None:
    jpeg = None if identity is None else images.thumbnail(identity)
    return None if jpeg is None else picture_address(jpeg)
