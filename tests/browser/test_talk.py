"""The page of a run that answers: text as it is written, what steers it, and a stop that stops."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from liandan.deploy.page_words import WORDS
from tests.browser.conftest import Window, window
from tests.browser.material import ANSWERS, STRANGER
from tests.deploy.servers import Server, until
from tests.recipes.test_readme import blocks

pytestmark = pytest.mark.slow
EN, ZH = WORDS["en"], WORDS["zh"]


@pytest.fixture
def english(chromium: Browser, talk_server: Server) -> Iterator[Window]:
    yield from window(chromium, talk_server)


@pytest.fixture
def chinese(chromium: Browser, write_server: Server) -> Iterator[Window]:
    yield from window(chromium, write_server, "zh-CN", 390, 844)


def steer(page: Page, words: dict[str, str], **values: float) -> None:
    """Set temperature, top_p, limit or seed."""
    if not page.get_by_text(words["talk.seed"], exact=True).is_visible():
        page.get_by_role("button", name=words["talk.settings"]).click()
    for name, value in values.items():
        box = page.get_by_label(re.compile(words[f"talk.{name}"])).and_(page.locator("input[type=number]"))
        box.fill(str(value))
        box.press("Tab")


def ask(page: Page, words: dict[str, str], text: str) -> None:
    page.get_by_placeholder(words["talk.box"]).fill(text)
    page.get_by_placeholder(words["talk.box"]).press("Enter")


def at_work(server: Server, count: int) -> None:
    """Wait until the server is at work on so many texts."""
    until(lambda: server.metric("liandan_waiting") == count, server.text)


def test_a_conversation(english: Window) -> None:
    page = english.page
    steer(page, EN, temperature=0)
    page.get_by_role("button", name=EN["talk.settings"]).click()  # closed again: what is hidden keeps its value
    for question in ("What is a learning rate?", "什么是过拟合？"):
        ask(page, EN, question)
        expect(page.get_by_test_id("user").last).to_contain_text(question)
        expect(page.get_by_test_id("bot").last).to_contain_text(ANSWERS[question])
        expect(page.get_by_role("button", name=EN["talk.send"])).to_be_visible()
        expect(page.get_by_placeholder(EN["talk.box"])).to_have_value("")
    english.picture("page-talk")
    page.get_by_role("button", name=EN["talk.new"]).click()
    expect(page.get_by_test_id("bot")).to_have_count(0)
    ask(page, EN, "Draw me a picture.")
    expect(page.get_by_test_id("bot").last).to_contain_text("that was it.")
    assert STRANGER in english.blocked, "an image that the model wrote was asked for"


def test_stop_stops(chinese: Window, write_server: Server) -> None:
    page = chinese.page
    steer(page, ZH, limit=1000)
    ask(page, ZH, "什么是学习率？")
    answer = page.get_by_test_id("bot").last
    expect(answer).to_be_visible()
    early = len(answer.inner_text())
    page.wait_for_function("([selector, early]) => [...document.querySelectorAll(selector)].at(-1).innerText.length > early",
                           arg=["[data-testid=bot]", early])  # fmt: skip
    at_work(write_server, 1)
    page.get_by_role("button", name=ZH["talk.stop"]).click()
    at_work(write_server, 0)
    expect(page.get_by_role("button", name=ZH["talk.send"])).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    kept = answer.inner_text()
    steer(page, ZH, limit=8)
    ask(page, ZH, "什么是过拟合？")
    expect(page.get_by_test_id("bot")).to_have_count(2)
    assert page.get_by_test_id("bot").first.inner_text() == kept


def test_who_leaves_is_not_written_for(chromium: Browser, write_server: Server) -> None:
    leaving = window(chromium, write_server)
    page = next(leaving).page
    steer(page, EN, limit=1000)
    ask(page, EN, "What is an epoch?")
    expect(page.get_by_test_id("bot").last).to_be_visible()
    at_work(write_server, 1)
    assert next(leaving, None) is None
    at_work(write_server, 0)


def test_the_program_of_the_docs_works(talk_server: Server, tmp_path: Path) -> None:
    (program,) = blocks("docs/deploy.md", "python")
    (tmp_path / "ask.py").write_text(program.replace("127.0.0.1:8000", f"127.0.0.1:{talk_server.port}"), encoding="utf-8")
    done = subprocess.run([sys.executable, "ask.py"], cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0 and done.stdout, done.stderr
