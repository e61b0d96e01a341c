"""Labelled folders, as people make them."""

from __future__ import annotations

import os
import unicodedata
from pathlib import Path

import pytest

from consilience.core.dataset import LabelledFolder, images_below, images_by_folder, read_labelled_folder
from consilience.core.errors import DatasetError
from consilience.core.sources.outside_links import OutsideLinks
from consilience.core.task import Label, Task

LEAVES = Task(labels=(Label(name="scab", synonyms=("Apfelschorf",)), Label(name="healthy")))


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"not opened")
    return root


def listed(folder: LabelledFolder, root: Path) -> list[tuple[str, str]]:
    return [(Path(image.path).relative_to(root).as_posix(), image.label) for image in folder.images]


def ignored(folder: LabelledFolder, root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in folder.ignored]


def refusal(root: Path, task: Task | None = None, **options: object) -> str:
    with pytest.raises(DatasetError) as caught:
        read_labelled_folder(root, task, **options)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_subfolder_is_a_label_and_order_is_natural(tmp_path: Path) -> None:
    put(tmp_path, "scab/10.jpg", "scab/2.JPG", "healthy/b.png", "healthy/a.webp")
    folder = read_labelled_folder(tmp_path)
    assert folder.labels == ("healthy", "scab")
    assert listed(folder, tmp_path) == [
        ("healthy/a.webp", "healthy"),
        ("healthy/b.png", "healthy"),
        ("scab/2.JPG", "scab"),
        ("scab/10.jpg", "scab"),
    ]
    assert folder.ignored == ()
    assert read_labelled_folder(str(tmp_path)) == folder


def test_image_suffixes_count_in_either_case(tmp_path: Path) -> None:
    suffixes = "jpg jpeg jpe jfif mpo png webp bmp gif tif tiff ppm pgm pbm pnm avif heic heif hif"
    put(tmp_path, *(f"a/1.{suffix}" for suffix in suffixes.split()))
    put(tmp_path, *(f"b/1.{suffix}" for suffix in suffixes.upper().split()))
    folder = read_labelled_folder(tmp_path)
    assert (len(folder.images), folder.ignored) == (38, ())


def test_nested_folders_count_for_their_label(tmp_path: Path) -> None:
    put(tmp_path, "scab/cam 2/day 1/x.png", "scab/cam 10/x.png", "scab/z.png", "healthy/1.png", "healthy/2.png")
    folder = read_labelled_folder(tmp_path)
    assert [name for name, label in listed(folder, tmp_path) if label == "scab"] == [
        "scab/z.png",
        "scab/cam 2/day 1/x.png",
        "scab/cam 10/x.png",
    ]


def test_other_files_are_reported_and_hidden_ones_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.png", "a/notes.txt", "a/.DS_Store", "a/.cache/3.png", ".git/config", "README")
    put(tmp_path, "b/1.png", "b/2.png", "b/deep/Thumbs.db", "loose.png")
    folder = read_labelled_folder(tmp_path)
    assert len(folder.images) == 4
    assert ignored(folder, tmp_path) == ["loose.png", "README", "a/notes.txt"]


def test_train_and_val_are_read_together_and_the_rest_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path, "val/scab/1.png", "train/scab/9.png", "train/healthy/1.png", "train/healthy/2.png")
    put(tmp_path, "test/scab/1.png", "test/rust/1.png", "annotations/a.json", "train/labels.csv")
    folder = read_labelled_folder(tmp_path)
    assert listed(folder, tmp_path) == [
        ("train/healthy/1.png", "healthy"),
        ("train/healthy/2.png", "healthy"),
        ("train/scab/9.png", "scab"),
        ("val/scab/1.png", "scab"),
    ]
    assert ignored(folder, tmp_path) == ["annotations", "test", "train/labels.csv"]
    only_train = read_labelled_folder(tmp_path, splits=("train",), least=1)
    assert [name for name, _ in listed(only_train, tmp_path) if name.startswith("val")] == []
    assert len(read_labelled_folder(tmp_path, least=1, splits=("test",)).images) == 2


def test_loose_test_images_beside_train_are_no_label(tmp_path: Path) -> None:
    put(tmp_path, "Train/a/1.png", "Train/a/2.png", "Train/b/1.png", "Train/b/2.png", "test/1.png")
    folder = read_labelled_folder(tmp_path)
    assert folder.labels == ("a", "b")
    assert ignored(folder, tmp_path) == ["test"]


