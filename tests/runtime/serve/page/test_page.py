"""The page in a real Chromium: each kind of question, by mouse, keyboard and touch. Run with `make test-browser`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.loaded import load

pytest.importorskip("fastapi")
pytest.importorskip("playwright")

from playwright.sync_api import sync_playwright

from tests.runtime.serve.served import Client, picture, served, until
from xsam_edge.runtime.serve.access import Access

pytestmark = pytest.mark.browser
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZE = 160
TOKEN = "a-token-of-32-characters-or-more"
PHRASE = "the blue circle"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on PATH; apt-get install chromium")
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def client(shapes_bundle: Path) -> Iterator[Client]:
    with served(load(shapes_bundle)) as client:
        yield client


PIXELS = """
new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(async () => {
  const canvas = document.querySelector("#canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  done(Array.from(new Uint8Array(await crypto.subtle.digest("SHA-256", data))).join());
})))
"""


class Page:
    """A page that was opened, and what went wrong in it."""

    def __init__(self, page: Any, client: Client) -> None:
        self.page, self.faults = page, list[str]()
        page.on("console", lambda message: self.faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("request", self._asked)
        self.address = f"http://localhost:{client.port}/"
        page.goto(self.address)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.faults.append(f"asks {request.url}")

    def take(self) -> None:
        file = {"name": "scene.png", "mimeType": "image/png", "buffer": picture(83, SIZE)}
        self.page.set_input_files("#file", file)
        self.page.locator("#stage").wait_for()

    def choose(self, name: str) -> None:
        self.page.get_by_role("radio", name=name, exact=True).check()

    def ask(self) -> Any:
        with self.page.expect_response("**/v1/**") as told:
            self.page.click("#go")
        self.page.locator("#go:not([disabled])").wait_for()
        assert not self.page.locator("#status.bad").count(), self.page.inner_text("#status")
        return told.value.json() if "json" in told.value.headers["content-type"] else None

    def names(self) -> list[str]:
        return list(self.page.locator("#layers .name").all_inner_texts())

    def at(self, x: float, y: float) -> tuple[float, float]:
        """A pixel of the picture, in the window."""
        box = self.page.locator("#canvas").bounding_box()
        return box["x"] + x / SIZE * box["width"], box["y"] + y / SIZE * box["height"]

    def pixels(self) -> str:
        """What tells one drawing from another."""
        shown: str = self.page.evaluate(PIXELS)
        return shown


@pytest.fixture(params=["light", "dark phone"])
def page(request: pytest.FixtureRequest, browser: Any, client: Client) -> Iterator[Page]:
    phone = {"viewport": {"width": 390, "height": 800}, "has_touch": True, "color_scheme": "dark"}
    context = browser.new_context(**(phone if "phone" in request.param else {}))
    page = Page(context.new_page(), client)
    yield page
    assert page.faults == []
    wide = page.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    assert not wide, "the page scrolls sideways"
    context.close()


def test_phrases_are_layers(page: Page) -> None:
    page.take()
    before = page.pixels()
    page.page.fill("#phrase", f"{PHRASE}\nthe red cross\nthe green star")
    first = page.ask()
    assert page.names() == [PHRASE, "the red cross"]
    assert "“the green star” was not found" in page.page.inner_text("#words")
    assert [float(text) for text in page.page.locator("#layers .score").all_inner_texts()] == [
        pytest.approx(entry["score"], abs=0.006) for entry in first["data"]
    ]
    assert "llm" in page.page.inner_text("#times") and "total" in page.page.inner_text("#times")
    page.page.mouse.move(0, 0)
    both = page.pixels()
    page.page.locator("#layers input[type=checkbox]").first.uncheck()
    page.page.mouse.move(0, 0)
    page.page.locator("h1").click()
    one = page.pixels()
    page.page.click("#none")
    page.page.mouse.move(0, 0)
    assert both != before and one not in (before, both) and page.pixels() == before
    again = page.ask()
    assert again["cached"] and again["scene"] == first["scene"]


def test_a_caption_lights_its_masks(page: Page) -> None:
    page.take()
    page.choose("Caption")
    told = page.ask()
    assert page.page.inner_text("#words") == told["results"][0]["caption"]
    words = page.page.locator("#words button")
    assert words.all_inner_texts() == [entry["label"] for entry in told["data"]]
    page.page.mouse.move(0, 0)
    plain = page.pixels()
    words.nth(1).hover()
    assert page.page.locator("#layers li.lit .name").all_inner_texts() == [told["data"][1]["label"]]
    assert page.pixels() != plain
    words.nth(1).click()
    assert [one.is_checked() for one in page.page.locator("#layers input[type=checkbox]").all()].count(True) == 1


def test_categories_and_a_question(page: Page) -> None:
    page.take()
    page.choose("Categories")
    page.page.fill("#things", "circle, cross")
    page.page.fill("#stuff", "sand, grass")
    page.ask()
    assert {"circle", "cross", "sand"} <= set(page.names())
    page.choose("Question")
    page.page.fill("#sentence", "Which thing is the largest?")
    page.ask()
    assert len(page.names()) == 1


def test_boxes_points_and_strokes(page: Page) -> None:
    page.take()
    page.choose("Point at")
    mouse = page.page.mouse
    mouse.move(*page.at(60, 34))
    mouse.down()
    mouse.move(*page.at(127, 99))
    mouse.up()
    assert page.page.inner_text("#regions") == "1 box."
    box = page.ask()
    assert len(page.names()) == 1 and box["data"][0]["box"][0] == pytest.approx(63, abs=5)
    page.page.click("#clear")
    page.choose("Point")
    mouse.click(*page.at(94, 70))
    assert page.page.inner_text("#regions") == "1 point."
    assert page.ask()["data"][0]["area"] == pytest.approx(box["data"][0]["area"], rel=0.2)
    page.page.click("#undo")
    page.choose("Brush")
    mouse.move(*page.at(80, 70))
    mouse.down()
    mouse.move(*page.at(110, 70), steps=4)
    mouse.up()
    assert page.page.inner_text("#regions") == "1 stroke."
    assert page.ask()["data"][0]["area"] == pytest.approx(box["data"][0]["area"], rel=0.2)


def test_chat_streams_words(page: Page, client: Client) -> None:
    page.take()
    page.choose("Chat")
    page.page.fill("#message", "Is there a star?")
    page.page.click("#go")
    page.page.locator("#times", has_text="total").wait_for()
    assert page.page.inner_text("#words") in ("No.", "Yes.")


def test_the_keyboard_is_enough(page: Page) -> None:
    page.take()
    press = page.page.keyboard.press
    page.page.get_by_role("radio", name="Phrase", exact=True).focus()
    for _ in range(3):
        press("ArrowRight")
    assert page.page.get_by_role("radio", name="Point at").is_checked()
    page.page.locator("#canvas").focus()
    for key in ("ArrowLeft", "ArrowUp", "Enter", *["ArrowRight"] * 15, *["ArrowDown"] * 15, "Enter"):
        press(key)
    assert page.page.inner_text("#regions") == "1 box."
    with page.page.expect_response("**/v1/**"):
        press("Control+Enter")
    page.page.locator("#layers li").first.wait_for()
    page.page.locator("#layers input[type=checkbox]").first.focus()
    press("Space")
    assert not page.page.locator("#layers input[type=checkbox]").first.is_checked()


def test_copies_as_json_and_as_curl(page: Page) -> None:
    page.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.take()
    page.page.fill("#phrase", "it's there")
    told = page.ask()
    page.page.click("#copy-json")
    page.page.get_by_text("JSON was copied.").wait_for()
    assert json.loads(page.page.evaluate("navigator.clipboard.readText()")) == told
    page.page.click("#copy-curl")
    page.page.get_by_text("A line for curl was copied.").wait_for()
    line = page.page.evaluate("navigator.clipboard.readText()")
    assert "-F 'image=@scene.png'" in line and r"""'prompt=it'\''s there'""" in line


