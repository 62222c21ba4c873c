"""Both students: the decoder student rebuilds patch features, the encoder student copies class tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distance import cosine_distance
from .embeddings import Embeddings
from .last_block import class_token
from .teacher import MIDDLE_BLOCKS, Teacher, new_vit

GROUPS = 2
TOP_SHARE = 0.01  # of a picture, whose mean is its local score


class LinearAttention(nn.Module):
    """Attention with the feature map elu + 1 in place of softmax, linear in the number of tokens (arXiv 2006.16236).

    It cannot focus on a single token, which keeps the decoder from copying its input (Dinomaly, section 3.3).
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.projection = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """[N, tokens, d] -> [N, tokens, d]."""
        queries_and_keys, values = self.qkv(tokens).split((2 * tokens.shape[-1], tokens.shape[-1]), dim=-1)
        device = tokens.device.type
        # autocast would compute the sums over all tokens in half precision, which they are too large for
        rounding = torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        with torch.autocast(device, enabled=False) if rounding else nullcontext():
            attended = self._attend(queries_and_keys.float(), values.float())
        mixed: Tensor = self.projection(attended.to(tokens.dtype))
        return mixed

    def _attend(self, queries_and_keys: Tensor, values: Tensor) -> Tensor:
        """Queries and keys side by side [N, tokens, 2 d] and values [N, tokens, d] to [N, tokens, d]."""
        split = (*_positive(queries_and_keys).chunk(2, dim=-1), values)
        q, k, v = (torch.unflatten(part, -1, (self.heads, -1)).transpose(1, 2) for part in split)  # [N, heads, tokens, ..]
        weights = q @ k.sum(dim=-2).unsqueeze(-1) + 1e-6
        return ((q @ (k.transpose(-2, -1) @ v)) / weights).transpose(1, 2).flatten(2)


def _positive(features: Tensor) -> Tensor:
    """elu(x) + 1, without the operator itself: ONNX Runtime has opset 23's Elu on the CPU alone, and CUDA would wait for it."""
    return F.relu(features) + features.clamp(max=0).exp()


class Mlp(nn.Sequential):
    """Two linear layers of ratio 4 with GELU; dropout at input, hidden layer and output makes it a noisy bottleneck."""

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Dropout(dropout),
            nn.Linear(dim, 4 * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * dim, dim),
            nn.Dropout(dropout),
        )


class DecoderBlock(nn.Module):
    """Pre-norm transformer block with linear attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-8)
        self.attention = LinearAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-8)
        self.mlp = Mlp(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(self.norm1(tokens))
        out: Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class DecoderStudent(nn.Module):
    """Encoder-Decoder student: rebuilds the teacher's middle patch features through a noisy bottleneck (design, section 3)."""

    def __init__(self, teacher: Teacher, dropout: float) -> None:
        super().__init__()
        self.middle = teacher.middle
        self.skip = 1 + teacher.registers
        self.bottleneck = Mlp(teacher.dim, dropout)
        self.blocks = nn.ModuleList(DecoderBlock(teacher.dim, teacher.config.num_attention_heads) for _ in range(MIDDLE_BLOCKS))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.01, a=-0.03, b=0.03)
                nn.init.zeros_(module.bias)

    def forward(self, hidden: Sequence[Tensor]) -> Tensor:
        """The teacher's hidden states to the rebuilt features F_D [groups, N, patches, d]."""
        tokens = self.bottleneck(_mean([hidden[i] for i in self.middle]))
        outputs = []
        for block in self.blocks:
            tokens = block(tokens)
            outputs.append(tokens)
        return self._groups(outputs[::-1])

    def targets(self, hidden: Sequence[Tensor]) -> Tensor:
        """The teacher's features F_T [groups, N, patches, d] that `forward` has to rebuild."""
        return self._groups([hidden[i] for i in self.middle])

    def _groups(self, layers: Sequence[Tensor]) -> Tensor:
        size = len(layers) // GROUPS
        return torch.stack([_mean(layers[i : i + size])[:, self.skip :] for i in range(0, len(layers), size)])


