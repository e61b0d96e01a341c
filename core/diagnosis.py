"""The answer, which shows itself: as Markdown, in Jupyter, as a picture. What it holds: diagnosis_record.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consilience.core.diagnosis_record import DiagnosisRecord, json_of
from consilience.core.errors import ConsilienceError


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis(DiagnosisRecord):
    """What the panel concludes about one image: a `DiagnosisRecord` that shows itself."""

    def to_markdown(self) -> str:
        """Return the diagnosis as a short page of Markdown: verdict, agents, evidence, rationale."""
        from consilience.core.render.markdown import markdown

        return markdown(self)

    def _repr_html_(self) -> str:
        """Shown by Jupyter: self-contained HTML, pictures included."""
        from consilience.core.render.html import html

        return html(self)

    def save_picture(self, path: str | Path) -> Path:
        """Write a PNG: the image, the verdict, the posterior, every agent's word and weight, the evidence.

        Raises:
            ImageError: the image was not kept and cannot be loaded again from its source.
            ConsilienceError: the file cannot be written.
        """
        from consilience.core.render.picture import save_picture

        return save_picture(self, Path(path))


@dataclass(frozen=True, slots=True)
class FailedImage:
    """An image of a batch that could not be diagnosed: its name and the cause. The others go on."""

    source: str
    error: ConsilienceError

    def to_dict(self) -> dict[str, Any]:
        return {"source": self.source, "error": f"{type(self.error).__name__}: {self.error}"}

    def to_json(self) -> str:
        return json_of(self.to_dict())
