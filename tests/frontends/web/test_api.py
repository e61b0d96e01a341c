"""The JSON API over real HTTP."""

from __future__ import annotations

import io
import shutil
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import numpy as np
import PIL.Image
import pytest

import consilience
from consilience.core.diagnosis_schema import diagnosis_schema
from consilience.core.images import Named, load_image
from consilience.orchestrator.feedback.history import History
from tests.support.shapes import LABELS, draw
from tests.support.web_server import BYTES, diagnosed, png, serving


@pytest.mark.parametrize("label", LABELS)
def test_an_image_is_diagnosed_and_kept(label: str, client: httpx.Client) -> None:
    diagnosis = diagnosed(client, label)
    assert (diagnosis["label"], diagnosis["source"]) == (label, "new.png")
    assert sum(diagnosis["posterior"].values()) == pytest.approx(1)
    assert max(diagnosis["posterior"], key=diagnosis["posterior"].__getitem__) == label
    assert diagnosis["identity"] == load_image(draw(label, 1000)).identity
    assert client.get(f"/v1/diagnoses/{diagnosis['id']}").json() == diagnosis


def test_the_response_is_the_diagnosis_and_what_the_page_needs(client: httpx.Client, served_panel: Path) -> None:
    response = diagnosed(client)
    added = {name: response.pop(name) for name in ("id", "when", "page")}
    with History.open(served_panel) as history:
        stored = history.get(added["id"])
    assert _named_by_file(stored.diagnosis.to_dict()) == response
    assert stored.when.isoformat(timespec="seconds") == added["when"]
    image = Named(draw("circle", 1000), "new.png")
    diagnosis = _named_by_file(consilience.diagnose(image, panel=served_panel).to_dict())
    assert _without_seconds(diagnosis) == _without_seconds(response)


def test_how_the_image_was_read_is_said(client: httpx.Client) -> None:
    file = io.BytesIO()
    deep = np.asarray(draw("circle", 1000).convert("L")).astype(np.uint16) * 16
    PIL.Image.fromarray(deep).save(file, "PNG")
    diagnosis = client.post("/v1/diagnose", content=file.getvalue(), headers=BYTES).json()
    assert diagnosis["image_note"].startswith("taken as 12 bits in 16")
    assert diagnosis["page"]["reading"] == f"How the image was read: {diagnosis['image_note']}."
    assert diagnosed(client)["page"]["reading"] == ""


def _named_by_file(diagnosis: dict[str, Any]) -> dict[str, Any]:
    """Where files lie on the server is not told: images are named by their files alone."""
    neighbours = diagnosis["evidence"]["neighbours"]
    for neighbour in neighbours:
        neighbour["source"] = Path(neighbour["source"]).name
    return diagnosis


def _without_seconds(diagnosis: dict[str, Any]) -> dict[str, Any]:
    predictions = [prediction | {"seconds": None} for prediction in diagnosis["predictions"]]
    return diagnosis | {"seconds": None, "predictions": predictions}


