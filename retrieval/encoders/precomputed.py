"""Vectors that another program has made already, in an .npz file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from consilience.core.errors import DatasetError, EncoderError
from consilience.core.images import Image
from consilience.core.storage.array_file import read_arrays
from consilience.retrieval.encoders.encoder import Encoder, Vectors, hash_of

EXPECTED = (
    "It must hold 'embeddings' (float, n x d), 'labels' and 'names' (text, n each), "
    "and may hold 'groups' (text, n: the thing that each shows) and 'encoder' (one text: what made the vectors); "
    "write it with numpy.savez"
)


class PrecomputedEncoder(Encoder):
    """The stand-in for whatever made the vectors: it has a dimension and a fingerprint, and encodes nothing.

    The name is 'precomputed:<dimension>', followed by ':<what made the vectors>' if that is known.

    Args:
        dimension: length of a vector.
        made_by: what made the vectors; empty: not known.
    """

    def __init__(self, dimension: int, made_by: str = "") -> None:
        self.name = f"precomputed:{dimension}" + (f":{made_by}" if made_by else "")
        self.dimension = dimension
        self.fingerprint = hash_of(self.name)
        self.has_text = False
        self.chunk = 1

    @classmethod
    def from_spec(cls, spec: str, rest: str) -> PrecomputedEncoder:
        """Return the encoder of a specification.

        Args:
            spec: the encoder's `name`.
            rest: what follows 'precomputed:' in it.

        Raises:
            EncoderError: it states no dimension.
        """
        dimension, _, made_by = rest.partition(":")
        if not dimension.isascii() or not dimension.isdigit() or int(dimension) == 0:
            raise EncoderError(
                f"'{spec}' does not say how long the vectors are: use precomputed:<dimension>, "
                "or give the .npz file, which tells."
            )
        return cls(int(dimension), made_by)

    def prepare(self, image: Image) -> NoReturn:
        """Raise EncoderError: images cannot be encoded here."""
        raise EncoderError(self._refusal())

    def encode_prepared(self, batch: NDArray[Any]) -> NoReturn:
        """Raise EncoderError: images cannot be encoded here."""
        raise EncoderError(self._refusal())

    def encode(self, images: Sequence[Image]) -> NoReturn:
        """Raise EncoderError: images cannot be encoded here."""
        raise EncoderError(self._refusal())

    def _refusal(self) -> str:
        return (
            f"This panel takes vectors of {self.dimension} numbers, not images: it was fitted on an .npz file. "
            "Give it vectors of the same encoder, or fit a panel on a folder of images."
        )


@dataclass(frozen=True, slots=True)
class Precomputed:
    """Vectors with their labels and names, n of each.

    Attributes:
        embeddings: float32 (n, d), scaled to unit length.
        labels: label of each; empty if they were not read.
        names: name of each.
        encoder: the stand-in for what made the vectors.
        groups: name of the group (the thing shown) of each; None: not known.
    """

    embeddings: Vectors
    labels: list[str]
    names: list[str]
    encoder: PrecomputedEncoder
    groups: list[str] | None = None


def load_precomputed(path: Path, *, labelled: bool = True) -> Precomputed:
    """Return the vectors, labels and names in an .npz file.

    Args:
        path: the file; EXPECTED says what it must hold.
        labelled: whether labels are needed; if not, they are left unread.

    Raises:
        DatasetError: the file cannot be read, or an array is missing or unfit; the message says which, and what is
            expected.
    """
    arrays = _read(path)
    for name in ("embeddings", "names", *(["labels"] if labelled else [])):
        if name not in arrays:
            raise DatasetError(f"'{path}' has no array '{name}' (it has: {', '.join(arrays) or 'none'}). {EXPECTED}.")
    embeddings = _unit_length(path, arrays["embeddings"])
    names = _texts(path, "names", arrays["names"], len(embeddings))
    labels = _texts(path, "labels", arrays["labels"], len(embeddings)) if labelled else []
    maker = arrays.get("encoder", np.array(""))
    if maker.size != 1 or maker.dtype.kind != "U":
        raise DatasetError(f"'{path}': 'encoder' is {_described(maker)}, not one text. {EXPECTED}.")
    groups = _texts(path, "groups", arrays["groups"], len(embeddings)) if "groups" in arrays else None
    return Precomputed(embeddings, labels, names, PrecomputedEncoder(embeddings.shape[1], str(maker.item())), groups)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        return read_arrays(path)
    except OSError as cause:
        raise DatasetError(f"'{path}' cannot be read: {cause.strerror or cause}.") from cause
    except ValueError as cause:
        raise DatasetError(f"'{path}' is not an .npz file of plain arrays ({cause}). {EXPECTED}.") from cause


def _unit_length(path: Path, embeddings: NDArray[Any]) -> Vectors:
    if embeddings.ndim != 2 or embeddings.dtype.kind != "f" or 0 in embeddings.shape:
        raise DatasetError(f"'{path}': 'embeddings' is {_described(embeddings)}. {EXPECTED}.")
    wide = embeddings.astype(np.float64)
    lengths = np.linalg.norm(wide, axis=1)
    unfit = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if unfit.size:
        raise DatasetError(
            f"'{path}': {unfit.size} of {len(wide)} rows of 'embeddings' hold NaN or infinity, or only zeros "
            f"(the first: row {unfit[0]}). Leave these rows out, or make their vectors again."
        )
    unit: Vectors = (wide / lengths[:, None]).astype(np.float32)
    return unit


def _texts(path: Path, name: str, array: NDArray[Any], count: int) -> list[str]:
    if array.dtype.kind != "U" or array.shape != (count,):
        raise DatasetError(f"'{path}': '{name}' is {_described(array)}, not text ({count},). {EXPECTED}.")
    texts: list[str] = array.tolist()
    if "" in texts:
        raise DatasetError(f"'{path}': row {texts.index('')} of '{name}' is empty. {EXPECTED}.")
    return texts


def _described(array: NDArray[Any]) -> str:
    return f"{array.dtype} {array.shape}"
