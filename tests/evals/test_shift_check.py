"""An evaluation, a batch and a stream where images come from elsewhere: on drawn pictures and real blood cells."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import pytest

from consilience import evaluate, fit, load_settings
from consilience.core.dataset import LabelledImage
from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import EvaluationError
from consilience.evals.shift_check import SHIFT
from consilience.orchestrator.diagnoser import Diagnoser
from consilience.orchestrator.feedback.history import History
from consilience.orchestrator.feedback.streams import Streams
from consilience.orchestrator.fitting.update import add
from consilience.orchestrator.panel.panel import Panel
from consilience.orchestrator.shift.two_sample import NOT_TESTED
from tests.support.real_data import real_data
from tests.support.shapes import LABELS, draw

QUICK = load_settings(agents="neighbours,gaussian", history__keep=False)

EACH = 9


def night(label: str, number: int) -> PIL.Image.Image:
    """A shape that somebody photographed in a dark room with another camera."""
    dark = PIL.ImageEnhance.Brightness(draw(label, number)).enhance(0.25)
    return dark.resize((64, 64)).rotate(35, fillcolor=(90, 0, 90))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders train/ (60 pictures), new/ of the same kind, night/ of another; and a panel on train/."""
    root = tmp_path_factory.mktemp("shapes")
    for part, start, each, make in (("train", 0, 20, draw), ("new", 400, EACH, draw), ("night", 500, EACH, night)):
        for label in LABELS:
            (root / part / label).mkdir(parents=True)
            for number in range(start, start + each):
                make(label, number).save(root / part / label / f"{number}.png")
    fit(root / "train", root / "panel", settings=QUICK)
    return root


@pytest.fixture(scope="module")
def opened(shapes: Path) -> Iterator[Diagnoser]:
    with Diagnoser.open(shapes / "panel", settings=QUICK) as diagnoser:
        yield diagnoser


def test_an_evaluation_of_images_from_elsewhere_says_so_first_and_settles_none(shapes: Path, tmp_path: Path) -> None:
    evaluation = evaluate(shapes / "night", shapes / "panel", tmp_path / "out", settings=QUICK)
    shift, settled = evaluation.metrics.shift, evaluation.metrics.settled
    assert shift is not None
    assert settled is not None
    assert shift.alarm
    assert settled.n == 0
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())["shift"]
    assert written["alarm"] is True
    assert 0.8 < written["mean_rank"] <= 1
    assert written["p"] < 1e-3
    assert written["images"] == 3 * EACH
    told = {difference["what"]: difference["words"] for difference in written["differences"]}
    assert told["brightness"] == "darker"
    assert told["size"] == "smaller"
    assert {strange["label"] for strange in written["strangest"]} <= set(LABELS)
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index("differ from the labelled ones") < page.index("refers every image")
    assert "What differs from the labelled images" in page
    rows = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    assert all(row["verdict"] == "refer" and "differ from the labelled" in row["reasons"][0] for row in rows)


def test_images_of_the_same_kind_are_decided_as_before(shapes: Path, tmp_path: Path) -> None:
    evaluation = evaluate(shapes / "new", shapes / "panel", tmp_path / "out", settings=QUICK)
    shift = evaluation.metrics.shift
    assert shift is not None
    assert not shift.alarm
    assert not shift.differences
    assert not shift.strangest
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Nothing shows that these images differ" in page
    assert "What differs from the labelled images" not in page


