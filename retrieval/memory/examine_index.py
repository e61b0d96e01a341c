"""Check an embedded index, as `python -m consilience.retrieval.memory.examine_index` STORE NAME FINGERPRINT FOLDER
SAMPLE.

FOLDER holds the labelled images; an empty SAMPLE compares all of them.

Runs in a process of its own, since damaged files can crash it, and prints a `CheckReport` as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from consilience.core.errors import ImageMemoryError
from consilience.retrieval.memory.chroma_connection import ChromaConnection
from consilience.retrieval.memory.chroma_index import ChromaIndex
from consilience.retrieval.memory.index import CheckReport
from consilience.retrieval.memory.labelled_images import LabelledImages


def main(store: str, name: str, fingerprint: str, folder: str, sample: str) -> None:
    """Print how the index in `store` compares with the labelled images in `folder`."""
    labelled_images = LabelledImages.open(Path(folder))
    try:
        index = ChromaIndex(labelled_images, ChromaConnection.embedded(Path(store)), name, fingerprint)
        report = index.examine(int(sample) if sample else None)
        index.close()
    except ImageMemoryError as failure:
        report = CheckReport("chroma", len(labelled_images), error=str(failure))
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main(*sys.argv[1:])