def test_train_without_subfolders_is_a_label(tmp_path: Path) -> None:
    put(tmp_path, "train/1.png", "train/2.png", "bus/1.png", "bus/2.png")
    assert read_labelled_folder(tmp_path).labels == ("bus", "train")


def test_labels_beside_a_part_are_refused_and_can_be_asked_for(tmp_path: Path) -> None:
    put(tmp_path, "train/side/1.png", "train/front/2.png", "bus/side/1.png", "bus/side/2.png")
    message = refusal(tmp_path)
    assert "'train'" in message
    assert "move 'bus' elsewhere" in message
    assert read_labelled_folder(tmp_path, splits=()).labels == ("bus", "train")


@pytest.mark.parametrize(
    "names", [("苹果", "リンゴ"), ("سیب‌زمینی", "سالم"), ("яблоко", "груша"), ("café", "thé"), ("🍏", "🍎")]
)
def test_labels_in_any_script_are_nfc(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        stored = unicodedata.normalize("NFD", name)
        put(tmp_path, f"{stored}/1.png", f"{stored}/2.png")
    folder = read_labelled_folder(tmp_path)
    assert set(folder.labels) == {unicodedata.normalize("NFC", name) for name in names}
    assert all(Path(image.path).exists() for image in folder.images)
    assert Task.from_labels(folder.labels).names == folder.labels


def test_a_task_maps_folder_names_and_gives_the_order(tmp_path: Path) -> None:
    put(tmp_path, "Healthy/1.png", "Healthy/2.png", "apfelschorf/1.png", "SCAB/1.png")
    folder = read_labelled_folder(tmp_path, LEAVES)
    assert folder.labels == ("scab", "healthy")
    assert [label for _, label in listed(folder, tmp_path)] == ["scab", "scab", "healthy", "healthy"]


def test_a_task_refuses_folders_it_does_not_know_and_misses_those_it_does(tmp_path: Path) -> None:
    put(tmp_path, "scab/1.png", "scab/2.png", "rust/1.png", "rust/2.png")
    message = refusal(tmp_path, LEAVES)
    assert f"'{tmp_path / 'rust'}' is no label of the task, which knows scab, healthy" in message
    (tmp_path / "rust").rename(tmp_path.with_name(f"{tmp_path.name} elsewhere"))
    assert "'healthy' has 0" in refusal(tmp_path, LEAVES)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "file.png")
    assert "does not exist; name a folder" in refusal(tmp_path / "missing")
    assert "is a file, not a folder" in refusal(tmp_path / "file.png")
    assert "does not exist" in refusal(tmp_path / ("x" * 300))


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    assert "is empty; put the images into one subfolder for each label" in refusal(tmp_path)
    put(tmp_path, "1.png", "2.png")
    assert "holds 2 files and no subfolders" in refusal(tmp_path)
    put(tmp_path, "only/1.png", "only/2.png")
    assert "the label 'only' only" in refusal(tmp_path)


def test_a_label_with_too_few_images_is_named_with_its_count(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png", "b/2.png", "c/notes.txt")
    assert "at least 1 image, but 'c' has 0;" in refusal(tmp_path)
    (tmp_path / "c/notes.txt").rename(tmp_path / "c/1.png")
    assert len(read_labelled_folder(tmp_path, least=1).images) == 4
    assert "'a' has 1, 'b' has 2, 'c' has 1" in refusal(tmp_path, least=3)


def test_subfolders_without_any_image_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "a/1.txt", "b/1.svg")
    assert "hold no images (files named .avif, .bmp" in refusal(tmp_path)


@pytest.mark.parametrize(("first", "other"), [("apple scab", "Apple_Scab"), ("straße", "STRASSE"), ("é", "e\u0301")])
def test_folders_spelled_alike_are_refused(tmp_path: Path, first: str, other: str) -> None:
    put(tmp_path, f"{first}/1.png", f"{other}/1.png", "healthy/1.png")
    if len(list(tmp_path.iterdir())) == 2:
        pytest.skip("this file system takes the two names for one")
    assert "are spelled alike" in refusal(tmp_path, least=1)


