"""The page a person opens in a browser: Gradio, mounted in the server, at /en/ and /zh/.

It asks the server's engine as every other request does, so its limits, its queue and its deadlines hold here. Of Gradio's own routes only
those are let through that these pages need (page_gate.py): no file is kept or given, no address is fetched, and an event carries text and
numbers alone. What was said stays in the browser: the server remembers nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from liandan.deploy import page_views
from liandan.deploy.backend import Backend
from liandan.deploy.limits import Settings
from liandan.deploy.page_gate import Gate
from liandan.deploy.page_words import WORDS

if TYPE_CHECKING:
    import gradio
    from starlette.types import ASGIApp, Receive, Scope, Send

_STYLE = Path(__file__).with_name("page.css")
_SESSIONS = 256  # browsers of which Gradio keeps the last event, page_gate.EVENT_BYTES at most
_LOOK = 0.2  # seconds between two looks whether the model is there


class Page:
    """/ leads to the browser's language; /en/ and /zh/ are the page, which says that the model is being loaded while it is.

    Args:
        backend: the engine that answers.
        settings: of the server; what a photo and an answer may be long.
    """

    def __init__(self, backend: Backend, settings: Settings) -> None:
        self.backend, self.settings = backend, settings
        self._pages: dict[str, ASGIApp] = {language: _notice(words, words["loading"]) for language, words in WORDS.items()}
        self._opened = contextlib.AsyncExitStack()
        self._opening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to build the page; returns at once."""
        self._opening = asyncio.create_task(self._open())

    async def close(self) -> None:
        """Nothing of the page runs any more."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self._opened.aclose()

    def routes(self) -> list[BaseRoute]:
        """For the server's router."""
        pages = [Mount(f"/{language}", partial(self._at, language)) for language in WORDS]
        return [Route("/", _home), Route("/favicon.ico", _icon), *pages]

    async def _at(self, language: str, scope: Scope, receive: Receive, send: Send) -> None:
        await self._pages[language](scope, receive, send)

    async def _open(self) -> None:
        try:
            await asyncio.to_thread(_import_gradio)  # seconds, in which the server answers already
            while not self.backend.facts:
                await asyncio.sleep(_LOOK)
            for language, words in WORDS.items():
                app = _mounted(self._blocks(words), words, self.settings.max_body)
                await self._opened.enter_async_context(app.router.lifespan_context(app))
                self._pages[language] = Gate(app)
        except Exception as error:
            logging.getLogger(__name__).warning("there is no page: %s", error, exc_info=not isinstance(error, ImportError))
            for language, words in WORDS.items():
                self._pages[language] = _notice(words, words["missing" if isinstance(error, ImportError) else "broken"], again=False)

    def _blocks(self, words: page_views.Words) -> gradio.Blocks:
        """The page of a run that sees, writes or reads."""
        if self.backend.facts["sees"]:
            return page_views.photo(words, self.backend, self.settings.max_body)
        if self.backend.facts["writes"]:
            return page_views.talk(words, self.backend, self.settings.max_tokens)
        return page_views.read(words, self.backend)


def _import_gradio() -> None:
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # it is read on import
    import gradio  # noqa: F401


def _mounted(blocks: gradio.Blocks, words: page_views.Words, max_bytes: int) -> Any:
    """A FastAPI app of one page, with what Gradio would do by itself switched off."""
    import gradio as gr
    from fastapi import FastAPI

    blocks.queue(default_concurrency_limit=None, api_open=False)  # the queue that is bounded is the backend's
    blocks.state_session_capacity = _SESSIONS
    return gr.mount_gradio_app(
        FastAPI(openapi_url=None), blocks, path="", theme=_theme(), css_paths=_STYLE,
        js=f"document.documentElement.lang = '{words['lang']}'", footer_links=[], run_history=False, ssr_mode=False, pwa=False,
        mcp_server=False, enable_monitoring=False, show_error=False, max_file_size=max_bytes,
    )  # fmt: skip


def _home(request: Request) -> Response:
    return RedirectResponse(f"/{spoken(request.headers.get('accept-language', ''))}/", headers={"Vary": "Accept-Language"})


def _icon(request: Request) -> Response:
    """A ball of cinnabar."""
    drawn = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3" fill="#b5382a"/></svg>'
    return Response(drawn, media_type="image/svg+xml", headers={"Cache-Control": "max-age=86400"})


def _notice(words: page_views.Words, said: str, again: bool = True) -> ASGIApp:
    """What is seen where the page is not, or not yet; then it looks again by itself."""
    refresh = '<meta http-equiv="refresh" content="1">' if again else ""
    text = f"""<!doctype html><html lang="{words["lang"]}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{refresh}<title>liandan 炼丹</title>
<body style="margin:0;min-height:100vh;display:grid;place-items:center;background:#faf7f2;color:#6f665f;font:1.05rem system-ui,sans-serif">
<p><span style="color:#b5382a">炼丹</span>&ensp;{said}</p>"""
    policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    return HTMLResponse(text, 503, {"Cache-Control": "no-store", "Content-Security-Policy": policy})


def spoken(accepted: str) -> str:
    """The page's language for an Accept-Language header: the first of the browser's that there is, else English."""
    wanted = (part.split(";")[0].strip().lower()[:2] for part in accepted.split(","))
    return next((language for language in wanted if language in WORDS), "en")


def _theme() -> Any:
    """Gradio's plain theme with the fonts of the machine: none is fetched."""
    from gradio.themes import Base, Color

    sans = ["system-ui", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", "sans-serif"]
    red = ["fbf1ee", "f6e0da", "ecc3b9", "dfa092", "cf7565", "b5382a", "a83326", "8f2b20", "75251c", "5c1f18", "3a130e"]
    shades = Color(*(f"#{shade}" for shade in red))
    return Base(primary_hue=shades, neutral_hue="stone", radius_size="lg", font=sans, font_mono=["ui-monospace", "monospace"])
