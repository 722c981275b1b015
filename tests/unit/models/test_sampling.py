from typing import Any

import pytest
import torch

from liandan import randomness
from liandan.models.gpt import GPT
from liandan.models.sampling import GREEDY, Sampling, choose, generate, make_keys, narrowed, penalized


def keys(*seeds: int) -> torch.Tensor:
    return torch.tensor([randomness.mix(seed, 0) for seed in seeds])


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    model = GPT(vocab_size=40, context=16, n_layer=2, n_head=2, width=16).double().eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, 0.0, 0.5)
    return model


def run(model: GPT, prompt: torch.Tensor, n: int, *, cached: bool = True, **options: object) -> torch.Tensor:
    cache = model.new_cache if cached else None
    return torch.stack(list(generate(model.step, prompt, n, context=model.context, new_cache=cache, **options)), 1)  # type: ignore[arg-type]


def fixed(row: list[float]):  # a model of one distribution, whatever it has seen
    return lambda tokens, cache: torch.tensor(row, dtype=torch.float64).log().repeat(len(tokens), 1)


PROMPT = torch.tensor([[1, 2, 3], [4, 5, 6], [7, 8, 9]])


def test_greedy_is_the_argmax_of_a_full_recompute(model: GPT) -> None:
    made = run(model, PROMPT, 10, how=GREEDY)
    tokens = PROMPT
    for i in range(10):
        best = model(tokens)[:, -1].argmax(-1)
        assert torch.equal(made[:, i], best)
        tokens = torch.cat((tokens, best[:, None]), 1)


def test_samples_do_not_depend_on_the_batch(model: GPT) -> None:
    together = run(model, PROMPT, 30, keys=keys(1, 2, 3))
    for i in range(3):
        assert torch.equal(run(model, PROMPT[i : i + 1], 30, keys=keys(i + 1))[0], together[i])
    assert torch.equal(run(model, PROMPT.flip(0), 30, keys=keys(3, 2, 1)).flip(0), together)
    assert not torch.equal(run(model, PROMPT, 30, keys=keys(4, 5, 6)), together)


HOWS = [GREEDY, Sampling(), Sampling(0.8, top_p=0.9, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.5)]


