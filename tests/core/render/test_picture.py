"""The picture of a diagnosis: it opens, shows the image and the cases, and survives whatever it is given."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL.Image
import PIL.ImageColor
import pytest

from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import ConsilienceError, ImageError
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.images import Image, load_image
from consilience.core.prediction import Prediction
from consilience.core.render import drawing
from consilience.core.render.colours import PALETTE, VERDICT_COLOURS
from consilience.core.render.drawing import HEIGHT, MISSING, WIDTH, Canvas, drawable
from consilience.core.render.heat_map import HeatMap

MAGENTA, LIME = (255, 0, 255), (50, 255, 0)


def plain_image(colour: tuple[int, int, int], height: int = 40, width: int = 60) -> Image:
    return load_image(np.full((height, width, 3), colour, np.uint8))


def diagnosis(labels: Sequence[str] = ("healthy", "rust", "scab"), **changes: object) -> Diagnosis:
    posterior = dict.fromkeys(labels, 0.3 / (len(labels) - 1)) | {labels[0]: 0.7}
    image = plain_image(MAGENTA)
    thumbnail = plain_image(LIME).thumbnail()
    parts: dict[str, Any] = {
        "label": labels[0],
        "posterior": posterior,
        "prediction_set": tuple(labels[:2]),
        "verdict": "confident",
        "reasons": (),
        "predictions": (
            Prediction("probe", probabilities=posterior, calibrated=posterior, weight=0.75),
            Prediction("tip-adapter", stage="second", probabilities=posterior, weight=0.25),
        ),
        "evidence": Evidence(
            tuple(Neighbour(f"{i}", labels[1], 0.9, "gone.jpg", lambda _: thumbnail) for i in range(3)), posterior
        ),
        "novelty": 0.5,
        "rationale": "",
        "rounds": 1,
        "seconds": 0.01,
        "cost_usd": 0.0,
        "identity": image.identity,
        "source": "leaf.png",
        "image": image,
    }
    return Diagnosis(**(parts | changes))


def drawn(made: Diagnosis, folder: Path) -> npt.NDArray[np.int16]:
    """The picture's pixels, (HEIGHT, WIDTH, 3)."""
    with PIL.Image.open(made.save_picture(folder / "picture.png")) as picture:
        assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", (WIDTH, HEIGHT))
        return np.asarray(picture).astype(np.int16)


def test_where_it_looked_is_drawn_over_the_image_in_the_colours_of_the_labels(tmp_path: Path) -> None:
    made = diagnosis()
    heat = HeatMap("healthy", "scab", {"probe": np.array([[1.0, -1.0]])}, (40, 60), "activation")
    made.save_picture(tmp_path / "heat.png", heat)
    with PIL.Image.open(tmp_path / "heat.png") as picture:
        left, right, key = (picture.getpixel(at) for at in ((40, 200), (420, 200), (40, HEIGHT - 334)))
    expected = [
        tuple(round(0.35 * of_image + 0.65 * of_label) for of_image, of_label in zip(MAGENTA, paint, strict=True))
        for paint in (PIL.ImageColor.getrgb(PALETTE[0]), PIL.ImageColor.getrgb(PALETTE[2]))
    ]
    assert [left, right] == expected
    assert key == PIL.ImageColor.getrgb(PALETTE[0])


