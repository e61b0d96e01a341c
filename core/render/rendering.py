"""A diagnosis in words and tables for people, as Markdown and as HTML; picture.py draws it.

Labels, agent names, rationales, sources and errors are data that anybody may have written. Each is brought to
one line and escaped, so that none of it becomes markup.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Mapping, Sequence
from html import escape

from consilience.core.diagnosis_record import DiagnosisRecord
from consilience.core.evidence import Evidence, Neighbour
from consilience.core.prediction import Prediction, look_name

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
"""Colours that colour-blind people can tell apart (Okabe and Ito 2008), in the order in which labels take them."""

OTHER = "#9A9A9A"
"""Labels for which no colour is left."""

VERDICT_COLOURS = {"confident": "#00568A", "refer": "#B84A00"}
"""Blue and orange: told apart by everybody; the verdict is always written beside them."""

VERDICT_SIGNS = {"confident": "✔", "refer": "⚑"}

_BAR = 20
_DROPPED = re.compile(r"[\u202a-\u202e\u2066-\u2069]")  # they would turn the direction of what follows
_MARKDOWN = str.maketrans(
    {"\\": "&#92;", "|": "&#124;", "<": "&lt;", ">": "&gt;", "&": "&amp;", "@": "&#64;"}
    | {sign: f"\\{sign}" for sign in "`*_[]~$#"}
)
_AGENT_COLUMNS = ("Agent", "Says", "Raw", "Calibrated", "Weight", "n", "Accuracy", "ECE", "OCR", "CCC")
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


def one_line(text: str, limit: int = 500) -> str:
    """`text` on one line of at most `limit` characters, without control characters and changes of direction."""
    if len(text) <= limit and text.isascii() and text.isprintable() and "  " not in text and text == text.strip():
        return text  # as most are: it is asked of every word that a page shows
    joined = _DROPPED.sub("", " ".join(text[: 4 * limit].split()))
    kinds = ((sign, unicodedata.category(sign)) for sign in joined)
    clean = "".join("\ufffd" if kind == "Cs" else sign for sign, kind in kinds if kind != "Cc")
    return clean if len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


def percent(share: float) -> str:
    """A share in [0, 1] to a tenth of a percent; what is not quite 0 or 1 never looks as if it were.

    >>> percent(0.987), percent(0.99999), percent(1.0)
    ('98.7 %', 'over 99.9 %', '100 %')
    """
    if share <= 0.0 or share >= 1.0:
        return "0 %" if share <= 0.0 else "100 %"
    if share < 0.0005:
        return "under 0.1 %"
    return "over 99.9 %" if share >= 0.9995 else f"{100 * share:.1f} %"


def alternatives(diagnosis: DiagnosisRecord) -> str:
    """The other labels of the prediction set, 'rust or canker'; empty if there are none."""
    others = [one_line(label) for label in diagnosis.prediction_set if label != diagnosis.label]
    if len(others) > 4:
        others[3:] = [f"{len(others) - 3} more"]
    return " or ".join(filter(None, [", ".join(others[:-1]), *others[-1:]]))


def headline(diagnosis: DiagnosisRecord) -> str:
    """The verdict in a line.

    'rust, 98.7 %, confident', or 'refer to a person: most likely scab, 61.0 %; could also be rust'.
    """
    claim = f"{one_line(diagnosis.label)}, {percent(diagnosis.probability)}"
    if diagnosis.settled:
        return f"{claim}, confident"
    others = alternatives(diagnosis)
    return f"refer to a person: most likely {claim}" + (f"; could also be {others}" if others else "")


def ranked(distribution: Mapping[str, float], top: int) -> tuple[list[tuple[str, float]], list[float]]:
    """The labels with the highest probability, highest first, and the probabilities of the others.

    All if there are at most `top`, else `top` - 1, so that a line for the others fits as well.
    """
    pairs = sorted(distribution.items(), key=lambda pair: -pair[1])
    shown = len(pairs) if len(pairs) <= top else top - 1
    return pairs[:shown], [share for _, share in pairs[shown:]]


def label_colours(diagnosis: DiagnosisRecord) -> dict[str, str]:
    """A colour for each label: by the task's order if the palette suffices, else for the most probable ones."""
    labels = list(diagnosis.posterior)
    if len(labels) > len(PALETTE):
        labels.sort(key=lambda label: -diagnosis.posterior[label])
    colours = dict.fromkeys(diagnosis.posterior, OTHER)
    return colours | dict(zip(labels, PALETTE, strict=False))


def source_name(source: str) -> str:
    """The last part of a path or an address."""
    return one_line(source.replace("\\", "/").rstrip("/").rpartition("/")[2]) or "unnamed"