@pytest.mark.parametrize("how", HOWS)
def test_prompts_of_several_lengths_are_as_if_alone(model: GPT, how: Sampling) -> None:
    """Also beyond the context, where each slides at its own time."""
    prompts = [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
    padded = torch.tensor([[0] * (5 - len(p)) + p for p in prompts])
    together = run(model, padded, 40, how=how, keys=keys(1, 2, 3), lengths=[len(p) for p in prompts])
    for i, prompt in enumerate(prompts):
        assert torch.equal(run(model, torch.tensor([prompt]), 40, how=how, keys=keys(i + 1))[0], together[i])


def test_the_same_prompt_is_read_once_and_each_sample_is_its_own(model: GPT) -> None:
    read = []

    def step(tokens: torch.Tensor, cache: Any) -> torch.Tensor:
        read.append(tuple(tokens.shape))
        return model.step(tokens, cache)

    same, many = PROMPT[:1].repeat(4, 1), make_keys(5, 4)
    made = torch.stack(list(generate(step, same, 12, keys=many, new_cache=model.new_cache)), 1)
    assert read[:2] == [(1, 3), (4, 1)]
    assert len({tuple(row.tolist()) for row in made}) == 4
    for i in range(4):
        assert torch.equal(run(model, PROMPT[:1], 12, keys=many[i : i + 1])[0], made[i])
    assert torch.equal(make_keys(5, 2), many[:2])


def test_the_caller_ends_a_sequence(model: GPT) -> None:
    done, count = torch.zeros(3, dtype=torch.bool), 0
    free = run(model, PROMPT, 9, keys=keys(1, 2, 3))
    for chosen in generate(model.step, PROMPT, 9, keys=keys(1, 2, 3), new_cache=model.new_cache, done=done):
        assert torch.equal(chosen, torch.stack([free[i, min(count, i)] for i in range(3)]))
        done[:count + 1] = True  # the first after its first token, the second after its second
        count += 1
    assert count == 3


def test_a_generation_taken_up_again_goes_on_as_it_would_have(model: GPT) -> None:
    whole = run(model, PROMPT, 12, keys=keys(1, 2, 3))
    rest = run(model, torch.cat((PROMPT, whole[:, :5]), 1), 7, keys=keys(1, 2, 3))
    assert torch.equal(rest, whole[:, 5:])


@pytest.mark.parametrize("how", [GREEDY, Sampling(), Sampling(repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.5)])
def test_with_and_without_cache_also_beyond_the_context(model: GPT, how: Sampling) -> None:
    options = {"how": how, "keys": keys(1, 2, 3)}
    assert torch.equal(run(model, PROMPT, 50, **options), run(model, PROMPT, 50, cached=False, **options))


def test_sliding_shows_the_model_the_newer_half() -> None:
    seen = []

    def step(tokens: torch.Tensor, cache: object) -> torch.Tensor:
        seen.append(tokens[0].tolist())
        return torch.nn.functional.one_hot((tokens[:, -1] + 1) % 100, 100).double()  # counts

    made = list(generate(step, torch.tensor([[0, 1, 2]]), 6, how=GREEDY, context=4))
    assert [int(m) for m in made] == [3, 4, 5, 6, 7, 8]
    assert seen == [[0, 1, 2], [0, 1, 2, 3], [3, 4], [3, 4, 5], [3, 4, 5, 6], [6, 7]]


def test_stopping_at_the_context_uses_all_of_it(model: GPT) -> None:
    made = run(model, PROMPT, 50, how=GREEDY, when_full="stop")
    assert made.shape[1] == 16 - 3 + 1  # the last token is made from a full context and need not be seen
    assert torch.equal(made, run(model, PROMPT, 50, how=GREEDY)[:, :14])
    with pytest.raises(ValueError, match="at most context=16 tokens, received 17"):
        run(model, torch.zeros(1, 17, dtype=torch.long), 1, how=GREEDY, when_full="stop")
    assert run(model, torch.zeros(1, 40, dtype=torch.long), 5, how=GREEDY).shape == (1, 5)  # slides at once


def test_a_stop_ends_each_sequence_and_then_all() -> None:
    step, many = fixed([0.3, 0.7]), keys(*range(8))
    made = torch.stack(list(generate(step, torch.ones(8, 1, dtype=torch.long), 100, keys=many, stops=[0])), 1)
    free = torch.stack(list(generate(step, torch.ones(8, 1, dtype=torch.long), 100, keys=many)), 1)
    first = (free == 0).int().argmax(1)
    assert made.shape[1] == int(first.max()) + 1 and len(set(first.tolist())) > 1
    for row, whole, end in zip(made, free, first, strict=True):
        assert torch.equal(row[: end + 1], whole[: end + 1]) and (row[end:] == 0).all()


def frequencies(how: Sampling, n: int = 20_000) -> torch.Tensor:
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4]).log().repeat(n, 1)
    many = torch.tensor([randomness.mix(7, i) for i in range(n)])
    return torch.bincount(choose(logits, how, many, 3), minlength=4) / n


def test_gumbel_max_samples_the_softmax() -> None:
    bound = 5 * (0.25 / 20_000) ** 0.5  # five standard errors
    p = torch.tensor([0.1, 0.2, 0.3, 0.4])
    assert (frequencies(Sampling()) - p).abs().max() < bound
    assert (frequencies(Sampling(0.5)) - p**2 / (p**2).sum()).abs().max() < bound
    assert (frequencies(Sampling(top_k=2)) - torch.tensor([0, 0, 3 / 7, 4 / 7])).abs().max() < bound
    assert frequencies(Sampling(top_k=1))[3] == 1


