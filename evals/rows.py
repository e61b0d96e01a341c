"""A row an image: what `predictions.jsonl` holds, a line of JSON each, and `rows.parquet` holds again.

A row holds the fields of `Diagnosis.to_dict`, by the same names, but for `trust`, which is the panel's and the same in
every row. Without a diagnosis they are null, 0 or empty. These are the evaluation's own:

row            place of the image in the source, from 0; rows need not stand in this order
source         its path or address, without secrets; the name of a vector
truth          its label in the source
leak           the panel has learned from this very image, with its label or without, or from a copy or another image of
               its given group; left out if the run drops leaks
error          why there is no diagnosis; null if there is one
seconds        wall time of the evaluation for this image: its batch's, divided by the images in it
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.core.diagnosis import Diagnosis, FailedImage
from consilience.core.errors import EvaluationError
from consilience.core.sources.stored import protocol_of, shown_address
from consilience.core.storage.atomic_write import replacing
from consilience.evals.source import SourceImage
from consilience.orchestrator.novelty.novelty_score import SIGNS
from consilience.orchestrator.novelty.unknown_reference import UNKNOWN

if TYPE_CHECKING:
    import pyarrow

ROWS_FILE, PARQUET = "predictions.jsonl", "rows.parquet"

BLOCK = 2 * 2**20
"""Bytes of rows that are read at a time; no row may be longer."""

GROUP = 32 * 2**20
"""Bytes of rows in a row group of the table, at least: what describes the groups is held until the end."""

LEFT_OUT = "left out: the panel has learned from this image"


@dataclass(frozen=True, slots=True)
class Decided:
    """One image decided, as an engine hands it out: ready to be written, and what to count of it.

    Attributes:
        data: the row as JSON, without `seconds`.
        right: whether its label is the true one; None without a diagnosis.
        error: why there is no diagnosis.
    """

    name: str
    data: bytes
    right: bool | None
    leak: bool
    cost_usd: float
    error: str | None


def decided(case: SourceImage, result: Diagnosis | FailedImage, leak: bool) -> Decided:
    """Return the row of one image.

    Args:
        leak: whether the panel has learned from this image, or from another one of its group.
    """
    name = _shown(case.name)
    row: dict[str, Any] = {"row": case.row, "source": name, "truth": case.truth, "leak": leak}
    if isinstance(result, FailedImage):
        error = str(result.error)
        return Decided(name, _json({**_NOTHING, **row, "error": error}), None, leak, 0.0, error)
    fields = replace(result, trust=()).to_dict()
    del fields["trust"], fields["seconds"]
    return Decided(
        name, _json({**fields, **row, "error": None}), result.label == case.truth, leak, result.cost_usd, None
    )


_NOTHING: dict[str, Any] = {
    "identity": None,
    "label": None,
    "probability": None,
    "verdict": None,
    "cost_usd": 0.0,
    "rounds": 0,
    "posterior": None,
    "first_posterior": None,
    "prediction_set": [],
    "expected_cost": None,
    "reasons": [],
    "predictions": [],
    "evidence": None,
    "novelty": None,
    "novelty_signs": {},
    "is_novel": None,
    "unjudgeable": None,
    "image_note": None,
    "headline": None,
    "rationale": "",
}


def _json(row: dict[str, Any]) -> bytes:
    import orjson

    try:
        return orjson.dumps(row)
    except TypeError:  # text that is not Unicode: half a character in a model's reply
        import json

        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _shown(name: str) -> str:
    """Return an address without its secrets, and a file name that is not Unicode with escapes."""
    if protocol_of(name):
        name = shown_address(name)
    return name.encode("utf-8", "backslashreplace").decode()


def schema(labels: Sequence[str]) -> pyarrow.Schema:
    """Return the columns of a row, for a task with these labels."""
    import pyarrow as pa

    number, whole, text, flag = pa.float64(), pa.int64(), pa.string(), pa.bool_()
    shares = pa.struct([(label, number) for label in labels])
    prediction = {"agent": text, "stage": text, "label": text, "probabilities": shares, "confidence": number}
    prediction |= {"rationale": text, "abstained": flag, "error": text, "calibrated": shares, "weight": number}
    prediction |= {"cost_usd": number, "tokens": whole, "seconds": number, "raw": text, "prompt": text, "cached": flag}
    neighbour = {"id": text, "label": text, "similarity": number, "source": text}
    evidence = {"neighbours": pa.list_(pa.struct(neighbour)), "distribution": shares}
    row = {"row": whole, "source": text, "identity": text, "truth": text, "leak": flag, "label": text, "verdict": text}
    row |= {"probability": number}
    row |= {"error": text, "cost_usd": number, "rounds": whole, "posterior": shares, "first_posterior": shares}
    row |= {"prediction_set": pa.list_(text), "reasons": pa.list_(text), "expected_cost": number}
    row |= {"predictions": pa.list_(pa.struct(prediction))}
    row |= {"novelty": number, "novelty_signs": pa.struct([(name, number) for name in (*SIGNS, UNKNOWN)])}
    row |= {"is_novel": flag, "unjudgeable": text, "headline": text, "image_note": text}
    return pa.schema(row | {"evidence": pa.struct(evidence), "rationale": text, "seconds": number})


def read_rows(out: Path, labels: Sequence[str], columns: Sequence[str] | None = None) -> Iterator[pyarrow.RecordBatch]:
    """Yield the rows of an evaluation as Arrow batches, streamed; only some columns if they are named.

    Raises:
        EvaluationError: the file cannot be read, or was damaged.
    """
    import pyarrow as pa
    import pyarrow.json

    path = out / ROWS_FILE
    if not path.exists() or not path.stat().st_size:  # Arrow takes an empty file for an error
        return
    wanted = schema(labels)
    wanted = wanted if columns is None else pa.schema([wanted.field(name) for name in columns])
    options = pa.json.ParseOptions(explicit_schema=wanted, unexpected_field_behavior="ignore")
    try:
        with pa.json.open_json(path, pa.json.ReadOptions(use_threads=False, block_size=BLOCK), options) as reader:
            yield from reader
    except (pa.ArrowException, OSError) as cause:
        raise EvaluationError(
            f"the rows in '{path}' cannot be read ({cause}); put the file back from a copy, or name another folder"
        ) from cause


def save_parquet(out: Path, labels: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    """Write `rows.parquet` from `predictions.jsonl`, whole or not at all, and hand out each batch on the way.

    Raises:
        OSError: it cannot be written. EvaluationError: see `read_rows`.
    """
    import pyarrow.parquet

    group = list[pyarrow.RecordBatch]()
    with (
        replacing(out / PARQUET) as partial,
        pyarrow.parquet.ParquetWriter(partial, schema(labels), compression="zstd") as writer,
    ):
        for batch in read_rows(out, labels):
            group.append(batch)
            yield batch
            if sum(part.nbytes for part in group) >= GROUP:
                writer.write_table(pyarrow.Table.from_batches(group))
                group.clear()
        writer.write_table(pyarrow.Table.from_batches(group, schema(labels)))
