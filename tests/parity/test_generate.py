"""Against transformers' generate with the same weights: greedy, beams, penalties, batches of several lengths; of liandan/gpt and of hf/."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from liandan import models
from liandan.models.beam_search import beam_search
from liandan.models.decoder import Decoder, decoder
from liandan.models.gpt import GPT, to_llama
from liandan.models.sampling import GREEDY, Sampling, generate
from liandan.models.weights import load_weights

transformers = pytest.importorskip("transformers")
ENDS = [3, 5]


@pytest.fixture(scope="module")
def llama() -> Any:
    """A Llama of random weights, large enough that one logit can be told from another."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=64, tie_word_embeddings=True,
    )  # fmt: skip
    made = transformers.LlamaForCausalLM(config).eval()
    for p in made.parameters():
        torch.nn.init.normal_(p, 1.0 if p.dim() == 1 else 0.0, 0.15)
    return made


@pytest.fixture(scope="module", params=["liandan/gpt", "hf/", "decoder"])
def ours(request: pytest.FixtureRequest, llama: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same model three times: as our own network, through the folder that transformers writes, and what writes of that."""
    if request.param != "liandan/gpt":
        place = tmp_path_factory.mktemp("模型")
        llama.save_pretrained(place)
        made = models.build(f"hf/{place}").eval()
        load_weights(made, place)
        found = made if request.param == "hf/" else decoder(made, torch.float32)
        assert isinstance(found, Decoder) == (request.param == "decoder")
        return found
    gpt = GPT(vocab_size=61, context=64, n_layer=2, n_head=4, n_kv_head=2, width=32, hidden=48, norm_eps=llama.config.rms_norm_eps).eval()
    names, _ = to_llama({name: torch.tensor(i) for i, name in enumerate(gpt.state_dict())}, gpt.config)
    theirs = llama.state_dict()
    own = list(gpt.state_dict())
    gpt.load_state_dict({own[int(i)]: theirs[name] for name, i in names.items()})
    return gpt


def made(model: Any, prompts: list[list[int]], n: int, how: Sampling = GREEDY) -> torch.Tensor:
    longest = max(map(len, prompts))
    padded = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    lengths = [len(p) for p in prompts]
    return torch.stack(list(generate(model.step, padded, n, how, lengths=lengths, new_cache=model.new_cache, context=model.context)), 1)


def theirs(llama: Any, prompt: list[int], n: int, **options: Any) -> list[int]:
    ids = torch.tensor([prompt])
    told = llama.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False, pad_token_id=0, **options)
    return told[0, len(prompt) :].tolist()


def test_greedy_in_a_batch_of_several_lengths(ours: Any, llama: Any) -> None:
    prompts = [[7, 8, 9, 10, 11], [12], [13, 14]]
    for row, prompt in zip(made(ours, prompts, 25), prompts, strict=True):
        assert row.tolist() == theirs(llama, prompt, 25, eos_token_id=None)


def test_repetition_penalty(ours: Any, llama: Any) -> None:
    assert made(ours, [[7, 8, 9]], 25, Sampling(0.0, repetition_penalty=1.4))[0].tolist() == theirs(
        llama, [7, 8, 9], 25, repetition_penalty=1.4, eos_token_id=None
    )


@pytest.mark.parametrize("penalty", [1.0, 0.0, 2.5, -1.0])
@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("prompt", [[7, 8, 9], [20, 21], [40, 2, 2, 2]])
def test_beams(ours: Any, llama: Any, width: int, penalty: float, prompt: list[int]) -> None:
    ids = torch.tensor([prompt])
    told = llama.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, num_beams=width, num_return_sequences=width, do_sample=False,
        length_penalty=penalty, eos_token_id=ENDS, pad_token_id=60, return_dict_in_generate=True, output_scores=True,
    )  # fmt: skip
    found = beam_search(ours.step, ids, 12, width, penalty, ENDS, context=64, new_cache=ours.new_cache)
    assert len(found) == width
    for beam, sequence, score in zip(found, told.sequences[:, len(prompt) :], told.sequences_scores, strict=True):
        assert beam.tokens.tolist() == sequence[: len(beam.tokens)].tolist() and (sequence[len(beam.tokens) :] == 60).all()
        assert beam.score == pytest.approx(float(score), rel=1e-4)


@pytest.mark.slow
def test_smollm_writes_what_transformers_writes() -> None:
    from liandan import sources

    place = sources.get("smollm2-135m-instruct")
    model: Any = models.build(f"hf/{place}").eval()
    load_weights(model, place)
    llama = transformers.AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    prompt = tokenizer("The capital of France is")["input_ids"]
    told = made(model, [prompt], 16)[0].tolist()
    assert told == theirs(llama, prompt, 16, eos_token_id=None) and "Paris" in tokenizer.decode(told)
