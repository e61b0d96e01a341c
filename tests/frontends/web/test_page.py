"""The page in a real browser: what people do with it, with a mouse, a keyboard and a phone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.web_server import png, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FileChooser, Page

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
PATIENCE = 60_000
HOSTILE = "<img src=x onerror=document.title='owned'>.png"
WIDTH_ONCE_LOADED = "image => image.decode().then(() => image.naturalWidth)"
"""Awaited in the page: its policy forbids to try a condition again and again."""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=list(QUIET))
        yield browser
        browser.close()


@pytest.fixture
def new_page(chromium: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Opens the page in a browser that nobody has used; at the end nothing may have gone wrong in it."""
    problems: list[str] = []
    contexts = []

    def opened(path: str = "/", base: str = address, **options: Any) -> Page:
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda line: problems.append(line.text) if "Content Security Policy" in line.text else None)
        page.goto(base + path)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def upload(page: Page, *shapes: tuple[str, int], name: str = "new.png") -> None:
    """Choose drawn shapes, and wait for the diagnosis of each."""
    before = page.locator("article .badge").count()
    files: Any = [{"name": name, "mimeType": "image/png", "buffer": png(*shape)} for shape in shapes]
    page.set_input_files("#file", files)
    page.locator("article .badge").nth(before + len(shapes) - 1).wait_for()


def test_from_an_image_to_feedback_and_back_again(new_page: Callable[..., Page]) -> None:
    page = new_page()
    upload(page, ("circle", 1000))
    card = page.locator("article")
    assert card.locator("h2").inner_text().startswith("circle, ")
    assert card.locator(".bars li").count() == 3
    assert card.locator(".predictions tbody tr").count() == 4
    pictures = card.locator(".cases img")
    pictures.first.scroll_into_view_if_needed()
    assert pictures.first.evaluate(WIDTH_ONCE_LOADED) > 0
    assert pictures.count() == 10
    assert pictures.first.get_attribute("alt") == "Known case: circle"

    page.get_by_text("How it went").click()
    assert "4 for circle" in card.locator(".steps").inner_text()

    page.get_by_label("Your question").fill("why?")
    page.get_by_label("Your question").press("Enter")
    reply = page.locator(".reply")
    reply.wait_for()
    assert card.locator(".rationale").inner_text() in reply.inner_text()

    card.get_by_label("Wrong: what it is instead").select_option("square")
    page.locator(".vote", has_text="square").wait_for()

    page.reload()
    page.locator("article .badge").wait_for()
    assert page.url.endswith(page.locator("#history a").get_attribute("href") or "-")
    assert "You said: square" in card.locator(".vote").inner_text()
    assert page.locator("#history a").count() == 1
    assert page.locator(".subject img").evaluate(WIDTH_ONCE_LOADED) > 0


def test_several_images_and_a_question_about_the_first(new_page: Callable[..., Page]) -> None:
    page = new_page()
    upload(page, ("circle", 1000), ("square", 1000), ("stripes", 1000))
    titles = [title.split(",")[0] for title in page.locator("article h2").all_inner_texts()]
    assert [title.removeprefix("Most likely ") for title in titles] == ["circle", "square", "stripes"]
    page.locator("article").first.get_by_role("button", name="Right").click()
    assert "circle" in page.locator("#about").inner_text()


def test_an_image_of_this_page_is_looked_at_again(new_page: Callable[..., Page]) -> None:
    page = new_page()
    upload(page, ("circle", 1000))
    page.get_by_role("button", name="Look again").click()
    page.locator("article .badge").nth(1).wait_for()
    assert page.locator(".reply").count() == 1
    page.locator("#history a").nth(1).wait_for()
    page.reload()  # the page has forgotten the image, and the server never had it
    page.locator("article .badge").wait_for()
    page.get_by_role("button", name="Look again").click()
    page.locator(".bad", has_text="send it once more").wait_for()


READ_SO = """async (id) => {
  const diagnosis = await api(`/v1/diagnoses/${id}`);
  diagnosis.page.reading = "How the image was read: <b>5 bands</b>.";
  fill(newCard(), diagnosis, null, { cast });
}"""
"""Shows a diagnosis of an image whose file leaves open how it is read."""


COLOURED = """canvas => {
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  return pixels.filter((_, at) => at % 4 === 3 && pixels[at] > 0).length / (canvas.width * canvas.height);
}"""
"""The share of a canvas that is painted."""


