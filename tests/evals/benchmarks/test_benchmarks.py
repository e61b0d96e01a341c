"""The benchmarks measure what they say: figures and targets, turns, material, and one of them end to end."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from click.testing import CliRunner

from consilience.evals.benchmarks.__main__ import BENCHMARKS, main
from consilience.evals.benchmarks.speed import benchmark_file as recorded
from consilience.evals.benchmarks.speed import retrieval
from consilience.evals.benchmarks.speed.benchmark_file import as_json, read, side_by_side
from consilience.evals.benchmarks.speed.encoder_rate import END_TO_END, contestants, write_jpegs
from consilience.evals.benchmarks.speed.evaluation_cost import measured_rows
from consilience.evals.benchmarks.speed.measure import Figure, ratios, seconds, table_of
from consilience.evals.benchmarks.speed.memory_use import peak_of_this_process
from consilience.evals.benchmarks.speed.orchestration import LooksAgain, Stopwatch, clusters, grown, measured
from consilience.orchestrator.fitting.fit import fit
from consilience.retrieval.encoders.efficientnet_lite import EfficientNetLite
from tests.support.imports import modules

MODULES = sorted(name for name in modules() if name.startswith("consilience.evals.benchmarks."))


@pytest.mark.parametrize("name", MODULES)
def test_every_module_can_be_imported(name: str) -> None:
    """Not all of them are run by tests, and a move or a new name elsewhere must not break them unseen."""
    assert import_module(name).__doc__ or name.endswith(".speed")


def test_every_benchmark_has_figures() -> None:
    for module in BENCHMARKS.values():
        assert callable(import_module(f"consilience.evals.benchmarks.speed.{module}").figures)


@pytest.mark.parametrize(
    ("figure", "met", "target"),
    [
        (Figure("x", (1.0, 9.0, 2.0)), None, ""),
        (Figure("x", (1.0, 9.0, 2.0), most=2.0), True, "at most 2"),
        (Figure("x", (1.0, 9.0, 2.5), most=2.0), False, "at most 2"),
        (Figure("x", (1.0, 9.0, 2.0), least=2.0), True, "at least 2"),
        (Figure("x", (1.0, 9.0, 1.5), least=2.0), False, "at least 2"),
    ],
)
def test_the_median_is_held_to_the_target(figure: Figure, met: bool | None, target: str) -> None:
    assert (figure.met, figure.target) == (met, target)


def test_a_table_shows_median_spread_target_and_verdict() -> None:
    table = table_of([Figure("seconds", (3.0, 1.0, 1234.5)), Figure("ratio", (0.5,), most=0.4)])
    head, first, second = table.splitlines()
    assert head.split() == ["median", "least", "most", "target"]
    assert first.split() == ["seconds", "3.000", "1.000", "1,234.500"]
    assert second.split() == ["ratio", "0.500", "0.500", "0.500", "at", "most", "0.4", "MISS"]


def test_contestants_take_turns_and_the_first_turn_is_not_measured() -> None:
    calls: list[str] = []
    took = seconds({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, turns=3)
    assert calls == ["a", "b"] * 4
    assert {name: len(values) for name, values in took.items()} == {"a": 3, "b": 3}


def test_ratios_are_taken_turn_by_turn() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == (2.0, 3.0)
    with pytest.raises(ValueError, match="shorter"):
        ratios([2.0, 9.0], [1.0])


def test_a_stopwatch_adds_up_and_lets_everything_through() -> None:
    watch = Stopwatch()
    divide = watch.on(lambda a, b: a / b)
    assert divide(6, b=3) == 2
    after_one = watch.seconds
    with pytest.raises(ZeroDivisionError):
        divide(1, b=0)
    assert 0 < after_one < watch.seconds


def test_jpegs_follow_from_their_seed(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "again", "other")]
    for folder, seed in zip(folders, (0, 0, 1), strict=True):
        folder.mkdir()
        assert write_jpegs(folder, 2, side=40, seed=seed) == [folder / "00000.jpg", folder / "00001.jpg"]
    first, again, other = ([path.read_bytes() for path in sorted(folder.iterdir())] for folder in folders)
    assert first == again
    assert len({*first, *other}) == 4
    assert PIL.Image.open(folders[0] / "00000.jpg").size == (40, 40)


def test_the_peak_counts_what_was_let_go() -> None:
    array = np.ones(25_000_000)
    del array
    assert peak_of_this_process() > 200


@pytest.mark.slow
def test_orchestration_end_to_end(tmp_path: Path) -> None:
    vectors, labels = clusters(64, 1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.savez(tmp_path / "v.npz", embeddings=vectors, labels=labels, names=[str(row) for row in range(64)])
    panel = fit(tmp_path / "v.npz", tmp_path / "panel").panel
    alone, ratio, without, by_clock, together, *_ = measured(panel, 1)
    assert "64 labelled images" in alone.what
    assert without.most == 7
    assert 0 < without.median < alone.median < by_clock.median
    assert 0 < together.median < alone.median
    assert ratio.median > 1


@pytest.mark.slow
def test_a_panel_grows_by_what_it_knows_of_its_images(tmp_path: Path) -> None:
    vectors, labels = clusters(64, 1)
    np.savez(tmp_path / "v.npz", embeddings=vectors, labels=labels, names=[str(row) for row in range(64)])
    panel = fit(tmp_path / "v.npz", tmp_path / "panel", agents=["gaussian", LooksAgain()]).panel
    large = grown(200, panel, tmp_path / "large")
    assert len(large.labelled_images) == len(large.calibration_set.labels) == len(large.second_looks.labels) == 200
    assert large.novelty is not None
    assert len(large.novelty.scores) == 200
    assert large.fusion.to_dict() == panel.fusion.to_dict()


def test_the_command_knows_its_benchmarks() -> None:
    run = CliRunner().invoke(main, ["--only", "nothing"])
    assert run.exit_code == 2
    assert all(name in run.output for name in BENCHMARKS)


@pytest.mark.slow
def test_the_encoder_is_compared_from_files_with_ready_tensors(tmp_path: Path) -> None:
    paths = write_jpegs(tmp_path, 6)
    timed = contestants(paths, EfficientNetLite())
    assert END_TO_END in timed
    for run in timed.values():
        run()


@pytest.mark.slow
def test_an_evaluation_is_measured_in_a_process_of_its_own() -> None:
    measured = measured_rows(300)
    rates = {"rows_per_second", "rows_per_busy_second", "alone_per_second"}
    assert measured.keys() == rates | {"mb_deciding", "mb", "seconds_measuring"}
    assert 0 < measured["mb_deciding"] <= measured["mb"]
    assert all(value > 0 for value in measured.values())


def test_figures_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    figures = {
        "a": [Figure("ms", (3.0, 1.0, 2.0), most=5.0), Figure("    twice", (1.0,))],
        "b": [Figure("twice", (2.0,))],
    }
    file = tmp_path / "figures.json"
    file.write_text(as_json(figures, cores=2, load=0.5, quick=True))
    assert read(file) == {
        ("a", "ms", 0): Figure("ms", (3.0, 1.0, 2.0), most=5.0),
        ("a", "twice", 0): Figure("twice", (1.0,)),
        ("b", "twice", 0): Figure("twice", (2.0,)),
    }


def test_lines_of_one_name_are_told_apart_by_their_order(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    file.write_text(as_json({"a": [Figure("s", (1.0,)), Figure("s", (2.0,))]}, 2, 0.0, False))
    assert [figure.median for figure in read(file).values()] == [1.0, 2.0]


def test_two_runs_stand_side_by_side_with_their_ratio(tmp_path: Path) -> None:
    old = {("a", "near", 0): Figure("near", (1.0, 2.0, 3.0)), ("a", "gone", 0): Figure("gone", (1.0,))}
    new = {("a", "near", 0): Figure("near", (3.0, 4.0, 5.0)), ("b", "far", 0): Figure("far", (0.0,))}
    lines = side_by_side(old, new).splitlines()
    assert lines[3].split() == ["near", "2", "(1", "to", "3)", "4", "(3", "to", "5)", "2.000"]
    assert lines[4].split() == ["gone", "1", "(1", "to", "1)", "–"]
    assert lines[7].split() == ["far", "–", "0", "(0", "to", "0)"]
    apart = side_by_side(old, {("a", "near", 0): Figure("near", (3.5, 4.0))})
    assert "1.875 *" in apart


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": 2, "figures": []}', '{"format": 1, "figures": [{"benchmark": "a"}]}']
)
def test_what_is_no_run_is_refused_by_name(tmp_path: Path, content: str) -> None:
    file = tmp_path / "other.json"
    file.write_text(content)
    run = CliRunner().invoke(recorded.main, [str(file), str(tmp_path / "none.json")])
    assert run.exit_code == 2
    assert "other.json" in run.output
    assert "--json" in run.output


def test_the_exact_search_finds_what_sorting_finds() -> None:
    vectors, queries = retrieval.drawn(300, 0), retrieval.drawn(5, 1)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    wanted = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, : retrieval.K]
    np.testing.assert_array_equal(retrieval.nearest(vectors, queries), wanted)


def test_chroma_finds_most_of_the_nearest() -> None:
    single, many, exact, recall = retrieval.measured(400, 1)
    assert "400" in single.what
    assert min(single.median, many.median, exact.median) > 0
    assert recall.median > 0.9