def share_of(pixels: npt.NDArray[np.int16], colour: str | tuple[int, int, int], tolerance: int = 0) -> float:
    """The share of the pixels that have this colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)] if isinstance(colour, str) else colour
    return float((np.abs(pixels - np.array(wanted)).max(axis=2) <= tolerance).mean())


def test_it_shows_the_image_the_cases_and_the_colour_of_the_verdict(tmp_path: Path) -> None:
    pixels = drawn(diagnosis(), tmp_path)
    assert share_of(pixels[100:550, :450], MAGENTA) == pytest.approx(390 * 260 / (450 * 450), rel=0.01)
    assert share_of(pixels[600:], LIME, tolerance=8) == pytest.approx(3 * 140 * 93 / (300 * WIDTH), rel=0.02)
    assert share_of(pixels[:80], VERDICT_COLOURS["confident"]) > 0.8
    assert share_of(pixels[:80], VERDICT_COLOURS["refer"]) == 0.0
    referred = drawn(diagnosis(verdict="refer", reasons=("the posterior is weak",)), tmp_path)
    assert share_of(referred[:80], VERDICT_COLOURS["refer"]) > 0.8


def test_bars_are_as_long_as_the_probabilities(tmp_path: Path) -> None:
    bars = drawn(diagnosis(), tmp_path)[150:560, 455:800]  # the posterior's panel: 330 pixels stand for 1
    widths = [max((np.abs(bars - wanted).max(axis=2) == 0).sum(axis=1)) for wanted in map(rgb, PALETTE[:3])]
    assert widths == pytest.approx([0.7 * 330, 0.15 * 330, 0.15 * 330], abs=1.5)


def test_agents_have_their_share_of_the_weight(tmp_path: Path) -> None:
    column = drawn(diagnosis(), tmp_path)[180:560, 1272:1364]  # 92 pixels stand for 1
    lengths = (np.abs(column - rgb("#5F6368")).max(axis=2) == 0).sum(axis=1)
    assert lengths[: len(lengths) // 2].max() > 60
    assert {69, 23} <= {int(length) for length in lengths}


def rgb(colour: str) -> npt.NDArray[np.int16]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], np.int16)


def test_cases_are_framed_in_the_colour_of_their_label(tmp_path: Path) -> None:
    labels = ("healthy", "rust", "scab")
    cases = tuple(Neighbour(f"{i}", label, 0.9) for i, label in enumerate(labels))
    pixels = drawn(diagnosis(labels, evidence=Evidence(cases, {})), tmp_path)
    for i, colour in enumerate(PALETTE[:3]):
        assert share_of(pixels[600:, 36 + 166 * i : 36 + 166 * i + 150], colour) > 0.06
    assert share_of(pixels[600:, 540:], PALETTE[0]) == 0.0


def test_the_image_is_loaded_again_if_it_was_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "leaf.png"
    PIL.Image.fromarray(plain_image(MAGENTA).pixels).save(file)
    assert share_of(drawn(diagnosis(image=None, source=str(file)), tmp_path), MAGENTA) > 0.05
    PIL.Image.fromarray(plain_image(LIME).pixels).save(file)
    with pytest.raises(ImageError, match=r"leaf\.png' is not the image that was diagnosed any more"):
        drawn(diagnosis(image=None, source=str(file)), tmp_path)
    with pytest.raises(ImageError, match=r"was not kept and cannot be loaded again: there is no file 'array'"):
        drawn(diagnosis(image=None, source="array"), tmp_path)


@pytest.mark.parametrize(("height", "width"), [(2, 2), (2, 3000), (3000, 2), (1200, 1600)])
def test_images_of_any_shape_are_shown(height: int, width: int, tmp_path: Path) -> None:
    pixels = drawn(diagnosis(image=plain_image(MAGENTA, height, width)), tmp_path)
    assert share_of(pixels, MAGENTA) > 0.0


def answer(agent: str, labels: Sequence[str]) -> Prediction:
    return Prediction(agent, probabilities=dict.fromkeys(labels, 1 / len(labels)), weight=0.1)


TWELVE = [f"a rather long name of a disease of apple trees, number {i}" for i in range(12)]
UNDRAWABLE = Prediction("代理人" * 40, error="Ошибка <b> $x$ \x1b[31m \udce9 " * 400)

UNUSUAL = {
    "many labels": diagnosis([f"label {i}" for i in range(2000)]),
    "long names": diagnosis(TWELVE, verdict="refer", prediction_set=tuple(TWELVE), reasons=("weak " * 300,)),
    "scripts": diagnosis(["Ржавчина", "σκωρίαση", "锈病", "صدأ الأوراق", "किट्ट", "🍎"]),
    "mathtext": diagnosis(["$x_1^2$", "snake_case", "100 % \\frac{a}{b}", "$$", "a\nb\tc"]),
    "no evidence": diagnosis(evidence=Evidence((), {}), novelty=0.0),
    "no predictions": diagnosis(predictions=()),
    "failures": diagnosis(predictions=(UNDRAWABLE, Prediction("b", abstained=True))),
    "no weights": diagnosis(predictions=(Prediction("a", probabilities={"healthy": 1.0, "rust": 0.0}),)),
    "many agents": diagnosis(predictions=tuple(answer(f"agent {i}", ["healthy", "scab"]) for i in range(40))),
    "foreign label": diagnosis(evidence=Evidence((Neighbour("a", "unheard of", -1.0),), {}), novelty=1.0),
    "strange source": diagnosis(source="caf\udce9/" + "x" * 5000),
}


@pytest.mark.parametrize("made", UNUSUAL.values(), ids=UNUSUAL.keys())
def test_unusual_diagnoses_are_drawn_without_a_warning(made: Diagnosis, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert share_of(drawn(made, tmp_path), MAGENTA) > 0.05


def test_characters_without_a_font_become_boxes() -> None:
    assert drawable("Ржавчина σκωρίαση naïve ✔") == "Ржавчина σκωρίαση naïve ✔"
    assert drawable("a\U0010fffd\ue123") == f"a{MISSING}{MISSING}"
    canvas = Canvas()
    canvas.text(0, 0, "a")
    assert not canvas.lacks_a_font
    canvas.text(0, 0, "\U0010fffd")
    assert canvas.lacks_a_font


def test_an_installed_font_draws_what_dejavu_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    circled = "Ⓐ"  # in STIX, which matplotlib brings, and not in DejaVu Sans
    try:
        drawing._fonts.cache_clear()
        monkeypatch.setattr(drawing, "FALLBACK_FONTS", ("STIXGeneral", "No Such Font"))
        assert drawable(circled) == circled
        canvas = Canvas()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            canvas.text(100, 100, circled, size=30)
            assert np.asarray(PIL.Image.open(io.BytesIO(canvas.png()))).min() < 100
    finally:
        drawing._fonts.cache_clear()


@pytest.mark.parametrize("words", ["a", "word " * 60, "$x_1$" * 50, "w" * 3000])
def test_text_stays_in_its_room(words: str) -> None:
    whole = Canvas().text(10, 450, words)
    canvas = Canvas()
    taken = canvas.text(10, 450, words, room=200.0)
    assert taken <= 200.0
    assert taken == pytest.approx(whole) if whole <= 200.0 else taken > 170.0
    pixels = np.asarray(PIL.Image.open(io.BytesIO(canvas.png())))
    assert (pixels[:, 212:] == 255).all()
    assert (pixels[:, :212] < 128).any()


@pytest.mark.parametrize("name", ["many agents", "many labels", "long names", "failures"])
def test_panels_keep_clear_of_each_other(name: str, tmp_path: Path) -> None:
    pixels = drawn(UNUSUAL[name], tmp_path)
    for clear in (pixels[86:97], pixels[556:578], pixels[834:862], pixels[120:560, 428:458], pixels[120:560, 792:826]):
        assert (clear == 255).all()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere" / "picture.png"
    with pytest.raises(ConsilienceError, match=r"nowhere/picture\.png' .*create the folder '.*nowhere' first"):
        diagnosis().save_picture(missing)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_replaced_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "picture.png").mkdir()
    with pytest.raises(ConsilienceError, match=r"picture\.png' \(Is a directory\); choose another file"):
        diagnosis().save_picture(tmp_path / "picture.png")
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]
    (tmp_path / "file").touch()
    with pytest.raises(ConsilienceError, match="Not a directory"):
        diagnosis().save_picture(tmp_path / "file" / "picture.png")


def test_a_folder_that_may_not_be_written_to_is_named(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(ConsilienceError, match="Permission denied"):
        diagnosis().save_picture(tmp_path / "picture.png")
    tmp_path.chmod(0o700)


def test_an_earlier_picture_is_replaced_and_the_path_is_returned(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"earlier")
    assert diagnosis().save_picture(str(path)) == path
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [entry.name for entry in tmp_path.iterdir()] == ["picture.png"]


def test_threads_draw_what_one_draws(tmp_path: Path) -> None:
    made = [replace(UNUSUAL["scripts"], source=f"{i}.png") for i in range(4)]
    alone = [diagnosis.save_picture(tmp_path / f"alone-{i}.png").read_bytes() for i, diagnosis in enumerate(made)]
    with ThreadPoolExecutor(4) as pool:
        paths = pool.map(lambda i: made[i].save_picture(tmp_path / f"{i}.png"), range(4))
        assert [path.read_bytes() for path in paths] == alone


def test_matplotlib_is_imported_when_drawing_only() -> None:
    code = (
        "import sys, consilience.core.diagnosis, consilience.core.render.html, consilience.core.render.markdown, "
        "consilience.core.render.picture; "
        "sys.exit('matplotlib' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pyplot_is_never_imported() -> None:
    code = (
        "import sys; from consilience.core.render.drawing import Canvas; canvas = Canvas(); canvas.text(9, 9, 'a'); "
        "canvas.png(); "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
