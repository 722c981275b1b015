"""What is on the page: a photo and what the model sees in it, a conversation, or a text and its classes."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liandan.deploy.backend import Backend
from liandan.deploy.errors import ServeError
from liandan.deploy.page_words import WORDS

if TYPE_CHECKING:
    import gradio

_HERE = Path(__file__).parent
_BARS = 5
_ROLES = ("user", "assistant")
_SAID = {  # an error's code -> what the page says
    "unreadable": "refused.unreadable", "too_many_pixels": "refused.pixels", "context_length_exceeded": "refused.long",
    "queue_full": "refused.busy", "not_ready": "refused.busy", "timeout": "refused.late", "inference_died": "refused.died",
}  # fmt: skip
Words = Mapping[str, str]


def photo(words: Words, backend: Backend, max_bytes: int) -> gradio.Blocks:
    """Drop a photo; see the classes as bars, where the model looked, the time, and who answered."""
    import gradio as gr

    async def predict(sent: Any) -> dict[str, Any]:
        try:
            found, how = await _answered(words, backend, _photo(sent))
        except ServeError as error:
            return {"html": f'<p class="ld-refused">{refused(words, error)}</p>'}
        rows = bars(found)
        shown = f"{_best(words, found)}{_list(rows)}{how}"
        if not backend.facts["labels"]:
            return {"html": shown}
        return {"html": f'{shown}<div class="ld-heat"><p class="ld-how">{words["result.explaining"]}</p></div>', "explain": rows[0][0]}

    async def explain(sent: Any) -> dict[str, Any]:
        label = str(sent.data.get("label"))
        try:
            _, picture = await backend.explain(_photo(sent), label)
        except ServeError as error:
            return {"html": f'<p class="ld-how">{refused(words, error)}</p>'}
        name, source = html.escape(label), f"data:image/png;base64,{base64.b64encode(picture).decode()}"
        said, alt = words["result.looked"].format(label=name), words["result.looked.alt"].format(label=name)
        return {"html": f'<figure><img src="{source}" alt="{alt}"><figcaption>{said}</figcaption></figure>'}

    said: dict[str, Any] = {key: words[f"photo.{key}"] for key in ("pick", "drop", "again", "alt", "hint", "looking")}
    with gr.Blocks(title=_title(backend), analytics_enabled=False) as blocks:
        gr.HTML(_head(words, backend), apply_default_css=False)
        gr.HTML(
            html_template=(_HERE / "photo.html").read_text(encoding="utf-8"), js_on_load=(_HERE / "photo.js").read_text(encoding="utf-8"),
            apply_default_css=False, server_functions=[predict, explain], most=max_bytes,
            large=words["refused.size"].format(limit=max_bytes >> 20), unreachable=words["refused.unreachable"], **said,
        )  # fmt: skip
    return blocks


def talk(words: Words, backend: Backend, max_tokens: int) -> gradio.Blocks:
    """A conversation, or for a model that only writes on, a text: as it is written, what steers it, and a button that stops it."""
    import gradio as gr

    chats = backend.facts["chats"]

    def going() -> dict[str, Any]:  # made anew for each event: Gradio takes them apart
        return gr.update(value="", submit_btn=False, stop_btn=words["talk.stop"])

    def resting(**also: Any) -> dict[str, Any]:
        return gr.update(submit_btn=words["talk.send"], stop_btn=False, **also)

    async def answer(
        text: str, past: str, system: str, temperature: float, top_p: float, limit: float, seed: float | None
    ) -> AsyncIterator[Any]:
        before = messages_of(past)
        if not text.strip():
            yield resting(), gr.skip(), gr.skip()
            return
        asked = [*before, {"role": "user", "content": text}]
        given = [{"role": "system", "content": system}, *asked] if system.strip() else asked
        steered: Any = {"how": {"temperature": temperature, "top_p": top_p}, "limit": int(limit), "seed": int(seed or 0)}
        made = ""
        yield going(), asked, gr.skip()
        try:
            what: Any = {"messages": given} if chats else {"prompts": [text]}
            with contextlib.closing(await backend.generate(**what, **steered)) as pieces:
                async for piece in pieces:
                    made += piece["text"]
                    said = [*asked, {"role": "assistant", "content": made}]
                    yield gr.skip(), said, json.dumps(said, ensure_ascii=False)
            yield resting(), gr.skip(), gr.skip()
        except ServeError as error:
            gr.Warning(refused(words, error), title="")
            yield (resting(), gr.skip(), gr.skip()) if made else (resting(value=text), before, gr.skip())

    with gr.Blocks(title=_title(backend), analytics_enabled=False) as blocks:
        gr.HTML(_head(words, backend), apply_default_css=False)
        hint = html.escape(words["talk.hint" if chats else "talk.hint.write"].format(name=backend.facts["name"]))
        said = gr.Chatbot(
            label=words["talk.label"], show_label=False, placeholder=hint, height="58vh", buttons=["copy"], allow_tags=False,
            feedback_options=None, elem_classes="ld-talk",
        )  # fmt: skip
        box = gr.Textbox(
            label=words["talk.box"], placeholder=words["talk.box"], show_label=False, submit_btn=words["talk.send"], max_lines=8,
            autofocus=True, elem_classes="ld-box",
        )  # fmt: skip
        past = gr.Textbox("[]", visible="hidden")
        new = gr.Button(words["talk.new"], size="sm", elem_classes="ld-new")
        with gr.Accordion(words["talk.settings"], open=False, elem_classes="ld-more"):
            steers = _steers(words, backend.facts, max_tokens)
        asked = box.submit(
            answer, [box, past, *steers], [box, said, past], concurrency_limit=None, show_progress="hidden", api_visibility="private"
        )
        box.stop(resting, None, box, cancels=[asked], api_visibility="private")
        new.click(lambda: (resting(), [], "[]"), None, [box, said, past], cancels=[asked], api_visibility="private")
    return blocks


def read(words: Words, backend: Backend) -> gradio.Blocks:
    """Write a text; see its classes as bars."""
    import gradio as gr

    async def predict(text: str) -> str:
        if not text.strip():
            return hint
        try:
            found, how = await _answered(words, backend, text.encode("utf-8", "replace"))
        except ServeError as error:
            return f'<p class="ld-refused">{refused(words, error)}</p>'
        return f"{_best(words, found)}{_list(bars(found))}{how}"

    with gr.Blocks(title=_title(backend), analytics_enabled=False) as blocks:
        gr.HTML(_head(words, backend), apply_default_css=False)
        hint = f'<p class="ld-hint">{words["read.hint"]}</p>'
        box = gr.Textbox(
            label=words["read.box"], placeholder=words["read.box"], show_label=False, lines=4, max_lines=12, submit_btn=words["read.send"],
            autofocus=True, elem_classes="ld-box",
        )  # fmt: skip
        found = gr.HTML(hint, apply_default_css=False, elem_classes="ld-found ld-read")
        box.submit(predict, box, found, concurrency_limit=None, show_progress="hidden", api_visibility="private")
    return blocks


def _steers(words: Words, facts: Mapping[str, Any], max_tokens: int) -> list[Any]:
    """System text, temperature, top-p, length and seed."""
    import gradio as gr

    def told(key: str) -> dict[str, Any]:
        return {"label": words[f"talk.{key}"], "info": words[f"talk.{key}.info"]}

    most = min(facts["context"], max_tokens)
    system = gr.Textbox("", lines=2, visible=facts["system"], **told("system"))
    with gr.Row():
        temperature = gr.Slider(0.0, 2.0, 0.7, step=0.05, **told("temperature"))
        top_p = gr.Slider(0.05, 1.0, 0.95, step=0.05, **told("top_p"))
    with gr.Row():
        limit = gr.Slider(1, most, min(256, most), step=1, **told("limit"))
        seed = gr.Number(0, precision=0, minimum=0, maximum=2**31, **told("seed"))
    return [system, temperature, top_p, limit, seed]


async def _answered(words: Words, backend: Backend, content: bytes) -> tuple[dict[str, Any], str]:
    """A prediction, and a line of HTML that says how long it took and who made it; raises ServeError, for what cannot be read too."""
    begun = time.perf_counter()
    (found,) = await backend.predict([content])
    seconds = time.perf_counter() - begun
    if "error" in found:
        raise ServeError(**found["error"])
    how = f"{words['result.time'].format(ms=f'{1000 * seconds:.0f}')} · {words['result.by'].format(artefact=backend.facts['artefact'])}"
    return found, f'<p class="ld-how">{html.escape(how)}</p>'


def messages_of(text: str) -> list[dict[str, str]]:
    """The conversation that a browser kept; none where it is not one."""
    try:
        kept = json.loads(text)
    except (ValueError, RecursionError):
        return []
    rows = kept if isinstance(kept, list) else []
    good = all(isinstance(m, dict) and m.get("role") in _ROLES and isinstance(m.get("content"), str) for m in rows)
    return [{"role": m["role"], "content": m["content"]} for m in rows] if good else []


def bars(found: Mapping[str, Any]) -> list[tuple[str, float]]:
    """[(class, probability)] of a prediction of whatever task, the most probable first; of several heads one each."""
    if "top" in found:
        return [(row["label"], row["confidence"]) for row in found["top"][:_BARS]]
    return [(f"{head}: {label}", found["confidence"][head]) for head, label in found["labels"].items()]


def refused(words: Words, error: ServeError) -> str:
    """A refusal in the page's language, as HTML."""
    key = _SAID.get(error.code)
    return words[key] if key is not None else html.escape(words["refused.other"].format(why=error.detail))


