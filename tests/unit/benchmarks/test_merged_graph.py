"""Operations of the parts, counted by hand."""

from __future__ import annotations

import torch

from benchmarks.merged_graph import BLOCKS, flops, random_graph, random_teacher

WIDTH, SIZE = 64, 56
TOKENS, PATCHES = 1 + 4 + 16, 16


def block(queries: int) -> int:
    """Of a transformer block that answers for so many of its tokens: queries, keys and values, attention, projection, MLP."""
    return 2 * (2 * TOKENS * WIDTH**2 + queries * (10 * WIDTH**2 + 2 * TOKENS * WIDTH))


def test_operations_are_those_of_the_definition() -> None:
    teacher = random_teacher(WIDTH, SIZE)
    graph = random_graph(teacher, encoder_depth=4)
    images = torch.zeros(1, SIZE, SIZE, 3, dtype=torch.uint8)
    embedding = 2 * PATCHES * 3 * 14**2 * WIDTH
    assert flops(teacher, images) == embedding + (BLOCKS - 1) * block(TOKENS) + block(1)
    assert graph.raw.encoder is not None
    assert flops(graph.raw.encoder, images) == embedding + 3 * block(TOKENS) + block(1) + 4 * 2 * WIDTH**2
