"""Reading labelled folders: one subfolder for each label, or parts such as `train/` and `val/` above them."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from consilience.core.errors import DatasetError
from consilience.core.sources.by_products import by_products_below, is_by_product
from consilience.core.sources.outside_links import OutsideLinks
from consilience.core.task import Task, plain

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".bmp", ".gif"}
    | {".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".avif", ".heic", ".heif", ".hif"}
)
"""Endings of the names of image files, in upper or lower case."""

PARTS = frozenset(
    {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "holdout"}
    | {"unlabelled", "unlabeled"}
)
"""Names, in lower case, of folders that may lie beside a part: they are taken for other parts, not for labels."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image, not yet opened, and its label.

    Attributes:
        path: of the file; or an address, http(s) or of a store.
        group: the name of the thing that it shows, where a manifest says so.
    """

    path: Path | str
    label: str
    group: str | None = None


@dataclass(frozen=True)
class LabelledFolder:
    """The images and labels found in a labelled folder, and what was passed over.

    Attributes:
        images: label by label, within a label part by part, in natural order (2 before 10), a folder's files
            before those of its subfolders.
        labels: in the task's order, or in natural order where there is no task.
        ignored: files whose names are not those of images, images without a label, and folders beside the parts.
        by_products: files that other programs made beside the photos, such as thumbnails, see `by_products.py`.
        aside: which links were left out because they lead out of the folder, in a sentence; empty: none.
    """

    images: tuple[LabelledImage, ...]
    labels: tuple[str, ...]
    ignored: tuple[Path, ...]
    by_products: tuple[Path, ...] = ()
    aside: str = ""


def read_labelled_folder(
    folder: str | Path,
    task: Task | None = None,
    least: int = 1,
    splits: Sequence[str] = ("train", "val"),
    follow_links: bool = False,
) -> LabelledFolder:
    """Return the labelled images below a folder, without opening them: a broken one is reported when it is loaded.

    Each subfolder is a label, named by the subfolder (NFC, in any script); images are found at any depth
    below it. Where a folder named in `splits` holds subfolders, those are the labels, and whatever lies
    beside is `ignored`; but beside such a part, a folder with images under an unusual name could be a label as
    well, and is refused. Hidden files and folders are passed over, and so are those of other programs; links are
    followed where they stay within the folder.

    Args:
        folder: the folder.
        task: maps the names of subfolders to its labels, synonyms included; None: the names are the labels.
        least: how many images each label must have.
        splits: names of the parts to read, in this order; () takes every subfolder for a label.
        follow_links: whether links that lead out of the folder are followed, too.

    Raises:
        DatasetError: the folder cannot be read, a subfolder is no label of the task, two are spelled alike, there
            are fewer than two labels, or one has fewer than `least` images; the message says what to change.
    """
    root = Path(folder)
    links = OutsideLinks(root, follow_links)
    parts, ignored = _parts(root, splits, links)
    subfolders: list[Path] = []
    for part in parts:
        inner, loose = _entries(part, links)
        subfolders += inner
        ignored += loose
    if task is None:
        _refuse_alike(subfolders)
    by_label: dict[str, list[Path]] = {label: [] for label in (task.names if task else ())}
    for subfolder in subfolders:
        paths = by_label.setdefault(_label(subfolder, task), [])
        for path in _files_below(subfolder, links):
            (paths if _is_image(path) else ignored).append(path)
    _refuse_empty(root, by_label, links)
    check_labels(root, by_label, least)
    labels = task.names if task else tuple(sorted(by_label, key=natural_order))
    images = tuple(LabelledImage(path, label) for label in labels for path in by_label[label])
    return LabelledFolder(images, labels, tuple(ignored), tuple(by_products_below(root)), links.sentence())


def images_below(folder: str | Path, links: OutsideLinks | None = None) -> list[Path]:
    """Return the image files at any depth below a folder, as `read_labelled_folder` finds them below a label.

    Args:
        folder: the folder.
        links: tells which links are left out; None: those that lead out of the folder.

    Raises:
        DatasetError: a folder cannot be read.
    """
    root = Path(folder)
    return [path for path in _files_below(root, links or OutsideLinks(root)) if _is_image(path)]


def images_by_folder(folder: str | Path, follow_links: bool = False) -> tuple[dict[str, list[Path]], tuple[Path, ...]]:
    """Return the image files below each subfolder by the subfolder's name, and what is none.

    Unlike `read_labelled_folder`, it does not take the names for labels: the caller decides what they mean.

    Returns:
        The paths by name, in natural order, and the paths of visible files whose names are not those of images, and of
        links that lead out of the folder, which are followed only with `follow_links`.

    Raises:
        DatasetError: the folder cannot be read, or holds no images in subfolders.
    """
    root = Path(folder)
    links = OutsideLinks(root, follow_links)
    _parts(root, (), links)
    subfolders, ignored = _entries(root, links)
    by_label: dict[str, list[Path]] = {}
    for subfolder in subfolders:
        images = by_label.setdefault(_name(subfolder), [])
        for path in _files_below(subfolder, links):
            (images if _is_image(path) else ignored).append(path)
    _refuse_empty(root, by_label, links)
    return by_label, (*ignored, *links.left_out)


def _parts(root: Path, splits: Sequence[str], links: OutsideLinks) -> tuple[list[Path], list[Path]]:
    """Return the folders whose subfolders are labels, and what lies beside them."""
    if not os.path.isdir(root):  # unlike Path.is_dir, no error for a name that is too long
        problem = "is a file, not a folder" if os.path.exists(root) else "does not exist"
        raise DatasetError(f"'{root}' {problem}; name a folder that holds one subfolder of images for each label")
    subfolders, loose = _entries(root, links)
    if not subfolders:
        if links.left_out:
            raise DatasetError(f"'{root}' holds no subfolders of its own: {links.sentence()}")
        what = f"holds {len(loose)} files and no subfolders" if loose else "is empty"
        raise DatasetError(f"'{root}' {what}; put the images into one subfolder for each label")
    parts = [
        subfolder
        for split in splits
        for subfolder in subfolders
        if subfolder.name.casefold() == split.casefold() and _entries(subfolder, links)[0]
    ]
    if not parts:
        return [root], []
    beside = [subfolder for subfolder in subfolders if subfolder not in parts]
    for subfolder in beside:
        if subfolder.name.casefold() not in PARTS and any(map(_is_image, _files_below(subfolder, links))):
            raise DatasetError(
                f"'{root}' holds both labels in '{parts[0].name}' and images in '{subfolder.name}', which could be a "
                f"label or a part; move '{subfolder.name}' elsewhere, or into '{parts[0].name}' if it is a label"
            )
    return parts, beside + loose


def _label(subfolder: Path, task: Task | None) -> str:
    name = _name(subfolder)
    if task is None:
        return name
    if (label := task.find(name)) is None:
        raise DatasetError(
            f"the folder '{subfolder}' is no label of the task, which knows {', '.join(task.names)}; "
            "rename or move the folder, or add its name to the task as a label or synonym"
        )
    return label


def _name(subfolder: Path) -> str:
    name = unicodedata.normalize("NFC", subfolder.name).strip()
    try:
        name.encode()
    except UnicodeEncodeError as cause:  # bytes that are no text in the encoding of the file system
        raise DatasetError(f"the folder {str(subfolder)!a} has a name that is not valid text; rename it") from cause
    if not name:
        raise DatasetError(f"the folder {str(subfolder)!r} has a blank name; rename it")
    return name


def _refuse_alike(subfolders: Iterable[Path]) -> None:
    """Raise DatasetError if two folders mean one label: it may stand in several parts, but under one spelling only."""
    seen: dict[str, Path] = {}
    for subfolder in subfolders:
        other = seen.setdefault(plain(_name(subfolder)), subfolder)
        if other != subfolder and (other.parent == subfolder.parent or _name(other) != _name(subfolder)):
            raise DatasetError(
                f"the folders {str(other)!r} and {str(subfolder)!r} are spelled alike; merge or rename them, "
                "or give a task in which they are synonyms or labels"
            )


def check_labels(source: Path, by_label: Mapping[str, Sequence[object]], least: int) -> None:
    """Check that images can teach to tell labels apart.

    Args:
        source: what the message calls them.
        by_label: the images of each label.
        least: how many each must have.

    Raises:
        DatasetError: there is one label only, or one has fewer images.
    """
    if len(by_label) == 1:
        raise DatasetError(
            f"'{source}' has the label '{min(by_label)}' only; add images of another one, in a subfolder of its own"
        )
    few = [f"'{label}' has {len(paths)}" for label, paths in by_label.items() if len(paths) < least]
    if few:
        raise DatasetError(
            f"each label in '{source}' needs at least {least} image{'s' * (least > 1)}, but {', '.join(few)}; "
            "add images, or remove the label from the folder and the task"
        )


def _refuse_empty(root: Path, by_label: dict[str, list[Path]], links: OutsideLinks) -> None:
    if not any(by_label.values()) and links.left_out:
        raise DatasetError(f"the subfolders of '{root}' hold no images of their own: {links.sentence()}")
    if not any(by_label.values()):
        raise DatasetError(f"the subfolders of '{root}' hold no images (files named {', '.join(sorted(SUFFIXES))})")


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _files_below(folder: Path, links: OutsideLinks) -> list[Path]:
    """Return the visible files at any depth; each folder is read once, so that a link to a folder above ends."""
    images: list[Path] = []
    seen: set[tuple[int, int]] = set()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        folders, files = _entries(here, links)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        images += files
        waiting += reversed(folders)
    return images


def _entries(folder: Path, links: OutsideLinks) -> tuple[list[Path], list[Path]]:
    """Return the visible folders, and the files (whatever is no folder), of a folder, each in natural order."""
    try:
        with os.scandir(folder) as entries:
            visible = [
                (folds, folder / entry.name)
                for entry in entries
                if entry.name[0] != "."
                and not is_by_product(entry.name, folds := _is_folder(entry))
                and not links.leaves_out(entry)
            ]
    except FileNotFoundError as cause:
        raise DatasetError(f"the folder '{folder}' does not exist: name another") from cause
    except OSError as cause:
        raise DatasetError(f"the folder '{folder}' cannot be read ({cause.strerror}); mend or remove it") from cause
    visible.sort(key=lambda entry: natural_order(entry[1].name))
    return [path for is_folder, path in visible if is_folder], [path for is_folder, path in visible if not is_folder]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads nowhere: the loader says so if it is named like an image
        return False


def natural_order(name: str) -> tuple[list[str | int], str]:
    """Return a key for sorting: digits count by value and alternate with text, so that like is compared with like."""
    parts = re.split(r"(\d+)", name.casefold())
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], name