def _best(words: Words, found: Mapping[str, Any]) -> str:
    """The line above the bars: the class, or those that are there."""
    if "label" in found:
        return f'<p class="ld-best">{html.escape(found["label"])}</p>'
    if not isinstance(found["labels"], list):
        return ""
    there = html.escape(" · ".join(found["labels"])) or words["result.none"]
    return f'<p class="ld-how">{words["result.present"]}</p><p class="ld-best">{there}</p>'


def _list(rows: list[tuple[str, float]]) -> str:
    """Bars for eyes, a list of names and percentages for ears."""
    lines = (
        f'<li><span>{html.escape(name)}</span><span class="ld-sure">{share:.1%}</span>'
        f'<span class="ld-bar"><i style="width:{share:.2%}"></i></span></li>'
        for name, share in rows
    )
    return f'<ol class="ld-bars">{"".join(lines)}</ol>'


def _head(words: Words, backend: Backend) -> str:
    """The page's heading, with the way to the other language."""
    about = html.escape(f"{backend.facts['task'].replace('_', ' ')} · {words['tagline']}")
    switch = f'<a href="../{words["other"]}/" lang="{WORDS[words["other"]]["lang"]}">{words["switch"]}</a>'
    name = html.escape(backend.facts["name"])
    return (
        f'<header class="ld-head"><span class="ld-mark" aria-hidden="true">炼丹</span><h1>{name}</h1>'
        f'<span class="ld-about">{about}</span>{switch}</header>'
    )


def _title(backend: Backend) -> str:
    return f"{backend.facts['name']} · liandan 炼丹"


def _photo(sent: Any) -> bytes:
    """The one file of a call."""
    files = getattr(sent, "files", [])
    return files[0][1] if len(files) == 1 else b""