def test_the_description_holds_the_schema_of_a_diagnosis(client: httpx.Client) -> None:
    paths = client.get("/v1/openapi.json").json()["paths"]
    posted = paths["/v1/diagnose"]["post"]["responses"]["201"]["content"]["application/json"]["schema"]
    assert posted == paths["/v1/diagnoses/{id}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    for address in ("/v1/diagnose", "/v1/diagnoses/{id}/again"):
        assert {code for code in paths[address]["post"]["responses"] if code < "400"} == {"201"}
    jsonschema.Draft202012Validator.check_schema(posted)
    jsonschema.validate(diagnosed(client), posted)
    assert set(diagnosis_schema()["properties"]) == posted["properties"].keys() - {"id", "when", "page"}


def test_pictures_are_made_anew_and_never_what_was_uploaded(client: httpx.Client) -> None:
    hidden = io.BytesIO()
    draw("circle", 7).save(hidden, "PNG")
    upload = hidden.getvalue() + b"<script>alert(1)</script>"
    diagnosis = client.post("/v1/diagnose", content=upload, headers=BYTES).json()
    for address, kind in (
        (diagnosis["page"]["picture"], "JPEG"),
        (f"/v1/diagnoses/{diagnosis['id']}/cases/0", "JPEG"),
        (f"/v1/diagnoses/{diagnosis['id']}/picture", "PNG"),
    ):
        answer = client.get(address)
        assert PIL.Image.open(io.BytesIO(answer.content)).format == kind
        assert answer.headers["content-type"] == f"image/{kind.lower()}"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert b"<script>" not in answer.content


def test_nothing_tells_where_the_servers_files_lie(client: httpx.Client, served_panel: Path) -> None:
    diagnosis = diagnosed(client, name="/home/somebody/secret/leaf.png")
    gone = client.get("/v1/diagnoses/not-there")
    for text in (client.get(f"/v1/diagnoses/{diagnosis['id']}").text, gone.text):
        assert str(served_panel.parent) not in text
        assert "/shapes" not in text
        assert "somebody" not in text
    assert gone.status_code == 404


def test_where_it_looked_is_found_out_on_request(client: httpx.Client, served_panel: Path) -> None:
    diagnosis = diagnosed(client)
    address = f"/v1/diagnoses/{diagnosis['id']}/heat"
    heat = client.get(address).json()
    schema = client.get("/v1/openapi.json").json()
    jsonschema.validate(heat, {"$ref": "#/components/schemas/Heat", "components": schema["components"]})
    first, second = sorted(diagnosis["posterior"], key=lambda label: -diagnosis["posterior"][label])[:2]
    assert (heat["label"], heat["other"], heat["agents"]) == (first, second, ["probe", "gaussian"])
    cells = np.array(heat["cells"])
    assert cells.shape == (28, 28)
    assert np.abs(cells).max() == pytest.approx(1.0, abs=1e-3)
    with consilience.Diagnoser.open(served_panel) as diagnoser:
        exact = diagnoser.heat(diagnoser.diagnose(draw("circle", 1000)))
    assert np.corrcoef(cells.ravel(), exact.cells.ravel())[0, 1] > 0.9  # of the small picture, not of the image
    mirrored = client.get(address, params={"label": second, "other": first}).json()
    np.testing.assert_allclose(mirrored["cells"], -cells, atol=2e-3)
    assert f"speak for {second}" in mirrored["words"]


def test_where_it_looked_that_cannot_be_told(client: httpx.Client, fitted_shapes: Path, tmp_path: Path) -> None:
    diagnosis = diagnosed(client)
    address = f"/v1/diagnoses/{diagnosis['id']}/heat"
    unknown = client.get(address, params={"label": "hexagon"})
    assert (unknown.status_code, "no label 'hexagon'" in unknown.json()["detail"]) == (422, True)
    assert client.get(address, params={"label": "x" * 501}).status_code == 422
    assert client.get("/v1/diagnoses/not-there/heat").status_code == 404
    panel = shutil.copytree(fitted_shapes, tmp_path / "panel")
    with (
        serving(panel, "--set", "history.thumbnails=false") as base,
        httpx.Client(base_url=base, timeout=120, trust_env=False) as forgetful,
    ):
        id = diagnosed(forgetful)["id"]
        for path in ("heat", "picture?heat=true"):
            assert forgetful.get(f"/v1/diagnoses/{id}/{path}").status_code == 404
        words = forgetful.get(f"/v1/diagnoses/{id}/heat").json()["detail"]
        assert words == "no picture of the image was kept, so it cannot be shown where in it the agents looked"


def test_the_reply_to_where_shows_it_over_the_image(client: httpx.Client) -> None:
    id = diagnosed(client)["id"]
    turn = client.post(f"/v1/diagnoses/{id}/questions", json={"text": "where did it look?"}).json()
    assert turn["picture"] == f"/v1/diagnoses/{id}/picture?heat=true"
    assert turn["text"] == client.get(f"/v1/diagnoses/{id}/heat").json()["words"]
    assert turn["text"] in turn["picture_alt"]
    marked, plain = client.get(turn["picture"]).content, client.get(f"/v1/diagnoses/{id}/picture").content
    assert PIL.Image.open(io.BytesIO(marked)).size == PIL.Image.open(io.BytesIO(plain)).size
    assert marked != plain


def test_questions_are_answered_from_the_record(client: httpx.Client) -> None:
    diagnosis = diagnosed(client)
    why = client.post(f"/v1/diagnoses/{diagnosis['id']}/questions", json={"text": "why?"}).json()
    assert diagnosis["rationale"] in why["text"]
    who = client.post(f"/v1/diagnoses/{diagnosis['id']}/questions", json={"text": "who disagreed?"}).json()
    assert [row[0] for row in who["table"]["rows"]] == [row["agent"] for row in diagnosis["predictions"]]
    again = client.post(f"/v1/diagnoses/{diagnosis['id']}/questions", json={"text": "look again"})
    assert again.status_code == 422
    assert "send it once more" in again.json()["detail"]


def test_an_image_is_compared_with_the_one_before_of_the_same_browser(browser: httpx.Client, address: str) -> None:
    first, second = diagnosed(browser, "square", 3), diagnosed(browser, "circle", 4)
    asked = {"text": "compare with the last one"}
    answer = browser.post(f"/v1/diagnoses/{second['id']}/questions", json=asked).json()
    assert answer["table"]["rows"][0][0] == second["label"]
    assert f": {first['headline']}." in answer["text"]
    with httpx.Client(base_url=address, timeout=120, trust_env=False) as other:  # somebody else's images are not shown
        nothing = other.post(f"/v1/diagnoses/{second['id']}/questions", json=asked).json()
    assert nothing["text"].startswith("There is no other image before this one")


def test_an_image_that_is_sent_once_more_is_looked_at_again(client: httpx.Client) -> None:
    diagnosis = diagnosed(client, "circle", 1)
    address = f"/v1/diagnoses/{diagnosis['id']}/again"
    again = client.post(address, content=png("circle", 1), headers=BYTES)
    assert again.status_code == 201
    other = client.get(f"/v1/diagnoses/{again.json()['diagnosis']}").json()
    assert other["id"] != diagnosis["id"]
    assert (other["source"], other["identity"]) == (diagnosis["source"], diagnosis["identity"])
    assert "circle" in again.json()["text"]
    wrong = client.post(address, content=png("square", 1), headers=BYTES)
    assert (wrong.status_code, "is not the image that was diagnosed" in wrong.json()["detail"]) == (422, True)
    assert client.post("/v1/diagnoses/not-there/again", content=png("circle", 1), headers=BYTES).status_code == 404


def test_feedback_is_kept_with_whose_it_is(browser: httpx.Client, address: str) -> None:
    diagnosis = diagnosed(browser)
    saved = browser.post(f"/v1/diagnoses/{diagnosis['id']}/feedback", json={"label": "square"})
    assert "square" in saved.json()["text"]
    shown = browser.get(f"/v1/diagnoses/{diagnosis['id']}").json()["page"]["feedback"]
    assert shown == [{"label": "square", "is_mine": True, "status": "waiting"}]
    other = httpx.get(f"{address}/v1/diagnoses/{diagnosis['id']}", trust_env=False).json()["page"]["feedback"]
    assert [vote["is_mine"] for vote in other] == [False]
    browser.post(f"/v1/diagnoses/{diagnosis['id']}/feedback", json={"label": None})
    shown = browser.get(f"/v1/diagnoses/{diagnosis['id']}").json()["page"]["feedback"]
    assert [vote["label"] for vote in shown] == [diagnosis["label"]]


def test_none_of_these_is_kept_as_an_answer(browser: httpx.Client) -> None:
    diagnosis = diagnosed(browser)
    address = f"/v1/diagnoses/{diagnosis['id']}"
    saved = browser.post(f"{address}/feedback", json={"label": None, "none_of_these": True})
    assert saved.json()["text"].startswith("Saved: none of these.")
    assert [vote["label"] for vote in browser.get(address).json()["page"]["feedback"]] == ["none of these"]
    both = browser.post(f"{address}/feedback", json={"label": "circle", "none_of_these": True})
    assert (both.status_code, "give either" in both.json()["detail"]) == (422, True)
    assert browser.post(f"{address}/feedback", json={"label": "none of these"}).status_code == 422  # no such label
    assert browser.post(f"{address}/feedback", json={"label": ""}).status_code == 422


def test_feedback_that_cannot_be(browser: httpx.Client) -> None:
    diagnosis = diagnosed(browser)
    unknown = browser.post(f"/v1/diagnoses/{diagnosis['id']}/feedback", json={"label": "hexagon"})
    assert unknown.status_code == 422
    assert "circle, square, stripes" in unknown.json()["detail"]
    gone = browser.post("/v1/diagnoses/not-there/feedback", json={"label": None})
    assert gone.status_code == 404
    assert browser.post(f"/v1/diagnoses/{diagnosis['id']}/feedback", json={}).status_code == 422


def test_the_history_is_one_browsers_own(browser: httpx.Client, address: str) -> None:
    first, second = diagnosed(browser, "circle"), diagnosed(browser, "square")
    assert [summary["id"] for summary in browser.get("/v1/diagnoses").json()] == [second["id"], first["id"]]
    with httpx.Client(base_url=address, trust_env=False) as other:
        assert other.get("/v1/diagnoses").json() == []
        other.get("/")
        assert other.get("/v1/diagnoses").json() == []


def _declares(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and holds next to nothing."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"hello", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (png("circle", 1)[:-400], "truncated"),
        (_declares(60_000, 60_000), "pixels"),
        (_declares(1, 1000), "1 x 1,000"),
    ],
    ids=["empty", "text", "svg", "pdf", "truncated", "bomb", "thin"],
)
def test_what_is_no_image_is_refused_in_words(body: bytes, words: str, client: httpx.Client) -> None:
    answer = client.post("/v1/diagnose", params={"name": "leaf.png"}, content=body, headers=BYTES)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert "leaf.png" in answer.json()["detail"]


