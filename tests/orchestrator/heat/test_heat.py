"""Heat maps: exact sums, what decides is found, randomised weights destroy them, and clear errors."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from scipy.stats import spearmanr

from consilience import Diagnoser, Diagnosis, fit, load_settings
from consilience.agents.base import softmax
from consilience.core.errors import AgentError, DatasetError, HeatMapError, MissingExtraError
from consilience.core.images import Image, load_image
from consilience.core.render.heat_map import HeatMap
from consilience.orchestrator.heat.class_activation import shares_of_logit
from consilience.orchestrator.heat.occlusion import occluded
from tests.support import tiny_clip
from tests.support.made_once import made_once

RNG = np.random.default_rng(5)
GREY = 127


def scene(label: str, seed: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    """A grey noisy image, 96 x 96, with a striped or a dotted square in it; and where that is."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(GREY - 8, GREY + 9, (96, 96, 3)).astype(np.uint8)
    top, left = (int(at) for at in rng.integers(0, 97 - 42, 2))
    rows, columns = np.mgrid[0:42, 0:42]
    stripes = (rows // 3) % 2 if label == "striped" else ((rows // 6) + (columns // 6)) % 2
    place = slice(top, top + 42), slice(left, left + 42)
    pixels[place] = np.where(stripes, 230, 20)[:, :, None]
    return pixels, place


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of grey images with a striped or a dotted square. Not to be changed."""

    def make(folder: Path) -> None:
        images = folder.with_name(f"{folder.name}.images")
        for label in ("dotted", "striped"):
            (images / label).mkdir(parents=True)
            for seed in range(12):
                PIL.Image.fromarray(scene(label, seed)[0]).save(images / label / f"{seed}.png")
        fit(images, folder, settings=load_settings(agents="neighbours,probe,gaussian"), group="none")

    try:
        return made_once(tmp_path_factory, "panel-of-squares", make)
    except MissingExtraError as missing:
        pytest.skip(f"the encoder is not in the cache and cannot be made: {missing}")


@pytest.fixture(scope="module")
def diagnoser(panel: Path) -> Iterator[Diagnoser]:
    with Diagnoser.open(panel) as opened:
        yield opened


@pytest.fixture(scope="module")
def diagnosis(diagnoser: Diagnoser) -> Diagnosis:
    return diagnoser.diagnose(scene("striped", 100)[0])


def log_odds(probabilities: Mapping[str, float], label: str, other: str) -> float:
    """As the fusion counts them: no agent is surer than 1 to 1e-6."""
    return float(np.log(max(probabilities[label], 1e-6) / max(probabilities[other], 1e-6)))


def test_the_shares_of_a_logit_sum_to_it() -> None:
    seen = RNG.gamma(0.3, size=(20, 3, 5))
    seen[4] = 0.0  # a channel that saw nothing
    features = np.sqrt(seen.mean(axis=(1, 2)))
    features /= np.linalg.norm(features)
    weights = RNG.standard_normal(20)
    grid = shares_of_logit(weights, features, seen)
    by_hand = sum(weights[k] * features[k] * seen[k, 2, 1] / seen[k].sum() for k in range(20) if k != 4)
    assert grid.shape == (3, 5)
    assert grid[2, 1] == pytest.approx(by_hand)
    assert grid.sum() == pytest.approx(weights @ features)


def test_the_map_of_each_head_sums_to_what_it_added(diagnoser: Diagnoser, diagnosis: Diagnosis) -> None:
    heat = diagnoser.heat(diagnosis, "striped", "dotted")
    assert set(heat.evidence) == {"probe", "gaussian"}  # neighbours are not linear
    added = {}
    for prediction in diagnosis.predictions:
        assert prediction.calibrated is not None
        assert prediction.weight is not None
        added[prediction.agent] = prediction.weight * log_odds(prediction.calibrated, "striped", "dotted")
    for agent, grid in heat.evidence.items():
        assert grid.shape == (7, 7)
        assert grid.sum() == pytest.approx(added[agent], rel=1e-6)
    assert heat.total == pytest.approx(added["probe"] + added["gaussian"], rel=1e-6)


def test_linear_heads_say_what_their_probabilities_follow_from(diagnoser: Diagnoser, diagnosis: Diagnosis) -> None:
    assert diagnosis.embedding is not None
    for head in diagnoser.panel.heads:
        logits = head.linear()
        if head.name == "neighbours":
            assert logits is None
            continue
        assert logits is not None
        (said,) = (look.probabilities for look in diagnosis.predictions if look.agent == head.name)
        assert said is not None
        expected = softmax((logits.weights @ diagnosis.embedding.vector + logits.bias)[None])[0]
        np.testing.assert_allclose([*said.values()], expected, atol=1e-6)


def test_it_is_of_the_size_of_the_image_and_mirrored_by_the_other_label(
    diagnoser: Diagnoser, diagnosis: Diagnosis
) -> None:
    heat, mirrored = diagnoser.heat(diagnosis), diagnoser.heat(diagnosis, "dotted")
    assert (heat.label, heat.other) == ("striped", "dotted") == (mirrored.other, mirrored.label)
    for array in (heat.for_label, heat.for_other):
        assert array.shape == (96, 96)
        assert 0.0 <= array.min() <= array.max() <= 1.0
    assert max(heat.for_label.max(), heat.for_other.max()) == pytest.approx(1.0)
    assert not (heat.for_label * heat.for_other).any()
    np.testing.assert_allclose(mirrored.for_other, heat.for_label, atol=1e-5)


def test_what_decides_is_inside_the_square(diagnoser: Diagnoser) -> None:
    inside = 0.0
    for seed in range(200, 206):
        pixels, place = scene("striped", seed)
        heat = diagnoser.heat(diagnoser.diagnose(pixels), "striped")
        inside += heat.for_label[place].mean() > 1.5 * heat.for_label.mean()
    assert inside >= 5


def test_a_diagnosis_of_a_batch_is_looked_at_anew(diagnoser: Diagnoser, diagnosis: Diagnosis, tmp_path: Path) -> None:
    PIL.Image.fromarray(scene("striped", 100)[0]).save(tmp_path / "image.png")
    (one,) = diagnoser.diagnose_many([tmp_path / "image.png"])
    assert isinstance(one, Diagnosis)
    assert one.image is None
    assert one.embedding is not None
    assert one.embedding.maps == ()
    np.testing.assert_allclose(diagnoser.heat(one).for_label, diagnoser.heat(diagnosis).for_label, atol=1e-3)


def test_a_notebook_shows_it_over_the_image(diagnoser: Diagnoser, diagnosis: Diagnosis) -> None:
    heat = diagnoser.heat(diagnosis)
    html = heat._repr_html_()
    assert html is not None
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    shown = np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data))), np.float32)
    assert shown.shape == (96, 96, 3)
    coloured = np.abs(shown - shown.mean(axis=2, keepdims=True)).max(axis=2)  # the image itself is grey
    assert coloured[heat.for_label > 0.9].mean() > 50 > coloured[heat.for_label + heat.for_other < 0.05].mean()
    assert escape(heat.words) in html
    hostile = replace(heat, label="<script>alert(1)</script>")._repr_html_()
    assert hostile is not None
    assert "<script" not in hostile
    assert hostile.count("&lt;script") == 3  # in the key, and twice in the words
    assert replace(heat, image=None)._repr_html_() is None


def test_a_small_copy_tells_where_and_the_diagnosis_tells_how_much(diagnoser: Diagnoser, tmp_path: Path) -> None:
    """Front ends keep no image, but a small picture of it and its vector."""
    small, _ = scene("striped", 600)
    diagnosis = diagnoser.diagnose(np.kron(small, np.ones((4, 4, 1), np.uint8)))
    assert diagnosis.image is not None
    assert diagnosis.embedding is not None
    copy = load_image(diagnosis.image.thumbnail(256))
    assert copy.width == 256
    kept = replace(diagnosis, image=copy, embedding=replace(diagnosis.embedding, maps=()))
    exact, by_copy = diagnoser.heat(diagnosis, "striped"), diagnoser.heat(kept, "striped")
    assert by_copy.total == pytest.approx(exact.total, rel=1e-6)
    assert np.corrcoef(exact.cells.ravel(), by_copy.cells.ravel())[0, 1] > 0.9
    assert by_copy.size == (256, 256)


def test_randomised_weights_destroy_the_map(diagnoser: Diagnoser) -> None:
    """The sanity check of Adebayo et al. 2018: a map that survives it shows the image, not what the panel learned."""
    correlations = []
    for seed in range(300, 304):
        sight = diagnoser.encoder.see(Image.from_pixels(scene("striped", seed)[0]))
        (seen,) = sight.maps
        assert seen is not None
        for head in diagnoser.panel.heads:
            if (logits := head.linear()) is None:
                continue
            weights = logits.weights[1] - logits.weights[0]
            learned = shares_of_logit(weights, sight.vectors[0], seen)
            for _ in range(50):
                random = shares_of_logit(RNG.standard_normal(len(weights)), sight.vectors[0], seen)
                correlations.append(spearmanr(learned.ravel(), random.ravel()).statistic)
    assert len(correlations) == 400
    assert abs(np.mean(correlations)) < 0.1


def test_each_occluded_copy_differs_in_its_cell_alone() -> None:
    image = Image.from_pixels(RNG.integers(0, 256, (70, 105, 3)).astype(np.uint8))
    copies = [*occluded(image)]
    assert len(copies) == 49
    changed = np.array([(copy.pixels != image.pixels).any(axis=2) for copy in copies])
    assert changed.sum(axis=0).max() == 1  # each pixel belongs to one cell
    assert changed[8, 10:20, 15:30].mean() > 0.9
    assert len([*occluded(Image.from_pixels(np.zeros((2, 3, 3), np.uint8)))]) == 49  # smaller than the grid


def test_occlusion_asks_the_heads(diagnoser: Diagnoser) -> None:
    pixels, place = scene("striped", 400)
    diagnosis = diagnoser.diagnose(pixels)
    heat = diagnoser.occlusion_heat(diagnosis)
    assert heat.how == "occlusion"
    assert set(heat.evidence) == {look.agent for look in diagnosis.predictions if look.weight}
    size = np.abs(sum(heat.evidence.values())).repeat(14, axis=0).repeat(14, axis=1)[:96, :96]
    assert size[place].mean() > size.mean()
    assert set(diagnoser.occlusion_heat(diagnosis, agents=["probe"]).evidence) == {"probe"}


def test_labels_and_agents_that_are_unknown_are_named(diagnoser: Diagnoser, diagnosis: Diagnosis) -> None:
    with pytest.raises(DatasetError, match="no label 'plaid'; it has dotted, striped"):
        diagnoser.heat(diagnosis, "plaid")
    with pytest.raises(DatasetError, match="'dotted' is both"):
        diagnoser.heat(diagnosis, "dotted", "dotted")
    with pytest.raises(AgentError, match="no agent 'qwen'; it has neighbours, probe, gaussian"):
        diagnoser.occlusion_heat(diagnosis, agents=["qwen"])


def test_vectors_alone_and_another_panel_are_refused(
    diagnoser: Diagnoser, diagnosis: Diagnosis, tmp_path: Path, vectors: Path
) -> None:
    assert diagnosis.embedding is not None
    (of_vector,) = diagnoser.diagnose_vectors(diagnosis.embedding.vector[None], ["row 1"])
    assert isinstance(of_vector, Diagnosis)
    for ask in (diagnoser.heat, diagnoser.occlusion_heat):
        with pytest.raises(HeatMapError, match="needs the image, and of 'row 1' the vector alone is known"):
            ask(of_vector)
    stranger = replace(diagnosis, source="/home/ada/leaf.png", embedding=replace(diagnosis.embedding, encoder="0" * 16))
    with pytest.raises(HeatMapError, match=r"^the diagnosis of 'leaf.png' is of another panel"):
        diagnoser.heat(stranger)
    older = replace(diagnosis, posterior={**diagnosis.posterior, "plaid": 0.0})
    with pytest.raises(HeatMapError, match="other labels by now"):
        diagnoser.heat(older)


@pytest.mark.slow
def test_an_encoder_that_cannot_tell_where_is_asked_by_occlusion(pictures: Path, tmp_path: Path) -> None:
    clip = tiny_clip.make(tmp_path)
    settings = load_settings(encoders=[clip], agents="probe", device="cpu")
    try:
        fit(pictures, tmp_path / "panel", settings=settings, group="none")
    except MissingExtraError as missing:
        pytest.skip(str(missing))
    with Diagnoser.open(tmp_path / "panel", settings=settings) as diagnoser:
        diagnosis = diagnoser.diagnose(pictures / "red" / "0.png")
        with pytest.raises(HeatMapError, match=r"no agent that counts here can tell where it looked.*--occlusion"):
            diagnoser.heat(diagnosis)
        assert diagnoser.occlusion_heat(diagnosis).for_label.shape == (48, 48)


@pytest.mark.slow
def test_each_eye_has_its_own_map(tmp_path: Path, panel: Path) -> None:
    images = panel.with_name(f"{panel.name}.partial.images")
    settings = load_settings(encoders=["efficientnet-lite0", "texture"], agents="gaussian")
    fit(images, tmp_path / "panel", settings=settings, group="none")
    with Diagnoser.open(tmp_path / "panel", settings=settings) as diagnoser:
        diagnosis = diagnoser.diagnose(scene("striped", 500)[0])
        heat = diagnoser.heat(diagnosis)
    assert [*heat.evidence] == ["gaussian@lite0"]  # texture does not tell where
    (look,) = (look for look in diagnosis.predictions if look.agent == "gaussian@lite0")
    assert look.calibrated is not None
    assert look.weight is not None
    assert heat.total == pytest.approx(look.weight * log_odds(look.calibrated, heat.label, heat.other), rel=1e-5)


def test_maps_of_different_grids_are_added_in_place() -> None:
    def heat_of(**evidence: Any) -> HeatMap:
        return HeatMap("a", "b", {name: np.array(grid, float) for name, grid in evidence.items()}, (8, 8), "activation")

    heat = heat_of(coarse=[[1.0, 0.0], [0.0, 0.0]], fine=np.eye(4))
    assert heat.total == 5.0
    assert heat.for_label.argmax() == 0
    np.testing.assert_array_equal(heat_of(none=np.zeros((2, 2))).for_label, 0.0)
    painted = np.asarray(heat_of(left=[[3.0, -3.0]]).over(PIL.Image.new("RGB", (8, 8), "white"), "#FF0000", "#0000FF"))
    layer = np.asarray(heat_of(left=[[3.0, -1.5]]).layer(4, "#FF0000", "#0000FF"))
    assert layer.shape == (4, 4, 4)
    assert layer[0, 0].tolist() == [255, 0, 0, 255]
    assert layer[0, 3].tolist() == [0, 0, 255, 128]
    for pixel, strong, weak in ((painted[4, 0], 0, 2), (painted[4, 7], 2, 0)):
        assert pixel[strong] == 255
        assert pixel[weak] < 120


def test_the_words_say_who_saw_what_where() -> None:
    evidence = {"probe": np.array([[9.0, 0.0], [0.0, -3.0]]), "gaussian": np.zeros((2, 2))}
    heat = HeatMap("rust", "sc\x1bab", evidence, (8, 8), "activation")
    assert heat.words.startswith(
        "Regions in the colour of rust speak for rust, most of all at the upper left. "
        "Regions in the colour of scab speak for scab, most of all at the lower right. "
    )
    assert "This is what probe and gaussian saw, not other agents." in heat.words
    assert (heat.cells[0, 0], heat.cells.min()) == (1.0, pytest.approx(-1 / 3))
    alone = HeatMap("rust", "scab", {"probe": np.array([[0.0, 1.0, 0.0]])}, (8, 8), "activation")
    assert "Nothing in the image speaks for scab." in alone.words