def _mean(layers: Sequence[Tensor]) -> Tensor:
    """In float32, of equally shaped tensors. They are added one by one: stacked, all of them would be copied first."""
    return reduce(torch.add, (layer.float() for layer in layers)) / len(layers)


class EncoderStudent(nn.Module):
    """Encoder-Encoder student: a ViT of the teacher's kind, from random weights, taught class tokens only.

    Sparse supervision keeps it from learning the identity. `depth` may be smaller than the teacher's (ours); its last blocks
    stand for the teacher's last ones.
    """

    def __init__(self, teacher: Teacher, depth: int, taught_blocks: int) -> None:
        super().__init__()
        config = copy.deepcopy(teacher.config)
        config.num_hidden_layers = depth
        config.image_size = teacher.input_size
        config.layerscale_value = 1.0
        vit = new_vit(config)
        self.taught = taught_blocks
        self.embeddings = Embeddings(vit, vit.embeddings.position_embeddings)
        self.layers = vit.encoder.layer
        self.heads = nn.ModuleList(nn.Linear(config.hidden_size, teacher.dim) for _ in range(taught_blocks))

    def forward(self, images: Tensor) -> Tensor:
        """uint8 RGB pixels [N, S, S, 3] to predicted class tokens c_E [taught, N, d]."""
        tokens = self.embeddings(images)
        class_tokens = []
        for layer in self.layers[:-1]:
            tokens = layer(tokens)
            class_tokens.append(tokens[:, 0])
        class_tokens.append(class_token(self.layers[-1], tokens)[:, 0])
        return torch.stack([head(token) for head, token in zip(self.heads, class_tokens[-self.taught :], strict=True)])

    def targets(self, hidden: Sequence[Tensor]) -> Tensor:
        """The teacher's class tokens c_T [taught, N, d] after its last taught blocks."""
        return torch.stack([tokens[:, 0] for tokens in hidden[-self.taught :]])


class Students(nn.Module):
    """Both students as one module, so that several processes can average the gradients of both at once."""

    def __init__(self, decoder: DecoderStudent, encoder: EncoderStudent) -> None:
        super().__init__()
        self.decoder, self.encoder = decoder, encoder

    def forward(self, hidden: Sequence[Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
        """The decoder student's F_D from the teacher's hidden states, and the encoder student's c_E from images."""
        return self.decoder(hidden), self.encoder(images)


def local_loss(target: Tensor, rebuilt: Tensor, hard_share: float = 0.0) -> Tensor:
    """L_D of each image [N]: the mean over groups of 1 - cos(vec F_T, vec F_D), for features [groups, N, patches, d].

    The gradient of easy points, those outside the batch's worst (1 - hard_share), is scaled by 0.1 (Dinomaly, section 3.5).
    """
    if hard_share > 0:
        with torch.no_grad():
            distances = cosine_distance(target, rebuilt)
            keep = max(1, int(distances[0].numel() * (1 - hard_share)))
            worst = distances.flatten(1).topk(keep, dim=1).values[:, -1]
            weight = torch.where(distances < worst[:, None, None], 0.1, 1.0).unsqueeze(-1)
        rebuilt = rebuilt.detach() + weight * (rebuilt - rebuilt.detach())
    return cosine_distance(target.flatten(2), rebuilt.flatten(2)).mean(0)


def defect_loss(target: Tensor, rebuilt: Tensor, marked: Tensor) -> Tensor:
    """L_D of each labelled defect [N], for features [groups, N, patches, d]: the mean distance of the patches that are marked.

    `marked` [N, patches] is 1 there. Where none is, nobody knows where the defect is, and the worst patches stand for it, as
    many as the local score is the mean of.
    """
    distances = cosine_distance(target, rebuilt).mean(0)
    worst = distances.topk(max(1, round(TOP_SHARE * distances.shape[1])), dim=1).values.mean(1)
    count = marked.sum(1)
    return torch.where(count > 0, (distances * marked).sum(1) / count.clamp_min(1), worst)


def semantic_loss(target: Tensor, predicted: Tensor) -> Tensor:
    """L_E of each image [N]: the mean over the taught blocks of 1 - cos(c_T, c_E), for tokens [taught, N, d]."""
    return cosine_distance(target, predicted).mean(0)