def test_positions_draw_anew() -> None:
    logits = torch.zeros(1, 1000)
    assert len({int(choose(logits, Sampling(), keys(1), position)) for position in range(20)}) > 15


def test_streams_and_leaves_gradients_on(model: GPT) -> None:
    stream = generate(model.step, PROMPT, 3, how=GREEDY, new_cache=model.new_cache)
    assert next(stream).shape == (3,) and torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "received None"),
        ({"keys": torch.zeros(2, dtype=torch.long)}, r"int64 \(3,\), received \(2,\)"),
        ({"how": GREEDY, "when_full": "forget"}, "slide, stop, received 'forget'"),
        ({"how": GREEDY, "lengths": [3, 3]}, "lengths of 3 prompts from 1 to 3"),
        ({"how": GREEDY, "lengths": [3, 3, 0]}, "lengths of 3 prompts from 1 to 3"),
        ({"how": GREEDY, "lengths": [3, 3, 2]}, "expected a cache"),
    ],
)
def test_refusals_come_at_the_call(model: GPT, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        generate(model.step, PROMPT, 3, **options)
    with pytest.raises(ValueError, match="P >= 1"):
        generate(model.step, PROMPT[:, :0], 3, how=GREEDY)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1}, {"top_k": 0}, {"top_p": 0}, {"top_p": 1.5}, {"min_p": 2}, {"repetition_penalty": 0}]
)
def test_values_without_a_meaning_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        Sampling(**wrong)


def test_top_p_and_min_p_leave_out_the_unlikely() -> None:
    bound = 5 * (0.25 / 20_000) ** 0.5
    # 0.4 + 0.3 reach 0.65 first; half of 0.4 is 0.2
    assert (frequencies(Sampling(top_p=0.65)) - torch.tensor([0, 0, 3 / 7, 4 / 7])).abs().max() < bound
    assert (frequencies(Sampling(top_p=0.71)) - torch.tensor([0, 2 / 9, 3 / 9, 4 / 9])).abs().max() < bound
    assert (frequencies(Sampling(min_p=0.49)) - torch.tensor([0, 2 / 9, 3 / 9, 4 / 9])).abs().max() < bound
    assert frequencies(Sampling(top_p=0.01))[3] == 1


def test_penalties_are_those_of_transformers_and_of_openai() -> None:
    """Repetition against transformers' processor; presence and frequency against OpenAI's published formula."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    logits, tokens = torch.randn(2, 10), torch.tensor([[1, 2, 2, 5], [3, 3, 3, 4]])
    theirs = transformers.RepetitionPenaltyLogitsProcessor(1.7)(tokens, logits.clone())
    assert torch.allclose(penalized(logits, Sampling(repetition_penalty=1.7), tokens, 0), theirs)
    padded = penalized(logits, Sampling(repetition_penalty=1.7), torch.nn.functional.pad(tokens, (2, 0), value=9), 0, [2, 2])
    assert torch.equal(padded, penalized(logits, Sampling(repetition_penalty=1.7), tokens, 0))
    ours = penalized(logits, Sampling(presence_penalty=0.5, frequency_penalty=0.25), tokens, 1)  # the first was given
    taken = torch.zeros(2, 10)
    taken[0, 2], taken[0, 5], taken[1, 3], taken[1, 4] = 0.5 + 2 * 0.25, 0.75, 0.5 + 2 * 0.25, 0.75
    assert torch.allclose(ours, logits - taken)


@pytest.mark.parametrize(
    ("ours", "name", "value"), [("top_p", "TopPLogitsWarper", 0.6), ("min_p", "MinPLogitsWarper", 0.2), ("top_k", "TopKLogitsWarper", 3)]
)
def test_what_is_left_is_what_transformers_leaves(ours: str, name: str, value: Any) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(1)
    logits = torch.randn(20, 50) * 3
    theirs = getattr(transformers, name)(value)(None, logits.clone())
    assert torch.equal(narrowed(logits, Sampling(**{ours: value})).isinf(), theirs.isinf())
