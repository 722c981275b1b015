"""Two small runs behind real servers, and Debian's Chromium in front of them. What a page asks for outside of its server fails a test."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

import liandan
from tests.browser.material import ANSWERS, MODEL, PICTURES, SIZE, STEPS, answers, photographs
from tests.deploy.servers import DEADLINE, Server, serving

CHROMIUM = "/usr/bin/chromium"
TOKEN = "only I know"


@pytest.fixture(scope="session")
def photo_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    photographs(folder)
    eval_steps = [{"name": "resize", "size": [SIZE, SIZE]}, "to_float", {"name": "normalize", "mean": [0.5], "std": [0.25]}]
    values = {
        "version": 1, "task": "image_classification", "name": "temple-or-flower",
        "data": {"train": str(folder), "val": {"hold_out": 0.2}, "workers": 0, "transforms": {"train": eval_steps, "eval": eval_steps}},
        "model": MODEL,
        "optimizer": {"name": "adamw", "lr": 2e-3},
        "train": {"duration": {"steps": STEPS}, "batch_size": 12, "threads": 1, "precision": "fp32"},
        "evaluate": {"every": {"steps": STEPS}},
        "run": {"dir": str(tmp_path_factory.mktemp("run") / "temple-or-flower")},
    }  # fmt: skip
    return liandan.train(liandan.recipe.make_recipe(values)).path


@pytest.fixture(scope="session")
def talk_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("questions")
    answers(folder / "questions.jsonl")
    values = {
        "version": 1, "task": "sft", "name": "炼丹问答",
        "data": {
            "train": str(folder / "questions.jsonl"), "val": str(folder / "questions.jsonl"), "workers": 0,
            "text": {"tokenizer": "bpe", "vocab_size": 600, "context": 1024},
        },
        "model": {"name": "liandan/gpt", "n_layer": 2, "n_head": 4, "width": 96},
        "optimizer": {"name": "adamw", "lr": 4e-3},
        "train": {"duration": {"steps": 240}, "batch_size": 12, "clip_norm": 1.0, "threads": 1, "precision": "fp32"},
        "evaluate": {"every": {"steps": 240}},
        "run": {"dir": str(tmp_path_factory.mktemp("run") / "炼丹问答")},
    }  # fmt: skip
    return liandan.train(liandan.recipe.make_recipe(values)).path


@pytest.fixture(scope="session")
def write_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned nothing and writes on and on, for seconds: a text of a language model has no end of its own."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("\n\n".join([*ANSWERS, *ANSWERS.values()] * 6), encoding="utf-8")
    values = {
        "version": 1, "task": "language_model", "name": "endless",
        "data": {
            "train": str(folder / "text.txt"), "val": {"hold_out": 0.1}, "workers": 0,
            "text": {"tokenizer": "bpe", "vocab_size": 512, "context": 1024},
        },
        "model": {"name": "liandan/gpt", "n_layer": 12, "n_head": 6, "width": 384},
        "optimizer": {"name": "adamw", "lr": 1e-3},
        "train": {"duration": {"steps": 2}, "batch_size": 1, "threads": 1, "precision": "fp32"},
        "evaluate": {"every": {"steps": 2}},
        "run": {"dir": str(tmp_path_factory.mktemp("run") / "endless")},
    }  # fmt: skip
    return liandan.train(liandan.recipe.make_recipe(values)).path


@pytest.fixture(scope="session")
def write_server(write_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(write_run, tmp_path_factory.mktemp("serve")) as server:
        yield server
        assert server.end() == 0


@pytest.fixture(scope="session")
def photo_server(photo_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a token, as one that other machines can reach has."""
    with serving(photo_run, tmp_path_factory.mktemp("serve"), "--token", TOKEN) as server:
        yield server
        assert server.end() == 0


@pytest.fixture(scope="session")
def talk_server(talk_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(talk_run, tmp_path_factory.mktemp("serve")) as server:
        yield server
        assert server.end() == 0


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=1000 * DEADLINE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@dataclass
class Window:
    """A browser window at a server, what it asked for, and what the server's policy kept it from asking for."""

    page: Page
    asked: list[str]
    blocked: list[str]
    failures: list[str]

    def picture(self, name: str) -> None:
        """Keep a screenshot for the docs, where they are asked for."""
        if PICTURES is not None:
            from PIL import Image

            PICTURES.mkdir(exist_ok=True)
            file = PICTURES / f"{name}.png"
            self.page.screenshot(path=file)
            Image.open(file).convert("RGB").quantize(192).save(file, optimize=True)


def window(chromium: Browser, server: Server, locale: str = "en-US", width: int = 1080, height: int = 760) -> Iterator[Window]:
    """A window at a server's address, in a browser of a language; at its end, that it asked nobody else and nothing failed."""
    context: BrowserContext = chromium.new_context(
        locale=locale, viewport={"width": width, "height": height}, http_credentials={"username": "any", "password": TOKEN}
    )
    context.set_default_timeout(1000 * DEADLINE)
    page, asked, blocked, failures = context.new_page(), [], [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("requestfailed", lambda request: blocked.append(request.url) if request.failure == "csp" else None)
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.on("response", lambda reply: failures.append(f"{reply.status} {reply.url}") if reply.status in range(400, 503) else None)
    page.on("dialog", lambda dialog: failures.append(f"a dialog: {dialog.message}"))
    page.goto(server.url)
    page.wait_for_selector(".ld-head")
    yield Window(page, asked, blocked, failures)
    context.close()
    elsewhere = [url for url in asked if not url.startswith((f"{server.url}/", "data:", "blob:")) and url not in blocked]
    assert not elsewhere and not failures, (elsewhere, failures)