def test_where_it_looked_is_shown_over_the_image_with_the_keyboard(new_page: Callable[..., Page]) -> None:
    page = new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.endswith("/heat") else None)
    upload(page, ("circle", 1000))
    card = page.locator("article")
    switch = card.get_by_role("button", name="Show where it looked")
    canvas, strength = card.locator(".seen canvas"), card.get_by_label("Strength of the colours")
    assert (asked, canvas.is_visible(), strength.is_visible()) == ([], False, False)  # nobody has asked yet
    switch.focus()
    page.keyboard.press("Enter")
    card.get_by_text("speak for circle").wait_for()
    assert switch.get_attribute("aria-pressed") == "true"
    assert canvas.evaluate(COLOURED) > 0.05
    image = card.locator(".seen img").bounding_box()
    assert image is not None
    assert canvas.bounding_box() == image
    page.keyboard.press("Tab")
    assert strength.evaluate("one => one === document.activeElement")
    before = float(canvas.evaluate("one => one.style.opacity"))
    for _ in range(10):
        page.keyboard.press("ArrowLeft")
    assert float(canvas.evaluate("one => one.style.opacity")) == pytest.approx(before - 0.1)
    switch.focus()
    page.keyboard.press("Space")
    assert (canvas.is_visible(), switch.get_attribute("aria-pressed")) == (False, "false")
    page.keyboard.press("Space")
    assert canvas.is_visible()
    assert len(asked) == 1  # found out once


UNMAPPED = """async (id) => {
  const diagnosis = await api(`/v1/diagnoses/${id}`);
  fill(newCard(), diagnosis, null, { where: () => api("/v1/diagnoses/not-there/heat") });
}"""
"""Shows a diagnosis of which it cannot be told where the agents looked."""


def test_why_it_cannot_be_told_where_it_looked_is_said(new_page: Callable[..., Page]) -> None:
    page = new_page()
    upload(page, ("circle", 1000))
    page.evaluate(UNMAPPED, page.url.rpartition("/")[2])
    card = page.locator("article").nth(1)
    card.get_by_role("button", name="Show where it looked").click()
    card.get_by_text("there is no such diagnosis").wait_for()
    assert not card.locator(".seen canvas").is_visible()


NOVEL = """async (id) => {
  const diagnosis = await api(`/v1/diagnoses/${id}`);
  diagnosis.page.title = "Perhaps none of these";
  Object.assign(diagnosis, { is_novel: true, verdict: "refer" });
  fill(newCard(), diagnosis, null, { cast });
}"""
"""Shows a diagnosis as one that may show none of the labels."""


def test_how_the_image_was_read_is_shown(new_page: Callable[..., Page]) -> None:
    page = new_page()
    upload(page, ("circle", 1000))
    assert page.locator(".reading").count() == 0
    page.evaluate(READ_SO, page.url.rpartition("/")[2])
    assert page.locator("article").nth(1).locator(".reading").inner_text() == "How the image was read: <b>5 bands</b>."


def test_a_novel_image_is_headlined_so_and_its_answer_is_taken(new_page: Callable[..., Page]) -> None:
    page = new_page()
    upload(page, ("circle", 1000))
    page.evaluate(NOVEL, page.url.rpartition("/")[2])
    card = page.locator("article").nth(1)
    assert card.locator("h2").inner_text() == "Perhaps none of these"
    assert card.get_by_role("button", name="It is circle").count() == 1
    assert card.get_by_role("button", name="Right", exact=True).count() == 0
    card.get_by_role("button", name="None of these").click()
    card.locator(".vote", has_text="Saved: none of these.").wait_for()


def test_a_link_shows_it_to_others_without_the_history(new_page: Callable[..., Page]) -> None:
    page = new_page()
    upload(page, ("stripes", 1000))
    other = new_page(page.url.removeprefix(page.url.split("/d/")[0]))
    other.locator("article .badge").wait_for()
    assert "stripes" in other.locator("article h2").inner_text()
    assert other.locator("#history a").count() == 0