def test_the_webcam(page: Page) -> None:
    page.page.click("#webcam")
    page.page.locator("#camera").wait_for()
    until(lambda: page.page.evaluate("document.querySelector('#video').videoWidth") > 0)
    page.page.click("#shoot")
    page.page.locator("#stage").wait_for()
    assert page.page.inner_text("#picture-name").startswith("webcam.jpg")


def test_a_picture_that_is_not_kept_any_more_is_sent_again(page: Page, client: Client) -> None:
    page.take()
    page.page.fill("#phrase", PHRASE)
    first = page.ask()
    client.service.scenes.drop(first["scene"])
    with page.page.expect_response(lambda response: response.status == 200):
        page.page.click("#go")
    page.page.locator("#go:not([disabled])").wait_for()
    page.faults[:] = [fault for fault in page.faults if "404" not in fault]  # which Chromium complains about
    assert page.names() == [PHRASE]


def test_names_are_text(page: Page) -> None:
    page.take()
    page.page.fill("#phrase", "<img src=x onerror=alert(1)>")
    page.ask()
    assert not page.page.locator("#answer img").count()


def test_a_token_is_asked_for(browser: Any, shapes_bundle: Path) -> None:
    with served(load(shapes_bundle), Access(token=TOKEN)) as client:
        page = Page(browser.new_page(), client)
        page.page.get_by_text("wants a token").wait_for()
        page.take()
        page.page.fill("#phrase", PHRASE)
        page.page.click("#go")
        page.page.get_by_text("The token is missing").or_(page.page.get_by_text("the token is missing")).wait_for()
        page.page.fill("#token", TOKEN)
        page.page.locator("#token").blur()
        page.page.locator("#model", has_text=re.compile("fp32")).wait_for()
        page.ask()
        assert page.names() == [PHRASE]
        page.page.close()