def novelty_words(evidence: Evidence, novelty: float | None = None, signs: Mapping[str, float] | None = None) -> str:
    """How unlike the remembered images the image is, and by which signs; says so where nothing was retrieved.

    Args:
        novelty, signs: as in `DiagnosisRecord`; without, the evidence's novelty counts.
    """
    found = evidence.novelty if novelty is None else novelty
    if not evidence.neighbours:
        return "No similar cases were found."
    degree = "A familiar" if found < 0.9 else "An unusual" if found < 0.99 else "A very unusual"
    by_sign = ", ".join(f"{one_line(name)} {percent(share)}" for name, share in (signs or {}).items())
    return f"{degree} image: more novel than {percent(found)} of the remembered ones" + (
        f" ({by_sign})." if by_sign else "."
    )


def origin(diagnosis: DiagnosisRecord) -> str:
    """Which image, and what the answer took."""
    rounds = f"{diagnosis.rounds} round" + ("" if diagnosis.rounds == 1 else "s")
    cost = f", {diagnosis.cost_usd:.4f} USD" if diagnosis.cost_usd > 0 else ""
    return f"{source_name(diagnosis.source)}: {rounds}, {diagnosis.seconds:.3f} s{cost}"


def _reasons(diagnosis: DiagnosisRecord) -> str:
    return "; ".join(one_line(reason).rstrip(".") for reason in diagnosis.reasons)


def _agent_row(diagnosis: DiagnosisRecord, prediction: Prediction) -> tuple[str, ...]:
    """The cells under _AGENT_COLUMNS."""
    label, raw, calibrated = prediction.label, prediction.probabilities, prediction.calibrated
    if label is None or raw is None:
        said = ["failed" if prediction.error is not None else "abstained", "–", "–"]
    else:
        said = [one_line(label), percent(raw[label]), "–" if calibrated is None else percent(calibrated[label])]
        if calibrated is not None and (first := max(calibrated, key=calibrated.__getitem__)) != label:
            said[2] += f"; {one_line(first)} {percent(calibrated[first])}"
    weight = "–" if prediction.weight is None else f"{prediction.weight:.2f}"
    key = (prediction.agent, prediction.stage)
    trust = next((trust for trust in diagnosis.trust if (trust.agent, trust.stage) == key), None)
    if trust is None:
        return (one_line(look_name(prediction.agent, prediction.stage)), *said, weight, *"–––––")
    accuracy = "–" if trust.accuracy is None else percent(trust.accuracy)
    figures = (f"{trust.ece:.3f}", f"{trust.ocr:.3f}", f"{trust.ccc:.2f}")
    return (one_line(look_name(prediction.agent, prediction.stage)), *said, weight, f"{trust.n}", accuracy, *figures)


def _notes(diagnosis: DiagnosisRecord) -> list[tuple[str, str]]:
    """Agent and what it said in words: its error, or why it answered or abstained."""
    notes = []
    for prediction in diagnosis.predictions:
        if prediction.error is not None:
            notes.append(
                (one_line(look_name(prediction.agent, prediction.stage)), f"failed: {one_line(prediction.error)}")
            )
        elif said := one_line(prediction.rationale):
            notes.append(
                (
                    one_line(look_name(prediction.agent, prediction.stage)),
                    f"abstained: {said}" if prediction.abstained else said,
                )
            )
    return notes


def _posterior_rows(diagnosis: DiagnosisRecord) -> list[tuple[str, float]]:
    shown, rest = ranked(diagnosis.posterior, 10)
    rows = [(one_line(label), share) for label, share in shown]
    return [*rows, (f"{len(rest)} others", sum(rest))] if rest else rows


def _case_row(neighbour: Neighbour) -> tuple[str, ...]:
    return one_line(neighbour.label), f"{neighbour.similarity:.3f}", source_name(neighbour.source)


def markdown(diagnosis: DiagnosisRecord) -> str:
    """The diagnosis as a short page of Markdown (CommonMark with tables), aligned to be read as text too."""
    parts = [f"### {_markdown_text(headline(diagnosis))}"]
    if diagnosis.reasons:
        parts.append(f"Why a person should look: {_markdown_text(_reasons(diagnosis))}.")
    bars = [(label, percent(share), "█" * round(_BAR * share)) for label, share in _posterior_rows(diagnosis)]
    parts.append(_markdown_table(("Label", "Posterior", ""), bars, numbers={1}))
    if rationale := one_line(diagnosis.rationale, 2000):
        parts.append(f"Rationale: {_markdown_text(rationale)}")
    agents = [_agent_row(diagnosis, prediction) for prediction in diagnosis.predictions]
    parts.append(_markdown_table(_AGENT_COLUMNS, agents, numbers=set(range(2, len(_AGENT_COLUMNS)))))
    if notes := _notes(diagnosis):
        parts.append("\n".join(f"- **{_markdown_text(name)}**: {_markdown_text(note)}" for name, note in notes))
    if cases := [_case_row(neighbour) for neighbour in diagnosis.evidence.neighbours]:
        parts.append(_markdown_table(("Similar case", "Similarity", "Source"), cases, numbers={1}))
    parts.append(_markdown_text(novelty_words(diagnosis.evidence, diagnosis.novelty, diagnosis.novelty_signs)))
    parts.append(f"Image {_markdown_text(origin(diagnosis))}")
    return "\n\n".join(parts) + "\n"