def test_too_long_an_upload_is_refused(client: httpx.Client) -> None:
    answer = client.post("/v1/diagnose", content=b"x" * 1_000_001, headers=BYTES)
    assert answer.status_code == 413
    assert "1,000,000 bytes" in answer.json()["detail"]


def test_an_upload_in_chunks_is_told_to_say_how_long_it_is(client: httpx.Client) -> None:
    answer = client.post("/v1/diagnose", content=iter([png("circle", 1)]), headers=BYTES)
    assert answer.status_code == 411
    assert "Content-Length" in answer.json()["detail"]


def test_a_form_is_told_how_an_image_is_sent(client: httpx.Client) -> None:
    answer = client.post("/v1/diagnose", files={"file": png("circle", 1)})
    assert answer.status_code == 415
    assert "--data-binary" in answer.json()["detail"]


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "https://elsewhere.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}],
    ids=["origin", "opaque", "fetch-metadata"],
)
def test_another_sites_page_can_change_nothing(headers: dict[str, str], client: httpx.Client) -> None:
    assert client.post("/v1/diagnose", content=png("circle", 1), headers=BYTES | headers).status_code == 403


def test_a_name_that_was_pointed_at_this_machine_is_refused(client: httpx.Client) -> None:
    assert client.get("/v1/panel", headers={"Host": "elsewhere.example"}).status_code == 421
    assert client.get("/v1/panel", headers={"Host": "localhost:9"}).status_code == 200