def test_what_is_no_image_is_said_on_its_card(new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.set_input_files("#file", {"name": "notes.png", "mimeType": "image/png", "buffer": b"hello"})
    page.locator("article .bad").wait_for()
    assert "not an image" in page.locator("article .bad").inner_text()
    page.set_input_files("#file", {"name": "large.png", "mimeType": "image/png", "buffer": b"x" * 1_000_001})
    page.locator("article .bad", has_text="1,000,000").wait_for()


def test_texts_of_others_stay_texts(new_page: Callable[..., Page]) -> None:
    page = new_page()
    upload(page, ("circle", 1000), name=HOSTILE)
    assert page.title() == "Consilience"
    assert "onerror" in page.locator(".subject figcaption").inner_text()
    page.get_by_label("Your question").fill(HOSTILE)
    page.get_by_role("button", name="Ask").click()
    page.locator(".reply").wait_for()
    assert page.locator("img[onerror]").count() == 0
    assert page.title() == "Consilience"


RARE = """async (id) => {
  const diagnosis = await api(`/v1/diagnoses/${id}`);
  diagnosis.posterior = Object.fromEntries([...Array(12).keys()].map((n) => [`label ${n}`, n === 11 ? 0.45 : 0.05]));
  diagnosis.label = "label 11";
  const [first, second, third] = diagnosis.predictions;
  Object.assign(first, { probabilities: null, calibrated: null, weight: null, error: "timed \\u202eout\\u0007" });
  Object.assign(second, { probabilities: null, calibrated: null, weight: null, abstained: true, error: null });
  third.stage = "second";
  fill(newCard(), diagnosis, null, {});
}"""
"""Shows a diagnosis of twelve labels, with an agent that failed, one that abstained and a second look."""


def test_many_labels_and_silent_agents_are_shown(new_page: Callable[..., Page]) -> None:
    page = new_page()
    upload(page, ("circle", 1000))
    page.evaluate(RARE, page.url.rpartition("/")[2])
    card = page.locator("article").nth(1)
    bars = card.locator(".bars li").all_inner_texts()
    assert (len(bars), bars[0].split(), bars[-1].split()) == (
        10,
        ["label", "11", "45.0", "%"],
        ["3", "others", "15.0", "%"],
    )
    rows = card.locator(".predictions tbody tr")
    assert [cell.strip() for cell in rows.locator(".says").all_inner_texts()[:2]] == ["failed", "abstained"]
    assert rows.first.locator(".note").inner_text() == "timed out"
    assert rows.nth(2).locator("th").inner_text().splitlines()[0].endswith(", second look")
    assert rows.nth(2).locator(".number").all_inner_texts() == ["–", "–"]  # no trust was earned at a second look


def test_a_phone_shows_all_without_scrolling_sideways(new_page: Callable[..., Page]) -> None:
    page = new_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.get_by_text("Take a photo").wait_for()  # visible
    upload(page, ("circle", 1000), name="a-name-" * 30 + ".png")
    page.get_by_text("How it went").click()
    page.get_by_role("button", name="Who disagreed?").click()
    page.locator(".reply table").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_everything_can_be_done_with_the_keyboard(new_page: Callable[..., Page]) -> None:
    page = new_page()
    page.locator("#history-title").wait_for()

    def reach(wanted: str) -> None:
        """Press Tab until it is there, and see that the focus shows."""
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("(wanted) => document.activeElement.matches(wanted)", wanted):
                shown = page.evaluate(
                    "[document.activeElement, document.activeElement.parentElement]"
                    ".some((one) => parseFloat(getComputedStyle(one).outlineWidth) >= 2)"
                )
                assert shown, f"no focus is seen on {wanted}"
                return
        raise AssertionError(f"{wanted} cannot be reached")

    reach("#file")
    chooser = file_chooser(page)
    chooser.set_files({"name": "new.png", "mimeType": "image/png", "buffer": png("circle", 1000)})
    page.locator("article .badge").wait_for()
    reach("article summary")
    page.keyboard.press("Enter")
    assert page.locator(".steps").is_visible()
    reach(".feedback button")
    page.keyboard.press("Enter")
    page.locator(".vote", has_text="circle").wait_for()
    reach("#question")
    page.keyboard.type("how sure?")
    page.keyboard.press("Enter")
    page.locator(".reply").wait_for()
    assert "circle" in page.locator("#live").inner_text()


def file_chooser(page: Page) -> FileChooser:
    """What the space bar opens; on a busy machine a headless Chromium may swallow the first press."""
    for _ in range(3):
        try:
            with page.expect_file_chooser(timeout=PATIENCE / 4) as chooser:
                page.keyboard.press("Space")
            return chooser.value
        except sync_api.TimeoutError:
            continue
    raise AssertionError("the space bar opens no dialogue")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground(scheme: str, new_page: Callable[..., Page]) -> None:
    """WCAG 2.1 AA: a contrast of 4.5, and 3 of large text."""
    page = new_page(color_scheme=scheme)
    upload(page, ("circle", 1000))
    page.get_by_role("button", name="Who disagreed?").click()
    page.locator(".reply").wait_for()
    page.get_by_role("button", name="Show where it looked").click()
    page.get_by_text("speak for circle").wait_for()
    assert page.evaluate((Path(__file__).parent / "contrast.js").read_text()) == []


def test_light_and_dark_can_be_chosen_and_stay(new_page: Callable[..., Page]) -> None:
    page = new_page(color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_label("Change between light and dark").click()
    dark = page.evaluate(ground)
    page.reload()
    assert page.evaluate(ground) == dark != light


def test_signing_in(panel: Path, new_page: Callable[..., Page]) -> None:
    with serving(panel, token="a-token-of-the-tests-7f3a") as base:
        page = new_page(base=base)
        page.get_by_label("Token").fill("wrong")
        page.get_by_label("Token").press("Enter")
        page.locator("#sign-in-problem", has_text="not the token").wait_for()
        page.get_by_label("Token").fill("a-token-of-the-tests-7f3a")
        page.get_by_label("Token").press("Enter")
        page.locator("#drop").wait_for()
        assert page.locator("#sign-in").is_hidden()
        upload(page, ("square", 1000))
        page.reload()
        page.locator("article .badge").wait_for()
        assert "square" in page.locator("article h2").inner_text()
        assert page.locator("#sign-in").is_hidden()
