"""Format hf: a folder that plain transformers loads, with the tokenizer, the chat template and the tokens that end an answer.

Proven by loading it again, as others will: the same logits on the same tokens, the same tokens for the same question, and the same text
written after it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from liandan.deploy.export import ExportError, Unfaithful
from liandan.runs import store
from liandan.runtime.opened import OpenRun

_BOUND = 1e-3  # largest difference of two logits, as a fraction of the largest logit: above what merging and another order of sums round
_QUESTION = "炼丹 is what?  3.14\n"
_WRITTEN = 16  # tokens written after the question
_GENERATION = "generation_config.json"


def write(run: OpenRun, folder: Path) -> dict[str, Any]:
    """Write a language model's run into `folder`.

    Returns:
        {"largest_difference": of two logits, before the adapter was merged and after the folder was loaded again, "tokens": compared,
        "written": tokens that both wrote, the likeliest at each place}.

    Raises:
        ExportError: the run is none of a language model. Unfaithful: what was loaded again answers or asks otherwise.
    """
    if not hasattr(run.pipeline, "transformers_files"):
        raise ExportError(f"a run of {run.recipe.task} is no language model, which format hf is for")
    run.model.to("cpu")
    run.compute_in_float32()
    files = run.pipeline.transformers_files()
    ids = _tokens(run, bool(files))
    with torch.no_grad():
        before = run.model(ids)
        text = _write(run.model, ids, run.pipeline.context)
    run.merge_adapter()
    with _no_bars():
        run.to_transformers().save_pretrained(folder)
    base = run.layout.base / _GENERATION  # how its makers meant it to be sampled
    if _GENERATION in files and base.is_file():
        files[_GENERATION] = {**store.read_json(base), **files[_GENERATION]}
    for name, value in files.items():
        store.write_json_atomic(folder / name, value)
    return _prove(run, folder, ids, before, text, "tokenizer.json" in files)


def _tokens(run: OpenRun, has_tokenizer: bool) -> Tensor:
    """int64 (1, T): a question as the run's chat sends it, or plain tokens where there is no tokenizer."""
    if not has_tokenizer:
        return torch.arange(min(16, run.pipeline.context, run.pipeline.vocab_size))[None]
    return torch.from_numpy(run.pipeline.encode(_QUESTION))[None, : run.pipeline.context]


def _write(logits: Callable[[Tensor], Tensor], ids: Tensor, context: int) -> Tensor:
    """int64 (1, T): ids and the likeliest tokens after them."""
    for _ in range(min(_WRITTEN, context - ids.shape[1])):
        ids = torch.cat((ids, logits(ids)[:, -1:].argmax(-1)), dim=1)
    return ids


def _prove(run: OpenRun, folder: Path, ids: Tensor, before: Tensor, text: Tensor, has_tokenizer: bool) -> dict[str, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _no_bars():
        again = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, trust_remote_code=False).eval()
    with torch.no_grad():
        after = again(ids).logits
        theirs = _write(lambda tokens: again(tokens).logits, ids, run.pipeline.context)
    difference, largest = float((after.double() - before.double()).abs().max()), float(before.abs().max())
    if not difference <= _BOUND * largest:
        told = f"logits differ by {difference:.3g} from the run's, whose largest is {largest:.3g}"
        raise Unfaithful(f"transformers does not load the same model: {told}")
    apart = torch.nonzero(theirs[0] != text[0])
    if len(apart):
        _equal_choice(again, text[:, : int(apart[0]) + 1], theirs[0, int(apart[0])], _BOUND * largest)
    if has_tokenizer:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if tokenizer.chat_template is None:
            asked = tokenizer(_QUESTION, add_special_tokens=False)["input_ids"]
        else:
            messages = [{"role": "user", "content": _QUESTION}]
            asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        wanted = run.pipeline.encode(_QUESTION).tolist()
        if list(asked) != wanted:
            raise Unfaithful(f"transformers does not make the same tokens of a question: {list(asked)[:12]}, the run {wanted[:12]}")
    same = int(apart[0]) if len(apart) else text.shape[1]
    return {"largest_difference": difference, "tokens": ids.shape[1], "written": same - ids.shape[1]}


def _equal_choice(again: Any, text: Tensor, other: Tensor, bound: float) -> None:
    """Two texts may part where two tokens are equally likely but for rounding, and nowhere else.

    Args:
        text: int64 (1, T), the last of which is the run's where transformers wrote `other`.
    """
    with torch.no_grad():
        logits = again(text[:, :-1]).logits[0, -1]
    if not float(logits[other] - logits[text[0, -1]]) <= 2 * bound:
        raise Unfaithful(f"transformers does not write the same text: token {int(other)}, the run {int(text[0, -1])}")


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without transformers' progress bars, for which there is too little to wait."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
