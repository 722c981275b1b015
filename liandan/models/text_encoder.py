"""A small encoder that reads a whole text and names its class, in one file.

    encoder                 Vaswani et al., "Attention is all you need" (2017), with learned positions as in BERT
    norm before each part   Xiong et al., "On layer normalization in the transformer architecture" (2020)
    mean over the tokens    Reimers and Gurevych, "Sentence-BERT" (2019), section 3

Shapes: B batch, T tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from liandan.models import ModelError


def mean_of_tokens(x: Tensor, mask: Tensor) -> Tensor:
    """(B, T, width) and bool (B, T) -> (B, width): the mean over the tokens that the mask lets through."""
    real = mask[..., None].to(x.dtype)
    return (x * real).sum(1) / real.sum(1)


class TextEncoder(nn.Module):
    """ids int64 (B, T) and mask bool (B, T) -> logits (B, num_classes).

    Args:
        vocab_size: number of tokens.
        context: most tokens of a text.
        num_classes: number of classes.
        n_layer, n_head: depth, attention heads.
        width: of the residual stream, a multiple of n_head.
        dropout: probability, on embeddings, attention weights, both residual branches, and what the head reads.
    """

    def __init__(
        self, vocab_size: int, context: int, num_classes: int, n_layer: int = 2, n_head: int = 4, width: int = 128, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if width % n_head:
            near = n_head * max(1, width // n_head)
            raise ModelError(f"expected width to be a multiple of n_head, received {width} and {n_head}; try width={near}")
        self.embedding = nn.Embedding(vocab_size, width)
        self.position = nn.Embedding(context, width)
        # One by one: nn.TransformerEncoder copies its layer, and all layers would begin with the same weights.
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, n_head, 4 * width, dropout, "gelu", batch_first=True, norm_first=True) for _ in range(n_layer)
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, num_classes)
        for embedding in (self.embedding, self.position):
            nn.init.normal_(embedding.weight, 0.0, 0.02)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Logits of texts; what stands where the mask is False changes nothing."""
        x = self.dropout(self.embedding(ids) + self.position(torch.arange(ids.shape[1], device=ids.device)))
        for block in self.blocks:
            x = block(x, src_key_padding_mask=~mask)
        return self.head(self.dropout(mean_of_tokens(self.norm(x), mask)))
