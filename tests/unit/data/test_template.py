"""What is trained is, token for token, what chat sends; the mask is exact for every turn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from liandan.data import tokenizer as tokenizers
from liandan.data.chat_pipeline import ChatPipeline
from liandan.data.conversations import Message, read_conversations
from liandan.data.errors import DataError
from liandan.data.template import TEMPLATES, Template

SAID = [
    Message("system", "你是詩人。"), Message("user", "白日依山盡？"), Message("assistant", "黃河入海流。"), Message("user", "欲窮千里目？"),
    Message("assistant", "更上一層樓。", 0.5),
]  # fmt: skip


@pytest.fixture(scope="module")
def template() -> Template:
    tokenizer = tokenizers.train(["白日依山盡，黃河入海流。欲窮千里目，更上一層樓。system user assistant\n" * 20], "bpe", 400)
    return Template(TEMPLATES["chatml"], tokenizer, {}, tokenizer.ids(["<|im_end|>"]))


def test_what_is_learned_is_the_answers_and_the_marks_that_end_them(template: Template) -> None:
    found = template.encode(SAID)
    pieces = {w: template.tokenizer.decode(found.ids[found.weights == w]) for w in (0.5, 1.0)}
    assert pieces == {1.0: "黃河入海流。<|im_end|>", 0.5: "更上一層樓。<|im_end|>"}
    assert template.tokenizer.decode(found.ids) == template.render(SAID)


@pytest.mark.parametrize("turns", [2, 4])
def test_chat_sends_what_training_gave(template: Template, turns: int) -> None:
    """The prompt of each answer is the beginning of the conversation that was learned."""
    sent, learned = template.encode(SAID[:turns]).ids, template.encode(SAID).ids
    assert np.array_equal(sent, learned[: len(sent)]) and template.tokenizer.decode(sent).endswith("<|im_start|>assistant\n")


def test_prompts_are_those_of_transformers(template: Template) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_object=template.tokenizer._engine)
    theirs.chat_template = template.jinja
    messages = [{"role": m.role, "content": m.content} for m in SAID[:4]]
    ids = theirs.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    assert template.encode(SAID[:4]).ids.tolist() == list(ids)


def test_a_template_that_rewrites_earlier_turns_is_refused_for_several_of_them(template: Template) -> None:
    counting = "{{ messages | length }} " + TEMPLATES["chatml"]
    changed = Template(counting, template.tokenizer, {}, template.stops)
    with pytest.raises(DataError, match="rewrites earlier turns"):
        changed.encode(SAID)
    unmarked = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(DataError, match="without a stop token"):
        Template(unmarked, template.tokenizer, {}, template.stops).encode(SAID[1:3])


@pytest.mark.parametrize(
    "harm", ["{{ ''.__class__.__mro__ }}", "{% for x in range(999999999) %}a{% endfor %}", "{{ cycler.__init__.__globals__ }}"]
)
def test_a_template_runs_in_a_sandbox(template: Template, harm: str) -> None:
    with pytest.raises(DataError, match="does not take these messages"):
        Template(harm, template.tokenizer, {}, template.stops).render(SAID)


def test_the_pipeline_survives_its_file_and_pads_at_the_end(tmp_path: Path) -> None:
    rows = [{"prompt": "白日依山盡？", "completion": "黃河入海流。" * k} for k in (1, 3)]
    (tmp_path / "qa.json").write_text(json.dumps(rows), encoding="utf-8")
    source = read_conversations(tmp_path / "qa.json")
    made = ChatPipeline.fit(source, text={"tokenizer": "bpe", "vocab_size": 300, "context": 40})
    again = ChatPipeline.from_json(json.loads(json.dumps(made.to_json())))
    batch, other = (p.collate([p.samples(source, True).sample(i) for i in range(2)]) for p in (made, again))
    assert batch.keys() == other.keys()
    assert all(np.array_equal(np.asarray(batch[name]), np.asarray(other[name])) for name in batch)
    length = batch["length"].tolist()
    assert length[0] < length[1] and not batch["weights"][0, length[0] :].any() and not batch["ids"][0, length[0] :].any()
    assert made.samples(source, True).cut == sum(len(made.template.encode(source.messages(i)).ids) > 41 for i in range(2))
    with pytest.raises(DataError, match='no template "chatlm"; did you mean "chatml"'):
        ChatPipeline.fit(source, text={"template": "chatlm", "vocab_size": 300})
