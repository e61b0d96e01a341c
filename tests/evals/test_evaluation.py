"""Evaluations of a panel of vectors: figures, going on, and whatever can be wrong with the folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consilience import Evaluation, Prediction, Settings, evaluate, fit, load_settings
from consilience.agents import AgentInput
from consilience.core.diagnosis import Diagnosis
from consilience.core.errors import ConsilienceError, DatasetError, EncoderError, EvaluationError
from consilience.evals.engines.engine import LocalEngine
from consilience.evals.engines.leaks import FreshDiagnoser
from consilience.evals.engines.process_engine import ProcessEngine
from consilience.evals.rows import ROWS_FILE, Decided, decided
from consilience.evals.run_log import Tally, open_run_log
from consilience.evals.scores import FUSION, scores
from consilience.evals.source import SourceImage, VectorSource, cases
from consilience.orchestrator.diagnoser import Diagnoser

LABELS = ("apple", "beech", "cedar")
SETTINGS = load_settings(agents="neighbours,gaussian", batch_size=16)


def drawn(n: int, seed: int, spread: float = 0.6) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors (n, 8) around a centre a label, and their labels."""
    labels = np.arange(n) % 3
    vectors = np.eye(3, 8)[labels] + spread * np.random.default_rng(seed).standard_normal((n, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), np.array(LABELS)[labels]


def save(path: Path, vectors: np.ndarray, labels: np.ndarray) -> Path:
    names = np.array([f"{path.stem}-{number}" for number in range(len(labels))])
    np.savez(path, embeddings=vectors, labels=labels, names=names)
    return path


class Expert:
    """Cannot tell beech from cedar at first, and follows the evidence afterwards."""

    name = "expert"
    can_revise = True

    def predict(self, inputs: AgentInput) -> list[Prediction]:
        near = np.exp(4.0 * inputs.features[:, :3].astype(np.float64))
        near[:, 1:] = near[:, 1:].mean(axis=1, keepdims=True) * [1.01, 0.99]
        return self._predictions(near)

    def revise(self, inputs: AgentInput, first: Sequence[Any], evidence: Sequence[Any]) -> list[Prediction]:
        return self._predictions(np.array([[*item.distribution.values()] for item in evidence]) + 0.02)

    def _predictions(self, shares: np.ndarray) -> list[Prediction]:
        rows = (shares / shares.sum(axis=1, keepdims=True)).tolist()
        return [Prediction("", probabilities=dict(zip(LABELS, row, strict=True)), cost_usd=0.01) for row in rows]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("known") / "known.npz", *drawn(90, 0))


@pytest.fixture(scope="module")
def panel(known: Path) -> Path:
    fit(known, known.parent / "panel", settings=SETTINGS)
    return known.parent / "panel"


@pytest.fixture(scope="module")
def expert_panel(known: Path) -> Path:
    fit(known, known.parent / "experts", settings=SETTINGS, agents=[Expert()])
    return known.parent / "experts"


@pytest.fixture(scope="module")
def test_set(known: Path) -> Path:
    return save(known.parent / "test.npz", *drawn(100, 1))


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / ROWS_FILE).read_bytes().splitlines()]


def timeless(value: Any) -> Any:
    """Without what depends on how fast the machine was."""
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if key not in ("seconds", "images_per_second")}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def metrics_of(out: Path) -> Any:
    return timeless(json.loads((out / "metrics.json").read_bytes()))


class Killed(BaseException):
    """Ends an evaluation as an interrupt does."""


def killed_after(batches: int) -> Callable[[Tally, Sequence[Decided]], None]:
    seen: list[int] = []

    def watch(tally: Tally, batch: Sequence[Decided]) -> None:
        seen.append(tally.done)
        if len(seen) > batches:
            raise Killed

    return watch