def test_many_at_once_are_diagnosed_together_and_each_for_itself(client: httpx.Client) -> None:
    before = _metrics(client)
    wanted = [(label, number) for number in range(2000, 2011) for label in LABELS][:32]
    with ThreadPoolExecutor(32) as pool:
        diagnoses = list(pool.map(lambda shape: diagnosed(client, *shape), wanted))
    for (label, number), diagnosis in zip(wanted, diagnoses, strict=True):
        assert diagnosis["identity"] == load_image(draw(label, number)).identity
        assert diagnosis["label"] == label
    after = _metrics(client)
    assert after["consilience_run_images_sum"] - before["consilience_run_images_sum"] == 32
    assert after["consilience_run_images_count"] - before["consilience_run_images_count"] < 32


def test_metrics_count_and_hold_no_ids(client: httpx.Client) -> None:
    before = _metrics(client)
    diagnosis = diagnosed(client)
    client.get(f"/v1/diagnoses/{diagnosis['id']}")
    client.post("/v1/diagnose", content=b"hello", headers=BYTES)
    after = _metrics(client)
    verdict = f'consilience_images_total{{verdict="{diagnosis["verdict"]}"}}'
    assert after[verdict] - before.get(verdict, 0) == 1
    assert after["consilience_failed_images_total"] - before["consilience_failed_images_total"] == 1
    assert diagnosis["id"] not in client.get("/metrics").text


def _metrics(client: httpx.Client) -> dict[str, float]:
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_the_description_names_every_route(client: httpx.Client) -> None:
    paths = client.get("/v1/openapi.json").json()["paths"]
    assert {"/v1/diagnose", "/v1/diagnoses/{id}", "/v1/diagnoses/{id}/questions", "/health", "/metrics"} <= set(paths)
    assert "application/octet-stream" in paths["/v1/diagnose"]["post"]["requestBody"]["content"]


def test_the_page_lets_no_foreign_script_in(client: httpx.Client) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "HttpOnly" in page.headers["set-cookie"]
