"""The page of an image run: a photo dropped, its classes, where the model looked; and all that may go wrong."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from liandan.deploy.page_words import WORDS
from tests.browser.conftest import TOKEN, Window, window
from tests.browser.material import FLOWER, ODD, SIZE, TEMPLE, photo
from tests.deploy.servers import Server

pytestmark = pytest.mark.slow
EN, ZH = WORDS["en"], WORDS["zh"]


@pytest.fixture
def english(chromium: Browser, photo_server: Server) -> Iterator[Window]:
    yield from window(chromium, photo_server)


@pytest.fixture
def chinese(chromium: Browser, photo_server: Server) -> Iterator[Window]:
    yield from window(chromium, photo_server, "zh-CN", 390, 844)


def test_a_photo_is_answered(english: Window, tmp_path: Path) -> None:
    page = english.page
    assert page.url.endswith("/en/") and page.evaluate("document.documentElement.lang") == "en"
    expect(page.locator(".ld-found")).to_have_text(EN["photo.hint"])
    page.set_input_files("input[type=file]", photo(tmp_path / "flower.jpg"))
    expect(page.locator(".ld-best")).to_have_text(FLOWER)
    rows = page.locator(".ld-bars li")
    expect(rows).to_have_count(3)
    shares = [float(text.rstrip("%")) for text in page.locator(".ld-sure").all_inner_texts()]
    assert shares == sorted(shares, reverse=True) and abs(sum(shares) - 100) < 0.2
    widths = [bar.bounding_box() for bar in page.locator(".ld-bar i").all()]
    assert widths[0] and widths[1] and widths[0]["width"] > widths[1]["width"]
    expect(page.locator(".ld-found > .ld-how")).to_contain_text("ms · answered by")
    heat = page.locator(".ld-heat img")
    expect(heat).to_have_attribute("alt", EN["result.looked.alt"].format(label=FLOWER))
    assert heat.evaluate("image => image.decode().then(() => image.naturalWidth)") == SIZE
    assert {FLOWER, TEMPLE, ODD} == set(page.locator(".ld-bars li > span:first-child").all_inner_texts()), "labels are text, never HTML"
    english.picture("page-photo")


def test_what_is_no_image_is_refused_in_the_language_of_the_page(chinese: Window, tmp_path: Path) -> None:
    page = chinese.page
    assert page.url.endswith("/zh/") and page.evaluate("document.documentElement.lang") == "zh-CN"
    (tmp_path / "图.jpg").write_text("这不是照片", encoding="utf-8")
    page.set_input_files("input[type=file]", tmp_path / "图.jpg")
    expect(page.locator(".ld-refused")).to_have_text(ZH["refused.unreadable"])
    (tmp_path / "large.jpg").write_bytes(bytes(17 << 20))
    page.set_input_files("input[type=file]", tmp_path / "large.jpg")
    expect(page.locator(".ld-refused")).to_have_text(ZH["refused.size"].format(limit=16))
    page.set_input_files("input[type=file]", photo(tmp_path / "花.jpg"))
    expect(page.locator(".ld-best")).to_have_text(FLOWER)
    expect(page.locator(".ld-heat figcaption")).to_have_text(ZH["result.looked"].format(label=FLOWER))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator(".ld-heat img").evaluate("image => image.decode()")
    chinese.picture("page-photo-phone")


def test_the_other_language_is_one_click_away(english: Window) -> None:
    page = english.page
    page.get_by_role("link", name=EN["switch"]).click()
    expect(page.locator(".ld-ask b")).to_have_text(ZH["photo.pick"])
    assert page.url.endswith("/zh/")
    page.get_by_role("link", name=ZH["switch"]).click()
    expect(page.locator(".ld-ask b")).to_have_text(EN["photo.pick"])


def test_a_photo_is_chosen_by_keyboard_dropped_and_pasted(english: Window, tmp_path: Path) -> None:
    page, file = english.page, photo(tmp_path / "flower.jpg")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.tagName") == "A"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.type") == "file"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(file)
    expect(page.locator(".ld-best")).to_have_text(FLOWER)
    for event, key in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.locator(".ld-found").evaluate("found => found.replaceChildren()")
        page.evaluate(
            """([event, key, content]) => {
                const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
                const data = new DataTransfer();
                data.items.add(new File([bytes], "flower.jpg", { type: "image/jpeg" }));
                const kind = event === "drop" ? DragEvent : ClipboardEvent;
                document.querySelector(".ld-drop").dispatchEvent(new kind(event, { [key]: data, bubbles: true, cancelable: true }));
            }""",
            [event, key, b64encode(file.read_bytes()).decode()],
        )
        expect(page.locator(".ld-best")).to_have_text(FLOWER)


def test_nothing_of_gradio_is_open_but_what_the_page_needs(photo_server: Server) -> None:
    def ask(path: str, body: dict | None = None, token: str = TOKEN) -> int:
        data = None if body is None else json.dumps(body).encode()
        shown = b64encode(f"any:{token}".encode()).decode()
        headers = {"Authorization": f"Basic {shown}", "Content-Type": "application/json"}
        try:
            return urllib.request.urlopen(urllib.request.Request(photo_server.url + path, data, headers)).status
        except urllib.error.HTTPError as error:
            return error.code

    assert ask("/en/") == 200 and ask("/en/", token="guess") == 401 and ask("/en/theme.css", token="") == 401
    api = "/en/gradio_api"
    for path in ("/file=/etc/hostname", "/proxy=http://127.0.0.1:1/", "/heartbeat/a", "/info", "/runs", "/monitoring/summary", "/app_id"):
        assert ask(api + path) == 404, path
    for path in ("/upload", "/run/predict", "/call/predict", "/process_recording", "/vibe-edit"):
        assert ask(api + path, {}) == 404, path
    assert ask("/en/login", {}) == 404 and ask("/en/assets/../../../page.py") in (403, 404)
    file = {"path": "http://127.0.0.1:1/", "meta": {"_type": "gradio.FileData"}}
    for data in ([file], [[file]], [{"a": 1}], None, "text"):
        assert ask(f"{api}/queue/join", {"data": data, "fn_index": 0, "session_hash": "a"}) == 400, data
    assert ask(f"{api}/queue/join", {"data": ["a" * 300_000], "fn_index": 0, "session_hash": "a"}) == 413
