"""A diagnosis that can show itself: as Markdown, in Jupyter, as a picture. Its fields: diagnosis_record.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilience.core.diagnosis_record import DiagnosisRecord, json_of
from consilience.core.errors import ConsilienceError

if TYPE_CHECKING:
    from consilience.core.render.heat_map import HeatMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis(DiagnosisRecord):
    """A panel's conclusion about one image, and all that led to it: a `DiagnosisRecord` that can show itself."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: what `to_json` writes; `headline` is for readers that have only the JSON."""
        from consilience.core.render.phrases import headline

        return {**DiagnosisRecord.to_dict(self), "headline": headline(self)}

    def to_markdown(self) -> str:
        """Return the diagnosis as a short page of Markdown: verdict, agents, evidence, rationale."""
        from consilience.core.render.markdown import markdown

        return markdown(self)

    def _repr_html_(self) -> str:
        """Return what Jupyter shows: self-contained HTML, pictures included."""
        from consilience.core.render.html import html

        return html(self)

    def save_picture(self, path: str | Path, heat: HeatMap | None = None) -> Path:
        """Write a PNG of 1400 x 900 pixels: image, verdict, posterior, each agent's answer and weight, evidence.

        Args:
            path: of the file.
            heat: is drawn over the image; from `Diagnoser.heat`.

        Returns:
            The path that was written.

        Raises:
            ImageError: the image was not kept, and its source cannot be loaded or holds another image by now.
            ConsilienceError: the file cannot be written.
        """
        from consilience.core.render.picture import save_picture

        return save_picture(self, Path(path), heat)


@dataclass(frozen=True, slots=True)
class FailedImage:
    """An image of a batch that could not be diagnosed; the others are diagnosed all the same.

    Attributes:
        source: where the image came from.
        error: why it could not be diagnosed.
    """

    source: str
    error: ConsilienceError

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: the source, and the error as "<its class>: <its message>"."""
        return {"source": self.source, "error": f"{type(self.error).__name__}: {self.error}"}

    def to_json(self) -> str:
        """Return what `to_dict` returns as one line of JSON."""
        return json_of(self.to_dict())
