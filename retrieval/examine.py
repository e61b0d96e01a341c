"""`python -m consilience.retrieval.examine STORE NAME FINGERPRINT RECORDS [SAMPLE]`: check an embedded index.

Runs in a process of its own, since damaged files can crash it, and prints a `CheckReport` as JSON.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from consilience.errors import ImageMemoryError
from consilience.retrieval.chroma import ChromaIndex
from consilience.retrieval.connection import Connection
from consilience.retrieval.index import CheckReport
from consilience.retrieval.records import Records


def main(store: str, name: str, fingerprint: str, folder: str, sample: str) -> None:
    """Print how the index in `store` compares with the records in `folder`."""
    records = Records.open(Path(folder))
    try:
        index = ChromaIndex(records, Connection.embedded(Path(store)), name, fingerprint)
        report = index.examine(int(sample) if sample else None)
        index.close()
    except ImageMemoryError as failure:
        report = CheckReport("chroma", len(records), error=str(failure))
    print(json.dumps(asdict(report)))


if __name__ == "__main__":
    main(*sys.argv[1:])