def test_figures_are_those_of_the_diagnoses(panel: Path, test_set: Path, tmp_path: Path) -> None:
    done = evaluate(test_set, panel, tmp_path / "out", settings=SETTINGS)
    vectors, labels = drawn(100, 1)
    with Diagnoser.open(panel, settings=SETTINGS) as diagnoser:
        diagnoses = [
            diagnosis
            for diagnosis in diagnoser.diagnose_vectors(vectors, [*map(str, range(100))])
            if isinstance(diagnosis, Diagnosis)
        ]
    expected = {score.who: score for score in scores(diagnoses, labels.tolist())}
    assert done.metrics.fusion is not None
    for figures in (*done.metrics.agents, done.metrics.fusion):
        score = expected.pop(figures.who)
        for name in ("n", "accuracy", "low", "high", "ece", "ocr", "ccc", "brier"):
            assert getattr(figures, name) == pytest.approx(getattr(score, name), abs=1e-6), (figures.who, name)
        assert figures.weight == (None if figures.who == FUSION else pytest.approx(score.weight))
    assert not expected
    assert done.metrics.settled is not None
    assert done.metrics.settled.n == sum(diagnosis.settled for diagnosis in diagnoses)
    assert metrics_of(done.out) == timeless(done.metrics.to_dict())


def test_a_row_says_everything_about_an_image(panel: Path, test_set: Path, tmp_path: Path) -> None:
    evaluate(test_set, panel, tmp_path / "out", settings=SETTINGS)
    rows = rows_of(tmp_path / "out")
    assert [row["row"] for row in rows] == list(range(100))
    assert [row["truth"] for row in rows] == drawn(100, 1)[1].tolist()
    first = rows[0]
    assert (first["source"], first["error"], len(first["identity"])) == ("test-0", None, 64)
    assert first["label"] == max(first["posterior"], key=first["posterior"].__getitem__)
    assert [prediction["agent"] for prediction in first["predictions"]] == ["neighbours", "gaussian"]
    assert all(prediction["calibrated"] and prediction["weight"] is not None for prediction in first["predictions"])
    assert len(first["evidence"]["neighbours"]) == SETTINGS.memory.neighbours
    assert all(row["seconds"] > 0 for row in rows)


def test_what_was_killed_goes_on_and_ends_the_same(panel: Path, test_set: Path, tmp_path: Path) -> None:
    evaluate(test_set, panel, tmp_path / "whole", settings=SETTINGS)
    out = tmp_path / "killed"
    with pytest.raises(Killed):
        evaluate(test_set, panel, out, settings=SETTINGS, watch=killed_after(2))
    assert len(rows_of(out)) == 32
    with (out / ROWS_FILE).open("ab") as file:
        file.write(b'{"row":32,"source":"tes')
    progress: list[tuple[int, int]] = []
    evaluate(
        test_set, panel, out, settings=SETTINGS, watch=lambda tally, batch: progress.append((tally.done, len(batch)))
    )
    assert progress[0] == (32, 0)
    assert sum(size for _, size in progress) == 68
    assert timeless(rows_of(out)) == timeless(rows_of(tmp_path / "whole"))
    assert metrics_of(out) == metrics_of(tmp_path / "whole")


def test_what_is_done_is_not_done_again(panel: Path, test_set: Path, tmp_path: Path) -> None:
    first = evaluate(test_set, panel, tmp_path / "out", settings=SETTINGS)
    written = (tmp_path / "out" / ROWS_FILE).read_bytes()
    sizes: list[int] = []
    again = evaluate(test_set, panel, tmp_path / "out", settings=SETTINGS, watch=lambda *_: sizes.append(1))
    assert len(sizes) == 1
    assert (tmp_path / "out" / ROWS_FILE).read_bytes() == written
    assert again.metrics == first.metrics


