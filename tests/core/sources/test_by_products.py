"""What other programs put beside photos is no photo."""

from pathlib import Path

import pytest

from consilience.core.dataset import images_below, images_by_folder, read_labelled_folder
from consilience.core.errors import DatasetError


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


FOLDERS = ["@eaDir", "#recycle", "__MACOSX", "lost+found", "$RECYCLE.BIN", ".thumbnails", ".Trash-1000", "@Recycle"]


@pytest.mark.parametrize("name", [*FOLDERS, ".ipynb_checkpoints", ".Trash", "@EADIR"])
def test_pictures_in_folders_of_other_programs_are_left_out_and_counted(tmp_path: Path, name: str) -> None:
    photos = [tmp_path / "scab" / "1.jpg", tmp_path / "rust" / "2.jpg"]
    made = [tmp_path / name / "scab" / "1.jpg", tmp_path / "scab" / name / "1.jpg" / "SYNOPHOTO_THUMB_M.jpg"]
    touch(*photos, *made)
    folder = read_labelled_folder(tmp_path)
    assert folder.labels == ("rust", "scab")
    assert {image.path for image in folder.images} == {*photos}
    assert {*folder.by_products} == {*made}
    assert folder.ignored == ()
    assert images_below(tmp_path / "scab") == [photos[0]]
    assert set(images_by_folder(tmp_path)[0]) == {"rust", "scab"}


def test_forks_and_databases_beside_photos_are_left_out_and_counted(tmp_path: Path) -> None:
    made = [tmp_path / "scab" / "._1.jpg", tmp_path / "scab" / "Thumbs.db", tmp_path / "desktop.ini"]
    touch(tmp_path / "scab" / "1.jpg", tmp_path / "rust" / "2.jpg", *made)
    folder = read_labelled_folder(tmp_path)
    assert ({*folder.by_products}, folder.ignored, len(folder.images)) == ({*made}, (), 2)


def test_what_is_hidden_for_another_reason_is_passed_over_as_before(tmp_path: Path) -> None:
    touch(tmp_path / "scab" / "1.jpg", tmp_path / "rust" / "2.jpg", tmp_path / ".git" / "3.jpg")
    touch(tmp_path / ".git" / "@eaDir" / "4.jpg")
    assert read_labelled_folder(tmp_path).by_products == ()


def test_thumbnails_beside_parts_are_no_label_that_could_be_meant(tmp_path: Path) -> None:
    touch(tmp_path / "train" / "scab" / "1.jpg", tmp_path / "train" / "rust" / "2.jpg", tmp_path / "@eaDir" / "3.jpg")
    assert len(read_labelled_folder(tmp_path).images) == 2


def test_a_folder_with_nothing_but_thumbnails_is_empty(tmp_path: Path) -> None:
    touch(tmp_path / "@eaDir" / "3.jpg")
    with pytest.raises(DatasetError, match="is empty"):
        read_labelled_folder(tmp_path)
