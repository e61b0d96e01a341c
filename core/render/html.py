"""A diagnosis as self-contained HTML, as Jupyter shows it; its texts are escaped, so that none becomes markup."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import PIL.Image

from consilience.core.diagnosis_record import DiagnosisRecord
from consilience.core.evidence import Neighbour
from consilience.core.render.colours import OTHER, VERDICT_COLOURS, VERDICT_SIGNS, label_colours
from consilience.core.render.phrases import (
    headline,
    novelty_words,
    one_line,
    origin,
    percent,
    reading_words,
    reasons_of,
)
from consilience.core.render.tables import (
    AGENT_COLUMNS,
    CASE_COLUMNS,
    agent_cells,
    agent_rows,
    case_cells,
    posterior_rows,
)

_LABELS = 10
_STYLE = """<style>
.consilience{max-width:60em;line-height:1.45;color:inherit}
.consilience h3{margin:0 0 .4em;padding-left:.6em;border-left:.35em solid}
.consilience table{border-collapse:collapse;margin:.8em 0;font-size:.92em;color:inherit}
.consilience tr,.consilience tr:hover{background:none!important}
.consilience th,.consilience td{padding:.2em .7em;text-align:left;border-bottom:1px solid #8885;vertical-align:middle;\
overflow-wrap:anywhere}
.consilience .number{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.consilience img{display:block;max-height:224px;border-radius:3px}
.consilience .track{width:14em;height:.8em;background:#8883}
.consilience .bar{height:100%;outline:1px solid #8888}
.consilience .swatch{display:inline-block;width:.7em;height:.7em;margin-right:.4em;outline:1px solid #8888}
.consilience .small{font-size:.88em;opacity:.8}
</style>"""


def html(diagnosis: DiagnosisRecord) -> str:
    """Return the diagnosis as self-contained HTML in the colours of its page; shows the image if it was kept."""
    sign, colour = VERDICT_SIGNS[diagnosis.verdict], VERDICT_COLOURS[diagnosis.verdict]
    parts = [f'<h3 style="border-color:{colour}">{sign} {escape(headline(diagnosis))}</h3>']
    if diagnosis.reasons:
        parts.append(f"<p>Why a person should look: {escape(reasons_of(diagnosis))}.</p>")
    if diagnosis.image_note:
        parts.append(f"<p>{escape(reading_words(diagnosis))}</p>")
    if diagnosis.image is not None:
        parts.append(_html_picture(diagnosis.image.thumbnail(224), "the image"))
    bars = [
        (escape(row.name), percent(row.share), _html_bar(row.share, row.colour))
        for row in posterior_rows(diagnosis, _LABELS)
    ]
    parts.append(_html_table(("Label", "Posterior", ""), bars, numbers={1}))
    if rationale := one_line(diagnosis.rationale, 2000):
        parts.append(f"<p>{escape(rationale)}</p>")
    agents = agent_rows(diagnosis.predictions, diagnosis.trust)
    cells = [[escape(cell) for cell in row] for row in agent_cells(agents, AGENT_COLUMNS)]
    parts.append(_html_table(AGENT_COLUMNS, cells, numbers=set(range(2, len(AGENT_COLUMNS)))))
    if notes := [f"<li><b>{escape(row.name)}</b>: {escape(row.note)}</li>" for row in agents if row.note]:
        parts.append(f"<ul>{''.join(notes)}</ul>")
    colours = label_colours(diagnosis)
    if cases := [_html_case(neighbour, colours) for neighbour in diagnosis.evidence.neighbours]:
        parts.append(_html_table(("", *CASE_COLUMNS), cases, numbers={2}))
    novelty = novelty_words(diagnosis.evidence, diagnosis.novelty, diagnosis.novelty_signs)
    parts.append(f"<p>{escape(novelty)}</p>")
    parts.append(f'<p class="small">Image {escape(origin(diagnosis))}</p>')
    return _whole(parts)


def _whole(parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    # the two other classes keep MathJax from reading dollar signs as formulas
    return f'<div class="consilience tex2jax_ignore mathjax_ignore">{_STYLE}\n{body}\n</div>\n'


def picture_html(picture: PIL.Image.Image, shows: str, key: Sequence[tuple[str, str]], words: str) -> str:
    """Return a picture as self-contained HTML.

    Args:
        picture: RGB.
        shows: what it shows, for those who cannot see it.
        key: labels, and the colours that stand for them.
        words: to be read below it.
    """
    jpeg = io.BytesIO()
    picture.save(jpeg, "JPEG", quality=90)
    labels = " &nbsp; ".join(_html_swatch(colour) + escape(one_line(label)) for label, colour in key)
    return _whole([_html_picture(jpeg.getvalue(), escape(shows)), f"<p>{labels}</p>", f"<p>{escape(words)}</p>"])


def _html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[int]) -> str:
    """Return a table of cells that are HTML already."""

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = [' class="number"' if i in numbers else "" for i in range(len(cells))]
        return f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><thead>{line('th', columns)}</thead><tbody>{body}</tbody></table>"


def _html_case(neighbour: Neighbour, colours: Mapping[str, str]) -> tuple[str, ...]:
    label, similarity, source = map(escape, case_cells(neighbour))
    jpeg = neighbour.thumbnail()
    picture = "no picture" if jpeg is None else _html_picture(jpeg, label)
    return picture, _html_swatch(colours.get(neighbour.label, OTHER)) + label, similarity, source


def _html_swatch(colour: str) -> str:
    return f'<span class="swatch" style="background:{colour}"></span>'


def _html_picture(jpeg: bytes, escaped_words: str) -> str:
    return f'<img alt="{escaped_words}" src="{picture_address(jpeg)}">'


def _html_bar(share: float, colour: str) -> str:
    return f'<div class="track"><div class="bar" style="width:{100 * share:.1f}%;background:{colour}"></div></div>'


def picture_address(picture: bytes, kind: str = "jpeg") -> str:
    """Return a picture as a data address; `kind`: "jpeg" or "png"."""
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode('ascii')}"