def test_another_run_is_named_and_not_mixed_in(
    panel: Path, expert_panel: Path, known: Path, test_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    evaluate(test_set, panel, out, settings=SETTINGS, limit=5)
    before = (out / ROWS_FILE).read_bytes()
    changes: list[tuple[dict[str, Any], str]] = [
        ({"limit": 6}, "choice.limit was 5 and is 6"),
        (
            {"settings": load_settings(agents="neighbours,gaussian", policy__target=0.9)},
            "policy.target was 0.95 and is 0.9",
        ),
        ({"source": known}, "source.content was .* and is"),
        ({"panel": expert_panel, "agents": [Expert()]}, "panel.id was .* and is"),
        ({"drop_leaks": True}, "choice.drop_leaks was false and is true"),
    ]
    for change, problem in changes:
        arguments: dict[str, Any] = {"source": test_set, "panel": panel, "settings": SETTINGS, "limit": 5} | change
        with pytest.raises(EvaluationError, match=f"holds another run: .*{problem}"):
            evaluate(out=out, **arguments)
    assert (out / ROWS_FILE).read_bytes() == before


def test_a_run_may_go_on_with_more_to_spend(panel: Path, test_set: Path, tmp_path: Path) -> None:
    for more in (1.0, 2.0):
        settings = load_settings(policy__max_run_cost_usd=more, replies__max_megabytes=int(more))
        assert evaluate(test_set, panel, tmp_path / "out", settings=settings, limit=3).metrics.n == 3


def test_a_panel_that_was_changed_is_noticed(panel: Path, test_set: Path, tmp_path: Path) -> None:
    from consilience import remove

    changed = Path(shutil.copytree(panel, tmp_path / "panel"))
    evaluate(test_set, changed, tmp_path / "out", settings=SETTINGS)
    remove(changed, ["known-0"])
    with pytest.raises(EvaluationError, match=r"panel\.state was"):
        evaluate(test_set, changed, tmp_path / "out", settings=SETTINGS)


def test_the_password_of_a_server_is_not_written_down(panel: Path, test_set: Path, tmp_path: Path) -> None:
    settings = load_settings(memory__url="http://user:secret@localhost:1")
    with pytest.raises(ConsilienceError):
        evaluate(test_set, panel, tmp_path / "out", settings=settings)
    run = (tmp_path / "out" / "run.json").read_text(encoding="utf-8")
    assert "secret" not in run
    assert "sha256:" in run


def test_only_one_writes(panel: Path, test_set: Path, tmp_path: Path) -> None:
    with (
        open_run_log(tmp_path / "out", {}, LABELS, np.arange(3), drop_leaks=False),
        pytest.raises(EvaluationError, match="is being written by this process"),
    ):
        evaluate(test_set, panel, tmp_path / "out", settings=SETTINGS)


def test_a_folder_that_holds_something_else_is_left_alone(panel: Path, test_set: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(EvaluationError, match=r"holds 'thesis\.tex' and no evaluation"):
        evaluate(test_set, panel, tmp_path, settings=SETTINGS)
    assert not (tmp_path / "run.json").exists()


def test_where_nothing_can_be_written_it_says_so(panel: Path, test_set: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EvaluationError, match=r"cannot be written .*: check the path"):
        evaluate(test_set, panel, tmp_path / "file" / "out", settings=SETTINGS)


def test_a_full_disk_is_named_and_the_run_goes_on_once_there_is_room(
    panel: Path, test_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(Killed):
        evaluate(test_set, panel, out, settings=SETTINGS, watch=killed_after(0))
    (out / ROWS_FILE).unlink()
    (out / ROWS_FILE).symlink_to("/dev/full")
    with pytest.raises(EvaluationError, match=r"No space left on device.*make room"):
        evaluate(test_set, panel, out, settings=SETTINGS)
    (out / ROWS_FILE).unlink()
    assert evaluate(test_set, panel, out, settings=SETTINGS).metrics.n == 100


def test_rows_that_were_tampered_with_are_refused(panel: Path, test_set: Path, tmp_path: Path) -> None:
    evaluate(test_set, panel, tmp_path / "out", settings=SETTINGS, limit=3)
    rows = tmp_path / "out" / ROWS_FILE
    rows.write_bytes(rows.read_bytes() + rows.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(EvaluationError, match="holds row 0 twice"):
        evaluate(test_set, panel, tmp_path / "out", settings=SETTINGS, limit=3)


def test_leaks_are_named_and_counted_and_can_be_left_out(panel: Path, tmp_path: Path) -> None:
    fresh, seen = drawn(30, 1), drawn(90, 0)
    both = [np.concatenate([new, old[:6]]) for new, old in zip(fresh, seen, strict=True)]
    mixed = save(tmp_path / "mixed.npz", *both)
    kept = evaluate(mixed, panel, tmp_path / "kept", settings=SETTINGS)
    assert (kept.metrics.n, kept.metrics.leaks, kept.metrics.left_out) == (36, 6, 0)
    dropped = evaluate(mixed, panel, tmp_path / "dropped", settings=SETTINGS, drop_leaks=True)
    assert (dropped.metrics.n, dropped.metrics.leaks, dropped.metrics.left_out, dropped.metrics.errors) == (30, 6, 6, 0)
    assert kept.leaks() == dropped.leaks() == [f"mixed-{number}" for number in range(30, 36)]
    assert kept.failed() == dropped.failed() == []
    clean = evaluate(save(tmp_path / "clean.npz", *fresh), panel, tmp_path / "clean", settings=SETTINGS)
    assert dropped.metrics.fusion == clean.metrics.fusion


def test_images_that_taught_without_their_label_are_leaks_as_well(known: Path, tmp_path: Path) -> None:
    vectors, labels = drawn(30, 1)
    beside = tmp_path / "beside.npz"
    np.savez(beside, embeddings=vectors[:12], names=np.arange(12).astype(str))
    settings = SETTINGS.model_copy(update={"agents": ("gaussian", "self-trained")})
    fit(known, tmp_path / "panel", unlabelled=beside, settings=settings)
    source = save(tmp_path / "source.npz", vectors, labels)
    evaluation = evaluate(source, tmp_path / "panel", tmp_path / "out", settings=SETTINGS, drop_leaks=True)
    assert evaluation.leaks() == [f"source-{number}" for number in range(12)]
    assert (evaluation.metrics.n, evaluation.metrics.left_out) == (18, 12)


def test_vectors_that_cannot_be_used_are_counted_apart(panel: Path, tmp_path: Path) -> None:
    vectors, labels = drawn(20, 1)
    vectors[7] = np.nan
    done = evaluate(save(tmp_path / "x.npz", vectors, labels), panel, tmp_path / "out", settings=SETTINGS)
    assert (done.metrics.images, done.metrics.n, done.metrics.errors) == (20, 19, 1)
    ((name, error),) = done.failed()
    assert name == "x-7"
    assert "NaN" in error


def test_second_looks_are_measured(expert_panel: Path, test_set: Path, tmp_path: Path) -> None:
    settings = load_settings(batch_size=16, policy__second_look="always")
    done = evaluate(test_set, expert_panel, tmp_path / "out", settings=settings, agents=[Expert()])
    better = worse = asked = 0
    for row in rows_of(done.out):
        looks = {
            prediction["stage"]: prediction for prediction in row["predictions"] if prediction["agent"] == "expert"
        }
        if "second" in looks:
            posteriors = (looks[stage]["calibrated"] for stage in ("first", "second"))
            was, now = (max(posterior, key=posterior.get) == row["truth"] for posterior in posteriors)
            asked, better, worse = asked + 1, better + (now and not was), worse + (was and not now)
    change = done.metrics.second_looks.agents["expert"]
    assert 0 < asked == done.metrics.second_looks.images == change.n
    assert (change.better, change.worse) == (better, worse)
    assert done.metrics.cost_usd == pytest.approx(0.01 * (100 + asked))


def test_agents_only_look_once_and_are_judged_alone(expert_panel: Path, test_set: Path, tmp_path: Path) -> None:
    done = evaluate(test_set, expert_panel, tmp_path / "out", settings=SETTINGS, agents=[Expert()], agents_only=True)
    assert done.metrics.fusion is None
    assert {figures.stage for figures in done.metrics.agents} == {"first"}
    assert done.metrics.cost_usd == pytest.approx(1.0)


def test_a_sample_is_evaluated_and_labels_without_images_are_told(panel: Path, tmp_path: Path) -> None:
    vectors, labels = drawn(60, 1)
    some = save(tmp_path / "some.npz", vectors[labels != "cedar"], np.char.upper(labels[labels != "cedar"]))
    done = evaluate(some, panel, tmp_path / "out", settings=SETTINGS, sample=10)
    assert done.metrics.images == 10
    assert done.unseen == ("cedar",)


def test_labels_can_be_renamed(panel: Path, tmp_path: Path) -> None:
    vectors, labels = drawn(12, 1)
    foreign = save(tmp_path / "x.npz", vectors, np.where(labels == "apple", "Apfel", labels))
    with pytest.raises(DatasetError, match="'Apfel'"):
        evaluate(foreign, panel, tmp_path / "out", settings=SETTINGS)
    done = evaluate(foreign, panel, tmp_path / "out", settings=SETTINGS, renamed={"apfel": "apple"})
    assert [row["truth"] for row in rows_of(done.out)] == labels.tolist()


def test_vectors_of_another_encoder_are_refused(panel: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", embeddings=np.eye(3, 5), labels=np.array(LABELS), names=np.array(LABELS))
    with pytest.raises(EncoderError):
        evaluate(tmp_path / "x.npz", panel, tmp_path / "out", settings=SETTINGS)


@pytest.mark.parametrize("drop_leaks", [False, True])
def test_workers_decide_as_one_process_does(panel: Path, known: Path, drop_leaks: bool) -> None:
    source = VectorSource(known)
    wanted, labels = np.ones(len(source), bool), {label: label for label in LABELS}

    def decide(engine: LocalEngine | ProcessEngine) -> list[tuple[Any, Any]]:
        batches = list(engine.decide(cases(source, labels, wanted)))
        assert [len(batch) for batch in batches] == [16, 16, 16, 16, 16, 10]
        everyone = [row for batch in batches for row in batch]
        return [(timeless(json.loads(row.data)), (row.name, row.right, row.leak, row.error)) for row in everyone]

    with (FreshDiagnoser if drop_leaks else Diagnoser).open(panel, settings=SETTINGS) as diagnoser:
        alone = decide(LocalEngine(diagnoser))
    with ProcessEngine(panel, SETTINGS, 2, drop_leaks=drop_leaks) as engine:
        assert decide(engine) == alone
    assert all(row[1][2] for row in alone)


def test_a_worker_that_dies_is_an_error_that_says_what_to_do(panel: Path, known: Path) -> None:
    source = VectorSource(known)
    with ProcessEngine(panel, SETTINGS, 1, drop_leaks=False) as engine:
        batches = engine.decide(cases(source, {label: label for label in LABELS}, np.ones(len(source), bool)))
        next(batches)
        for worker in engine.workers:
            worker.close()
        with pytest.raises(EvaluationError, match="Run the same again"):
            list(batches)


def test_a_row_holds_text_that_is_no_unicode() -> None:
    from consilience.core.diagnosis import FailedImage
    from consilience.core.errors import ImageError

    name = b"leaf-\xff.jpg".decode("utf-8", "surrogateescape")
    row = decided(SourceImage(0, name, "apple"), FailedImage(name, ImageError(f"'{name}' is broken")), leak=False)
    assert json.loads(row.data)["source"] == row.name == "leaf-\\udcff.jpg"
    assert "is broken" in json.loads(row.data)["error"]
    hidden = decided(
        SourceImage(0, "http://host/a.jpg?token=secret", "apple"), FailedImage("", ImageError("x")), leak=False
    )
    assert b"secret" not in hidden.data


def test_the_public_name_is_the_same_everywhere() -> None:
    import consilience
    import consilience.evals

    assert consilience.evals.evaluate is consilience.evaluate is evaluate
    assert consilience.Evaluation is consilience.evals.Evaluation is Evaluation
    assert isinstance(SETTINGS, Settings)


def test_what_words_are_worth_and_decisions_cost_in_use(panel: Path, test_set: Path, tmp_path: Path) -> None:
    frequencies, costs = {"apple": 0.9, "beech": 0.05, "cedar": 0.05}, {"apple": 1.0, "beech": 4.0, "cedar": 1.0}
    evaluation = evaluate(
        test_set,
        panel,
        tmp_path / "out",
        agents=(),
        settings=load_settings(
            agents="neighbours,gaussian",
            decision__frequencies=frequencies,
            decision__costs__mistakes=costs,
            decision__costs__person=0.5,
        ),
    )
    rows = rows_of(tmp_path / "out")
    paid = [0.0 if row["label"] == row["truth"] else costs[row["truth"]] for row in rows]
    settled = [row["verdict"] == "confident" for row in rows]
    figures = evaluation.metrics.costs
    assert figures is not None
    assert figures.never == pytest.approx(np.mean(paid))
    assert figures.cost == pytest.approx(np.mean(np.where(settled, paid, 0.5)))
    assert figures.always == 0.5
    assert evaluation.metrics.fusion is not None
    assert evaluation.metrics.fusion.accuracy == pytest.approx(np.mean(np.array(paid) == 0))
    worth = evaluation.metrics.worth
    assert worth is not None
    assert {label: entry.share for label, entry in worth.items()} == pytest.approx(frequencies)
    rate = {
        truth: np.mean(
            [s and row["label"] == "apple" for s, row in zip(settled, rows, strict=True) if row["truth"] == truth]
        )
        for truth in LABELS
    }
    said = sum(frequencies[truth] * rate[truth] for truth in LABELS)
    assert worth["apple"].right == pytest.approx(frequencies["apple"] * rate["apple"] / said)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "of those settled as apple are" in report
    assert "An image costs" in report


def test_frequencies_are_estimated_once_for_a_run_and_kept(panel: Path, tmp_path: Path) -> None:
    vectors, labels = drawn(600, 11, 0.3)
    chosen = np.r_[np.flatnonzero(labels == "apple"), np.flatnonzero(labels != "apple")[:20]]
    source = save(tmp_path / "line.npz", vectors[chosen], labels[chosen])
    settings = load_settings(agents="neighbours,gaussian", decision__frequencies="estimate")
    first = evaluate(source, panel, tmp_path / "out", settings=settings).metrics
    kept = json.loads((tmp_path / "out" / "frequencies.json").read_text())
    assert kept["used"]
    assert kept["frequencies"]["apple"] == pytest.approx(200 / 220, abs=0.05)
    assert first.worth is not None
    assert first.worth["apple"].share == pytest.approx(kept["frequencies"]["apple"])
    kept["frequencies"] = {"apple": 0.5, "beech": 0.25, "cedar": 0.25}
    (tmp_path / "out" / "frequencies.json").write_text(json.dumps(kept))
    again = evaluate(source, panel, tmp_path / "out", settings=settings).metrics
    assert again.worth is not None
    assert again.worth["apple"].share == 0.5  # what was estimated when the run began
    for damaged in ("{", "[]", '{"frequencies": 1}', '{"frequencies": {"apple": 2}}', '{"frequencies": {"a": NaN}}'):
        (tmp_path / "out" / "frequencies.json").write_text(damaged)
        with pytest.raises(EvaluationError, match=r"frequencies\.json' was damaged .*: evaluate again into another"):
            evaluate(source, panel, tmp_path / "out", settings=settings)
