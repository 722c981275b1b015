"""hf/<folder>: a model of transformers, from a folder as `save_pretrained` leaves it: the causal language model that it is, or, when told
a number of classes, what it is without its head, to classify texts with. And the way from a language model back to such a folder.

Nothing is fetched, and no code of the folder is run.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from liandan.models import ModelError, packing
from liandan.models.gpt import GPT, to_llama
from liandan.models.text_encoder import mean_of_tokens

# of a folder, besides its weights: what it takes to build the model and to write text for it
FILES = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
)  # fmt: skip


class Cache:
    """A growing cache of transformers, and the column `start` int64 (B,) at which each sequence begins (None: all at 0)."""

    def __init__(self, start: Tensor | None) -> None:
        from transformers import DynamicCache

        self.inner, self.start = DynamicCache(), start

    def reorder(self, rows: Tensor) -> None:
        """Become the cache of the sequences `rows` int64 (B',) of those there were."""
        self.inner.reorder_cache(rows)  # pyright: ignore[reportArgumentType]
        self.start = None if self.start is None else self.start[rows]

    def padding(self, tokens: int) -> dict[str, Tensor]:
        """What tells the model where each sequence begins when it is given `tokens` (T) more; nothing where none is padded."""
        if self.start is None:
            return {}
        past = self.inner.get_seq_length()
        columns = torch.arange(past + tokens, device=self.start.device)
        mask = (columns >= self.start[:, None]).long()
        return {"attention_mask": mask, "position_ids": (columns[past:] - self.start[:, None]).clamp(min=0)}


class CausalLM(nn.Module):
    """A model of transformers behind the face of ours: tokens in, logits out. Its tensors keep the names of the folder's files.

    Args:
        inner: a model with `forward(input_ids, past_key_values, use_cache)`.
        context: most tokens it can see.
    """

    def __init__(self, inner: Any, context: int) -> None:
        super().__init__()
        self._modules = inner._modules  # its own children, under their own names
        self._inner = (inner,)  # in a tuple: it is no child itself
        self.context = context
        self._apart = _head_is_plain(inner)

    def train(self, mode: bool = True) -> CausalLM:
        super().train(mode)
        self._inner[0].training = mode
        return self

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (B, T, vocabulary) of the token after each of ids int64 (B, T). Padding stands at the end, where causal attention
        does not look."""
        return self._inner[0](input_ids=ids, use_cache=False).logits

    def hidden(self, ids: Tensor, segments: Tensor | None = None) -> Tensor:
        """What `logits` reads of ids int64 (B, T): the last hidden states (B, T, width).

        Of a model that does more to its logits than its head does, the logits themselves.

        Args:
            segments: int64 (B, T), the number of the text that each token belongs to, where a row holds several; see models.packing.
        """
        packed = {} if segments is None else {"position_ids": packing.positions(segments), "attention_mask": packing.visible(segments)}
        inner = self._inner[0]
        if self._apart:
            return inner.base_model(input_ids=ids, use_cache=False, **packed).last_hidden_state
        return inner(input_ids=ids, use_cache=False, **packed).logits

    @property
    def head_weights(self) -> list[Tensor]:
        """What `logits` computes with."""
        return list(self._inner[0].get_output_embeddings().parameters()) if self._apart else []

    def logits(self, x: Tensor) -> Tensor:
        """(..., vocabulary) of what `hidden` gives, at any of its positions."""
        return self._inner[0].get_output_embeddings()(x) if self._apart else x

    def new_cache(self, batch: int, length: int | None = None, start: Tensor | None = None) -> Cache:
        """An empty cache of keys and values, which grows; see sampling.NewCache."""
        return Cache(start)

    def step(self, tokens: Tensor, cache: Cache | None = None) -> Tensor:
        """Logits (B, vocabulary) after the last of tokens (B, T): what `sampling.generate` walks on."""
        known = {} if cache is None else {"past_key_values": cache.inner, **cache.padding(tokens.shape[1])}
        with torch.no_grad():
            out = self._inner[0](input_ids=tokens, use_cache=cache is not None, logits_to_keep=1, **known)
        return out.logits[:, -1].float()


@torch.no_grad()
def _head_is_plain(inner: Any) -> bool:
    """Whether a model's logits are its last hidden states through its head and nothing else: no cap, no scale. Tried, not looked up."""
    head = inner.get_output_embeddings()
    if head is None or inner.base_model is inner:
        return False
    if head.weight.is_meta:
        return True
    training = inner.training
    inner.eval()
    ids = torch.tensor([[0, 1, 2]])
    found = inner.base_model(input_ids=ids, use_cache=False)
    same = hasattr(found, "last_hidden_state") and torch.equal(head(found.last_hidden_state), inner(input_ids=ids, use_cache=False).logits)
    inner.train(training)
    return same


class TextClassifier(nn.Module):
    """A model of transformers without its head, the mean of its last hidden states over the real tokens, and a linear layer.

    Args:
        backbone: a model with `forward(input_ids, attention_mask)` that gives last_hidden_state (B, T, width).
    """

    def __init__(self, backbone: Any, num_classes: int) -> None:
        super().__init__()
        backbone.pooler = None  # BERT's, of the first token alone, which nothing here reads
        self.backbone = backbone
        self.head = nn.Linear(backbone.config.hidden_size, num_classes)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits (B, classes) of ids int64 (B, T), of which mask bool (B, T) says where the text is."""
        return self.head(mean_of_tokens(self.backbone(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask))

    def own_name(self, name: str) -> str:
        """The name here of a tensor in a folder's files, which may be of the model with another head ("bert.embeddings...")."""
        name = re.sub(r"(?<=\bLayerNorm)\.gamma$", ".weight", re.sub(r"(?<=\bLayerNorm)\.beta$", ".bias", name))  # as in BERT's first files
        return f"backbone.{name.removeprefix(f'{self.backbone.base_model_prefix}.')}"


def builder(folder: str) -> Any:
    """The builder of the model of a folder, with fresh weights: a CausalLM, or a TextClassifier when it is told `num_classes`."""

    def build(num_classes: int | None = None) -> nn.Module:
        from transformers import AutoModel, AutoModelForCausalLM

        config = read_config(Path(folder))
        config.use_cache = False
        if num_classes is not None and config.is_encoder_decoder:
            raise ModelError(f"hf/{folder}: {config.model_type} reads and writes; to classify texts take one that reads, such as BERT")
        kind = AutoModelForCausalLM if num_classes is None else AutoModel
        try:
            inner = kind.from_config(config, attn_implementation="sdpa", dtype=torch.float32, trust_remote_code=False)
        except (ValueError, KeyError, ImportError, AttributeError) as error:
            raise ModelError(f"hf/{folder}: transformers cannot build it: {str(error).splitlines()[0]}") from error
        if num_classes is None:
            return CausalLM(inner, int(getattr(config, "max_position_embeddings", None) or 1 << 20))
        return TextClassifier(inner, num_classes)

    return build


def as_gpt(model: CausalLM) -> GPT | None:
    """The same network as a liandan/gpt that shares its tensors; None where it is no plain Llama or has an adapter beside its weights."""
    config = model._inner[0].config
    if config.model_type != "llama" or config.attention_bias or config.mlp_bias or config.hidden_act != "silu":
        return None
    rope = config.rope_parameters
    if rope["rope_type"] != "default" or config.head_dim * config.num_attention_heads != config.hidden_size:
        return None
    with torch.device("meta"):
        gpt = GPT(
            config.vocab_size, config.max_position_embeddings, config.num_hidden_layers, config.num_attention_heads,
            config.num_key_value_heads, config.hidden_size, config.intermediate_size, rope_base=rope["rope_theta"],
            tied=config.tie_word_embeddings, norm_eps=config.rms_norm_eps,
        )  # fmt: skip
    own = gpt.state_dict()
    renamed, _ = to_llama(own, gpt.config)
    theirs = model.state_dict()
    if not renamed.keys() <= theirs.keys():
        return None
    gpt.load_state_dict({name: theirs[there] for name, there in zip(own, renamed, strict=True)}, assign=True)
    return gpt.train(model.training)


def to_transformers(model: nn.Module) -> Any:
    """A language model as transformers' own module, with the same weights; its `save_pretrained` writes the folder.

    Raises:
        ModelError: it is none that transformers has, or an adapter stands beside its weights (see adapter.merge).
    """
    if isinstance(model, CausalLM):
        return model._inner[0]
    if not isinstance(model, GPT):
        raise ModelError(f"{type(model).__name__} is no language model that transformers has; hf/ models and liandan/gpt are")
    try:
        from transformers import LlamaConfig, LlamaForCausalLM
    except ImportError as error:
        raise ModelError(f'a folder of transformers needs transformers ({error}): pip install "liandan[text]"') from error
    tensors, config = to_llama(model.state_dict(), model.config)
    made: Any = LlamaForCausalLM(LlamaConfig(**config, dtype=model.embedding.weight.dtype))
    made.to(model.embedding.weight.dtype)
    lost = made.load_state_dict(tensors, strict=False)
    if lost.unexpected_keys or set(lost.missing_keys) - ({"lm_head.weight"} if config["tie_word_embeddings"] else set()):
        raise ModelError(f"transformers' Llama has other tensors than this model: {lost}")
    return made.eval()


def read_config(folder: Path) -> Any:
    """config.json of a folder; raises ModelError."""
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise ModelError(f'hf/{folder} needs transformers ({error}): pip install "liandan[text]"') from error
    if not (folder / "config.json").is_file():
        raise ModelError(f"hf/{folder}: expected a folder with config.json, as transformers' save_pretrained leaves it; found none")
    try:
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        raise ModelError(f"hf/{folder}: config.json is of no model that transformers knows: {str(error).splitlines()[0]}") from error


def defaults(folder: Path) -> dict[str, Any]:
    """The model's own tokenizer (as liandan.data.tokenizer keeps it), chat template, special tokens, tokens that end an answer, and the
    most tokens it can see (None: it does not say)."""
    tokenizer = _json(folder / "tokenizer.json")
    if tokenizer is None:
        raise ModelError(f"hf/{folder}: expected tokenizer.json, found none; AutoTokenizer's save_pretrained writes it")
    told = _json(folder / "tokenizer_config.json") or {}
    special = {key: text for key in ("bos_token", "eos_token", "pad_token", "unk_token") if (text := _token(told.get(key)))}
    template = told.get("chat_template")
    if isinstance(template, list):  # several, by name
        template = next((t["template"] for t in template if t.get("name") == "default"), None)
    if (folder / "chat_template.jinja").is_file():
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    names = {token["id"]: token["content"] for token in tokenizer.get("added_tokens", [])}
    ends = [(_json(folder / file) or {}).get("eos_token_id") for file in ("generation_config.json", "config.json")]
    ids = [i for end in ends for i in (end if isinstance(end, list) else [end]) if i is not None]
    said = (told.get("model_max_length"), (_json(folder / "config.json") or {}).get("max_position_embeddings"))
    lengths = [int(length) for length in said if isinstance(length, int | float)]  # of a tokenizer it may be 1e30, which is none
    return {
        "tokenizer": {"kind": "model", "tokenizer": tokenizer},
        "chat_template": template,
        "special_tokens": special,
        "stops": sorted({names[i] for i in ids if i in names}),
        "context": min(lengths, default=None),
    }


def _token(value: Any) -> str | None:
    return value.get("content") if isinstance(value, dict) else value


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected JSON: {error}") from error
