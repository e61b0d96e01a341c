"""Names that differ by a mark of a copy or an augmentation only."""

import pytest

from consilience.orchestrator.grouping.copy_marks import MOST, of_one_name, unmarked


@pytest.mark.parametrize(
    "name",
    [
        *("leaf", "LEAF", "leaf - Copy", "leaf - Copy (2)", "leaf copy", "leaf copy 2", "leaf_kopie", "Copy of leaf"),
        *(
            "copy (2) of leaf",
            "leaf_copy1",
            "leaf-edited",
            "leaf_rot90",
            "leaf_rotate_270",
            "leaf-rot-90",
            "leaf_90deg",
        ),
        *("leaf_flip", "leaf_hflip", "leaf_fliplr", "leaf_flip_h", "leaf_flipTB", "leaf_mirror", "leaf_aug3"),
        *("leaf_aug_12", "aug_3_leaf", "aug3_leaf", "rot90_leaf", "leaf_crop2_flip", "leaf_bright1.5", "leaf_640x480"),
        *("leaf-1024x768", "leaf@2x", "leaf_thumb", "thumb_leaf", "leaf_jpg.rf.0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
        *("leaf_newPixel25", "leaf.noise", "leaf_rotated_flipped_copy"),
    ],
)
def test_a_mark_of_a_copy_or_an_augmentation_is_taken_off(name: str) -> None:
    assert unmarked(name) == "leaf"


@pytest.mark.parametrize(
    "name",
    [
        *("leaf_1", "leaf-017", "leaf2", "copyright", "leaf_copper", "rotor_7", "flip_1", "rot_9", "aug_3", "crop"),
        *("small", "a_minute", "img_20240517_120003", "dsc01234", "apple10-066-153", "leaf_dark_spots", "blurb"),
    ],
)
def test_names_that_only_look_alike_stay_as_they_are(name: str) -> None:
    assert unmarked(name) == name


def test_copies_are_found_within_a_folder_and_over_the_parts() -> None:
    names = ["train/a/x.jpg", "val/a/x_flip.jpg", "train/b/x.jpg", "train/a/y.jpg", "train/a/x.png"]
    assert of_one_name(names) == [[0, 1, 4]]


def test_numbered_images_have_copies_too() -> None:
    assert of_one_name(["a/1.jpg", "a/1_rot90.jpg", "a/2_flip.jpg", "a/2.jpg", "a/3.jpg"]) == [[0, 1], [2, 3]]


def test_folders_of_the_same_file_names_are_no_copies() -> None:
    assert of_one_name(["a/part1/001.jpg", "a/part2/001.jpg"]) == []


def test_numbers_in_brackets_count_images_where_no_image_is_without() -> None:
    """Windows names a selection so: 'leaf (1)' to 'leaf (90)'."""
    assert of_one_name([f"a/leaf ({number}).jpg" for number in range(1, 91)]) == []
    assert of_one_name(["a/leaf.jpg", "a/leaf (1).jpg", "a/leaf_rot90 (1).jpg"]) == [[0, 1, 2]]


def test_very_many_marks_on_one_name_number_the_images() -> None:
    names = [f"a/leaf_aug{number}.jpg" for number in range(MOST + 1)]
    assert of_one_name(names) == []
    assert of_one_name(names[:-1]) == [list(range(MOST))]
