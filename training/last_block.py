"""The last block of a ViT where only its class token is wanted: most of its work is for tokens that nobody reads (ours)."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.dinov2.modeling_dinov2 import Dinov2Layer
from transformers.models.dinov2_with_registers.modeling_dinov2_with_registers import Dinov2WithRegistersLayer

Block = Dinov2Layer | Dinov2WithRegistersLayer


def class_token(last: nn.Module, tokens: Tensor) -> Tensor:
    """The class token [N, 1, d] that the block makes of `tokens` [N, 1 + others, d]: the first of what last(tokens) returns."""
    block = cast(Block, last)
    attention, first = block.attention, tokens[:, :1]
    normed = block.norm1(tokens)
    shape = (attention.num_attention_heads, attention.head_dim)
    query, keys, values = (
        linear(part).unflatten(-1, shape).transpose(1, 2)
        for linear, part in ((attention.q_proj, normed[:, :1]), (attention.k_proj, normed), (attention.v_proj, normed))
    )
    attended = F.scaled_dot_product_attention(query, keys, values).transpose(1, 2).flatten(2)
    first = first + block.drop_path(block.layer_scale1(attention.o_proj(attended)))
    changed: Tensor = first + block.drop_path(block.layer_scale2(block.mlp(block.norm2(first))))
    return changed
