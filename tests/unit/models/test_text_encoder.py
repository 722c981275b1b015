"""Models that read a whole text: padding changes nothing, and of transformers' own the numbers are transformers' own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from liandan import models
from liandan.models import ModelError, adapter
from liandan.models.freeze import freeze
from liandan.models.weights import load_weights

IDS = torch.tensor([[2, 7, 1, 8, 2, 8, 1, 8], [3, 1, 4, 0, 0, 0, 0, 0]])
MASK = torch.tensor([[1] * 8, [1] * 3 + [0] * 5], dtype=torch.bool)


def bert(folder: Path, head: str = "BertModel") -> Path:
    """A small BERT of random weights, saved by transformers."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=16,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    getattr(transformers, head)(config).save_pretrained(folder)
    return folder


@pytest.fixture(params=["liandan/text_encoder", "hf/"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> nn.Module:
    torch.manual_seed(1)
    if request.param == "hf/":
        return models.build(f"hf/{bert(tmp_path)}", num_classes=3).double()
    return models.build(request.param, vocab_size=32, context=16, num_classes=3, width=16, n_layer=2, dropout=0.0).double()


@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_rounding_only(model: nn.Module, training: bool) -> None:
    model.train(training)
    together = model(IDS, MASK)
    alone = torch.cat([model(IDS[:1], MASK[:1]), model(IDS[1:, :3], MASK[1:, :3])])
    assert together.shape == (2, 3) and torch.allclose(together, alone, rtol=0, atol=1e-12)
    assert not torch.allclose(model(IDS, torch.ones_like(MASK)), together, atol=1e-6), "this comparison could not fail"


def test_layers_begin_apart() -> None:
    layers = models.build("liandan/text_encoder", vocab_size=8, context=4, num_classes=2, width=8).state_dict()
    assert not torch.equal(layers["blocks.0.linear1.weight"], layers["blocks.1.linear1.weight"])
    with pytest.raises(ModelError, match="try width=8"):
        models.build("liandan/text_encoder", vocab_size=8, context=4, num_classes=2, width=10)


@pytest.mark.parametrize("head", ["BertModel", "BertForMaskedLM", "BertForSequenceClassification"])
def test_the_mean_is_of_transformers_hidden_states(tmp_path: Path, head: str) -> None:
    theirs = pytest.importorskip("transformers").AutoModel.from_pretrained(bert(tmp_path, head)).eval()
    ours = models.build(f"hf/{tmp_path}", num_classes=3).eval()
    report = load_weights(ours, tmp_path)
    others = ("cls.", "classifier.", "bert.pooler", "pooler")  # parts of the heads that the folder's model has
    assert report.missing == ["head.weight", "head.bias"] and all(n.startswith(others) for n in report.unexpected), report
    seen: list[torch.Tensor] = []
    ours.head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))  # pyright: ignore
    with torch.no_grad():
        ours(IDS, MASK)
        hidden = [theirs(input_ids=IDS[i : i + 1, :n]).last_hidden_state.mean(1) for i, n in ((0, 8), (1, 3))]
    assert torch.allclose(seen[0], torch.cat(hidden), atol=1e-6)


def test_the_names_of_the_first_bert_files(tmp_path: Path) -> None:
    file = bert(tmp_path) / "model.safetensors"
    first = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    save_file({re.sub("|".join(first), lambda m: first[m[0]], name): tensor for name, tensor in load_file(file).items()}, file)
    assert load_weights(models.build(f"hf/{tmp_path}", num_classes=3), tmp_path).missing == ["head.weight", "head.bias"]


def test_the_backbone_is_frozen_and_another_number_of_classes_begins_anew(tmp_path: Path) -> None:
    ours = models.build(f"hf/{bert(tmp_path)}", num_classes=3)
    freeze(ours, ["backbone"])
    assert [n for n, p in ours.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]
    save_file(ours.state_dict(), tmp_path / "run.safetensors")
    other = models.build(f"hf/{tmp_path}", num_classes=5)
    report = load_weights(other, tmp_path / "run.safetensors")
    assert report.fresh == ["head.weight", "head.bias"] and not report.unexpected


def test_a_new_head_learns_beside_an_adapter(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    ours = models.build(f"hf/{bert(tmp_path)}", num_classes=3)
    report = load_weights(ours, tmp_path)
    adapter.adapt(ours, "lora", {"rank": 2}, report.fresh)
    learning = {n for n, p in ours.named_parameters() if p.requires_grad}
    assert {"head.weight", "head.bias"} < learning == set(ours.state_dict())
    ours.load_state_dict(ours.state_dict())
    with pytest.raises(RuntimeError, match=r"Missing key.*head.bias"):
        ours.load_state_dict({k: v for k, v in ours.state_dict().items() if k != "head.bias"})
    merged = adapter.merge(ours).state_dict()
    assert merged.keys() == models.build(f"hf/{tmp_path}", num_classes=3).state_dict().keys()


def test_a_model_that_reads_and_writes_is_refused(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    transformers.T5Config(vocab_size=8).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="t5 reads and writes"):
        models.build(f"hf/{tmp_path}", num_classes=2)