def test_a_setting_lets_images_from_elsewhere_be_settled(shapes: Path, tmp_path: Path) -> None:
    silent = load_settings(agents="neighbours,gaussian", policy__on_shift="report", policy__max_novelty=1.0)
    evaluation = evaluate(shapes / "night", shapes / "panel", tmp_path / "out", settings=silent)
    assert evaluation.metrics.shift is not None
    assert evaluation.metrics.shift.alarm
    rows = (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()
    assert not any("differ from the labelled" in row for row in rows)


def test_a_run_that_goes_on_finds_what_it_found_before(shapes: Path, tmp_path: Path) -> None:
    first = evaluate(shapes / "night", shapes / "panel", tmp_path / "out", settings=QUICK)
    rows = tmp_path / "out" / "predictions.jsonl"
    rows.write_text("".join(f"{line}\n" for line in rows.read_text().splitlines()[:10]))
    again = evaluate(shapes / "night", shapes / "panel", tmp_path / "out", settings=QUICK)
    assert again.metrics.shift == first.metrics.shift
    assert again.metrics.settled == first.metrics.settled
    (tmp_path / "out" / SHIFT).write_text("{}")
    with pytest.raises(EvaluationError, match="damaged"):
        evaluate(shapes / "night", shapes / "panel", tmp_path / "out", settings=QUICK)


@pytest.mark.parametrize("as_iterator", [False, True])
def test_many_images_are_decided_under_the_alarm_of_all(opened: Diagnoser, shapes: Path, as_iterator: bool) -> None:
    paths = sorted((shapes / "night").rglob("*.png"))
    results = list(opened.diagnose_many(iter(paths) if as_iterator else paths))
    assert len(results) == len(paths)
    for path, result in zip(paths, results, strict=True):
        assert isinstance(result, Diagnosis)
        assert result.source == str(path)
        assert result.verdict == "refer"
        assert "differ from the labelled" in result.reasons[0]
        assert result.rationale.startswith(result.reasons[0])


def test_a_caller_who_knows_better_skips_the_test(opened: Diagnoser, shapes: Path) -> None:
    paths = sorted((shapes / "night").rglob("*.png"))
    results = opened.diagnose_many(paths, shift=NOT_TESTED)
    assert not any("differ from" in reason for result in results for reason in getattr(result, "reasons", ()))


def test_images_are_encoded_once_and_unreadable_ones_fail_alone(
    opened: Diagnoser, shapes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, encode = list[int](), opened.encoder.encode_prepared

    def counting(batch: np.ndarray) -> np.ndarray:
        encoded.append(len(batch))
        return encode(batch)

    monkeypatch.setattr(opened.encoder, "encode_prepared", counting)
    paths = [*sorted((shapes / "new").rglob("*.png")), tmp_path / "missing.png"]
    results = list(opened.diagnose_many(paths))
    assert sum(encoded) == len(paths) - 1
    assert [isinstance(result, Diagnosis) for result in results] == [True] * (len(paths) - 1) + [False]


def test_few_images_and_files_that_can_be_read_once_are_diagnosed_as_before(opened: Diagnoser, shapes: Path) -> None:
    paths = sorted((shapes / "night").rglob("*.png"))
    files = [path.open("rb") for path in paths]
    batch = opened.tested(files)
    assert batch.shift.alarm
    assert all(isinstance(result, Diagnosis) for result in opened.diagnose_many(batch))
    few = opened.tested(paths[:4])
    assert few.shift.p is None
    assert not few.shift.alarm
    assert len(list(opened.diagnose_many(few))) == 4
    assert list(opened.diagnose_many([])) == []


@pytest.mark.slow
def test_another_laboratory_raises_the_alarm_and_learning_its_images_lifts_it(tmp_path: Path) -> None:
    """Real blood cells: 300 of one laboratory are labelled; 24 labelled ones of the other lift the alarm."""
    data = real_data("blood-cells")
    if not (other_lab := data / "test-other-lab").is_dir():
        pytest.skip(f"no images of another laboratory at {other_lab}")
    fit(data / "train", tmp_path / "panel", settings=QUICK)
    same, other = sorted((data / "test").rglob("*.jpg")), sorted(other_lab.rglob("*.jpg"))
    chosen = [other[row] for row in np.random.default_rng(0).permutation(len(other))]
    learned, fresh = chosen[:24], chosen[24:84]
    with Diagnoser.open(tmp_path / "panel", settings=QUICK) as diagnoser, History.open(tmp_path / "panel") as history:
        usual = list(diagnoser.diagnose_many(same[::2]))
        assert not any("differ from" in reason for result in usual for reason in getattr(result, "reasons", ()))
        strange = [result for result in diagnoser.diagnose_many(fresh) if isinstance(result, Diagnosis)]
        assert {result.verdict for result in strange} == {"refer"}
        streams, reference = Streams(history.database), diagnoser.shift_reference
        alarms = streams.observe(reference, [(result, "other lab") for result in strange[:40]])
        assert alarms.index(True) < 20
    labels = {path.parent.name: path.parent.name for path in same}
    add(tmp_path / "panel", [LabelledImage(path, labels[path.parent.name]) for path in learned], settings=QUICK)
    with Diagnoser.open(tmp_path / "panel", settings=QUICK) as diagnoser, History.open(tmp_path / "panel") as history:
        assert not diagnoser.tested(fresh).shift.alarm
        streams, reference = Streams(history.database), diagnoser.shift_reference
        assert [stream.alarm for stream in streams.all(reference)] == [False]
        assert not any(streams.observe(reference, [(result, "other lab") for result in strange[40:]]))


def test_images_whose_groups_a_manifest_gives_count_by_group(shapes: Path, tmp_path: Path) -> None:
    paths = sorted((shapes / "night").rglob("*.png"))
    rows = [f"{path},{path.parent.name},thing {number // 9}" for number, path in enumerate(paths)]
    (tmp_path / "night.csv").write_text("\n".join(["path,label,group", *rows]) + "\n")
    evaluation = evaluate(tmp_path / "night.csv", shapes / "panel", tmp_path / "out", settings=QUICK)
    shift = evaluation.metrics.shift
    assert shift is not None
    assert (shift.images, shift.counted, shift.held) == (27, 3, 20)
    assert shift.p == pytest.approx(1 / 1771)  # of three things among 20 + 3, however many pictures they have


def test_a_panel_of_few_images_can_tell_nothing(shapes: Path, tmp_path: Path) -> None:
    few = copytree(shapes / "train", tmp_path / "few")
    for path in sorted(few.rglob("*.png")):
        if int(path.stem) >= 3:
            path.unlink()
    fit(few, tmp_path / "panel", settings=QUICK, group="none")
    assert len(Panel.open(tmp_path / "panel").shift_reference().held) == 3
    evaluation = evaluate(shapes / "night", tmp_path / "panel", tmp_path / "out", settings=QUICK)
    assert evaluation.metrics.shift is not None
    assert evaluation.metrics.shift.p is None
    assert "Too few labelled images to tell" in (tmp_path / "out" / "report.html").read_text()