def test_a_label_is_spelled_one_way_in_all_parts(tmp_path: Path) -> None:
    put(tmp_path, "train/scab/1.png", "val/Scab/1.png", "train/healthy/1.png", "val/healthy/1.png")
    assert "are spelled alike" in refusal(tmp_path, least=1)
    assert len(read_labelled_folder(tmp_path, LEAVES).images) == 4


def test_links_within_the_folder_are_followed_and_those_that_lead_outside_are_counted(tmp_path: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    put(store, "1.png", "deep/2.png")
    put(root, "a/1.png", "b/1.png", "b/2.png")
    (root / "a" / "mine.png").symlink_to(root / "b" / "1.png")
    (root / "a" / "theirs.png").symlink_to(store / "1.png")
    (root / "b" / "theirs").symlink_to(store / "deep")
    (root / "b" / "nowhere.png").symlink_to(store / "nowhere.png")
    linked = tmp_path / "linked"
    linked.symlink_to(root)
    for folder in (root, linked):
        found = read_labelled_folder(folder)
        names = ["a/1.png", "a/mine.png", "b/1.png", "b/2.png", "b/nowhere.png"]
        assert [name for name, _ in listed(found, folder)] == names
        assert found.aside.startswith("2 links lead out of the folder (the first: '")
        assert "--set images.follow_links=true" in found.aside
        assert images_by_folder(folder)[1] == (folder / "a" / "theirs.png", folder / "b" / "theirs")
        assert len(images_below(folder)) == 5
    followed = read_labelled_folder(root, follow_links=True)
    assert (len(followed.images), followed.aside) == (7, "")
    assert len(images_below(root, OutsideLinks(root, follow=True))) == 7


def test_a_folder_of_links_alone_says_how_to_follow_them(tmp_path: Path) -> None:
    put(tmp_path / "store", "a/1.png", "b/1.png")
    for label in ("a", "b"):
        (tmp_path / "labels" / label).mkdir(parents=True)
        (tmp_path / "labels" / label / "1.png").symlink_to(tmp_path / "store" / label / "1.png")
        (tmp_path / "folders").mkdir(exist_ok=True)
        (tmp_path / "folders" / label).symlink_to(tmp_path / "store" / label)
    for name in ("labels", "folders"):
        says = refusal(tmp_path / name)
        assert "of their own: 2 links lead" in says or "of its own: 2 links lead" in says
        assert len(read_labelled_folder(tmp_path / name, follow_links=True).images) == 2


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    root, store = tmp_path / "root", tmp_path / "store"
    put(store, "1.png", "deep/2.png")
    put(root, "b/1.png", "b/2.png")
    (root / "a").symlink_to(store)
    (store / "deep" / "up").symlink_to(store)
    (store / "self").symlink_to(store / "self")
    (root / "b" / "3.png").symlink_to(store / "1.png")
    folder = read_labelled_folder(root, follow_links=True)
    assert listed(folder, root) == [
        ("a/1.png", "a"),
        ("a/deep/2.png", "a"),
        ("b/1.png", "b"),
        ("b/2.png", "b"),
        ("b/3.png", "b"),
    ]
    assert ignored(folder, root) == ["a/self"]


def test_a_broken_link_is_the_loaders_to_report(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "b/1.png", "b/2.png")
    (tmp_path / "a" / "2.png").symlink_to("nowhere.png")
    assert ("a/2.png", "a") in listed(read_labelled_folder(tmp_path), tmp_path)


def test_an_unreadable_subfolder_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png")
    (tmp_path / "b").chmod(0)
    try:
        if os.access(tmp_path / "b", os.R_OK):
            pytest.skip("this user may read everything")
        assert f"the folder '{tmp_path / 'b'}' cannot be read (Permission denied)" in refusal(tmp_path)
    finally:
        (tmp_path / "b").chmod(0o700)


def test_a_folder_whose_name_is_no_text_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "a/1.png", "a/2.png", " /1.png")
    assert "blank name" in refusal(tmp_path)
    (tmp_path / " ").rename(tmp_path / "spare")
    name = os.path.join(os.fsencode(tmp_path), b"gr\xfcn")
    try:
        os.mkdir(name)
    except OSError:
        pytest.skip("this file system knows only names that are text")
    message = refusal(tmp_path)
    assert "is not valid text" in message
    message.encode()