def _markdown_text(text: str) -> str:
    """One line as Markdown that shows it as it is; never put at the start of a block."""
    inert = text.translate(_MARKDOWN).replace("://", "&#58;//")
    return re.sub(r"(?i)(www)\.", r"\1&#46;", inert)  # some dialects turn bare addresses into links


def _markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[int]) -> str:
    cells = [list(columns), *([_markdown_text(cell) for cell in row] for row in rows)]
    widths = [max(3, *map(_columns_of_text, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * (width - 1) + (":" if i in numbers else "-") for i, width in enumerate(widths)]
    return "\n".join(
        "| " + " | ".join(_padded(cell, widths[i], i in numbers) for i, cell in enumerate(row)) + " |"
        for row in (cells[0], rule, *cells[1:])
    )


def _padded(cell: str, width: int, right: bool) -> str:
    space = " " * (width - _columns_of_text(cell))
    return space + cell if right else cell + space


def _columns_of_text(text: str) -> int:
    """How many columns of a terminal it takes: East Asian wide characters two, combining ones none."""
    return sum(0 if unicodedata.combining(sign) else 1 + (unicodedata.east_asian_width(sign) in "WF") for sign in text)


def html(diagnosis: DiagnosisRecord) -> str:
    """The diagnosis as self-contained HTML on the page's own colours; shows the image if it was kept."""
    sign, colour = VERDICT_SIGNS[diagnosis.verdict], VERDICT_COLOURS[diagnosis.verdict]
    parts = [f'<h3 style="border-color:{colour}">{sign} {escape(headline(diagnosis))}</h3>']
    if diagnosis.reasons:
        parts.append(f"<p>Why a person should look: {escape(_reasons(diagnosis))}.</p>")
    if diagnosis.image is not None:
        parts.append(_html_picture(diagnosis.image.thumbnail(224), "the image"))
    colours = {one_line(label): colour for label, colour in label_colours(diagnosis).items()}
    bars = [
        (escape(label), percent(share), _html_bar(share, colours.get(label, OTHER)))
        for label, share in _posterior_rows(diagnosis)
    ]
    parts.append(_html_table(("Label", "Posterior", ""), bars, numbers={1}))
    if rationale := one_line(diagnosis.rationale, 2000):
        parts.append(f"<p>{escape(rationale)}</p>")
    agents = [[escape(cell) for cell in _agent_row(diagnosis, prediction)] for prediction in diagnosis.predictions]
    parts.append(_html_table(_AGENT_COLUMNS, agents, numbers=set(range(2, len(_AGENT_COLUMNS)))))
    if notes := _notes(diagnosis):
        items = "".join(f"<li><b>{escape(name)}</b>: {escape(note)}</li>" for name, note in notes)
        parts.append(f"<ul>{items}</ul>")
    if cases := [_html_case(neighbour, colours) for neighbour in diagnosis.evidence.neighbours]:
        parts.append(_html_table(("", "Similar case", "Similarity", "Source"), cases, numbers={2}))
    novelty = novelty_words(diagnosis.evidence, diagnosis.novelty, diagnosis.novelty_signs)
    parts.append(f"<p>{escape(novelty)}</p>")
    parts.append(f'<p class="small">Image {escape(origin(diagnosis))}</p>')
    body = "\n".join(parts)
    # the two other classes keep MathJax from reading dollar signs as formulas
    return f'<div class="consilience tex2jax_ignore mathjax_ignore">{_STYLE}\n{body}\n</div>\n'


def _html_table(columns: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[int]) -> str:
    """A table of cells that are HTML already."""

    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = [' class="number"' if i in numbers else "" for i in range(len(cells))]
        return f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for kind, cell in zip(kinds, cells, strict=True))}</tr>"

    body = "".join(line("td", row) for row in rows)
    return f"<table><thead>{line('th', columns)}</thead><tbody>{body}</tbody></table>"


def _html_case(neighbour: Neighbour, colours: Mapping[str, str]) -> tuple[str, ...]:
    label, similarity, source = map(escape, _case_row(neighbour))
    jpeg = neighbour.thumbnail()
    picture = "no picture" if jpeg is None else _html_picture(jpeg, label)
    swatch = f'<span class="swatch" style="background:{colours.get(one_line(neighbour.label), OTHER)}"></span>'
    return picture, swatch + label, similarity, source


def _html_picture(jpeg: bytes, escaped_words: str) -> str:
    return f'<img alt="{escaped_words}" src="data:image/jpeg;base64,{base64.b64encode(jpeg).decode("ascii")}">'


def _html_bar(share: float, colour: str) -> str:
    return f'<div class="track"><div class="bar" style="width:{100 * share:.1f}%;background:{colour}"></div></div>'
