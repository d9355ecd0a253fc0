"""Attention over parts of the keys, joined by log-sum-exps, equals softmax attention over all of them."""

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from laborllm.models.scoring.attention import Part, _aligned, _plainly, attend, joined, side_by_side

HEADS, WIDTH, SCALE = 6, 16, 0.31
TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}
EXACT = pytest.mark.parametrize("dtype", TOLERANCE, ids=["float32", "float64"])
KEY_HEADS = pytest.mark.parametrize("key_heads", [1, 2, 6])


def drawn(batch: int, rows: int, heads: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, rows, heads, WIDTH, generator=generator, dtype=torch.float64).to(dtype) * 2


def softmax_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None = None
) -> Part:
    """Query by query and head by head, in float64."""
    batch, _, heads, _ = query.shape
    served = heads // key.shape[2]
    output = torch.zeros(query.shape, dtype=torch.float64)
    log_sum = torch.zeros(query.shape[:3], dtype=torch.float64)
    for b in range(batch):
        for head in range(heads):
            scores = query[b, :, head].double() @ key[b, :, head // served].double().T * SCALE
            if mask is not None:
                scores = scores + mask[b, 0].double()
            output[b, :, head] = scores.softmax(1) @ value[b, :, head // served].double()
            log_sum[b, :, head] = scores.logsumexp(1)
    return Part(output, log_sum)


def same(found: Part, expected: Part, dtype: torch.dtype) -> bool:
    return all(
        torch.allclose(one.double(), other, rtol=0, atol=TOLERANCE[dtype])
        for one, other in ((found.output, expected.output), (found.log_sum, expected.log_sum))
    )


def causal(queries: int) -> torch.Tensor:
    return torch.full((1, 1, queries, queries), -torch.inf, dtype=torch.float64).triu(1)


@EXACT
@KEY_HEADS
@pytest.mark.parametrize(("queries", "keys"), [(1, 1), (1, 40), (33, 7), (70, 530)])
def test_attention_without_a_mask(queries: int, keys: int, key_heads: int, dtype: torch.dtype) -> None:
    query, key, value = (
        drawn(2, rows, heads, dtype, seed)
        for seed, (rows, heads) in enumerate(((queries, HEADS), (keys, key_heads), (keys, key_heads)))
    )
    assert same(attend(query, key, value, scale=SCALE), softmax_attention(query, key, value), dtype)


@EXACT
@KEY_HEADS
@pytest.mark.parametrize("rows", [1, 2, 65, 300])
def test_causal_attention(rows: int, key_heads: int, dtype: torch.dtype) -> None:
    query, key, value = (drawn(1, rows, heads, dtype, seed) for seed, heads in enumerate((HEADS, key_heads, key_heads)))
    found = attend(query, key, value, scale=SCALE, causal=True)
    assert same(found, softmax_attention(query, key, value, causal(rows)), dtype)


@EXACT
@KEY_HEADS
def test_masked_attention(key_heads: int, dtype: torch.dtype) -> None:
    query, key, value = (
        drawn(5, rows, heads, dtype, seed)
        for seed, (rows, heads) in enumerate(((32, HEADS), (51, key_heads), (51, key_heads)))
    )
    sees = torch.rand(5, 1, 32, 51, generator=torch.Generator().manual_seed(1)) < 0.2
    sees[..., 3] = True
    mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, -torch.inf)
    assert same(attend(query, key, value, scale=SCALE, mask=mask), softmax_attention(query, key, value, mask), dtype)


@EXACT
@KEY_HEADS
@pytest.mark.parametrize("cuts", [(5,), (1, 2, 30)])
def test_joined_parts_equal_the_whole(cuts: tuple[int, ...], key_heads: int, dtype: torch.dtype) -> None:
    query, key, value = (
        drawn(1, rows, heads, dtype, seed)
        for seed, (rows, heads) in enumerate(((20, HEADS), (60, key_heads), (60, key_heads)))
    )
    edges = [0, *cuts, 60]
    parts = [attend(query, key[:, a:b], value[:, a:b], scale=SCALE) for a, b in itertools.pairwise(edges)]
    expected = softmax_attention(query, key, value)
    for order in (parts, parts[::-1]):
        assert torch.allclose(joined(order).double(), expected.output, rtol=0, atol=TOLERANCE[dtype])


@EXACT
@pytest.mark.parametrize("lead", [-300.0, -60.0, 60.0, 300.0])
def test_a_part_that_outweighs_the_other_joins_without_overflow(lead: float, dtype: torch.dtype) -> None:
    query, key, value = (drawn(1, 8, HEADS, dtype, seed) for seed in range(3))
    key[:, 4:] = query[:, :1] * lead / (SCALE * query[:, :1].square().sum(-1, keepdim=True))
    parts = [attend(query, key[:, rows], value[:, rows], scale=SCALE) for rows in (slice(0, 4), slice(4, 8))]
    expected = softmax_attention(query, key, value).output
    assert torch.allclose(joined(parts).double(), expected, rtol=0, atol=20 * TOLERANCE[dtype])


@EXACT
def test_a_causal_part_joins_with_a_shared_past(dtype: torch.dtype) -> None:
    query, key, value = (drawn(1, 30, heads, dtype, seed) for seed, heads in enumerate((HEADS, 2, 2)))
    own = attend(query[:, 12:], key[:, 12:], value[:, 12:], scale=SCALE, causal=True)
    past = attend(query[:, 12:], key[:, :12], value[:, :12], scale=SCALE)
    expected = softmax_attention(query, key, value, causal(30)).output[:, 12:]
    assert torch.allclose(joined([own, past]).double(), expected, rtol=0, atol=TOLERANCE[dtype])


@EXACT
@pytest.mark.parametrize("kind", ["all", "causal", "mask"])
def test_the_formula_equals_the_kernel(kind: str, dtype: torch.dtype) -> None:
    query, key, value = (drawn(3, 40, HEADS, dtype, seed) for seed in range(3))
    mask = None
    if kind == "mask":
        sees = torch.rand(3, 1, 40, 40, generator=torch.Generator().manual_seed(1)) < 0.3
        sees[..., 0] = True
        mask = torch.zeros(sees.shape, dtype=dtype).masked_fill(~sees, -torch.inf)
    kernel = attend(query, key, value, scale=SCALE, causal=kind == "causal", mask=mask)
    heads_first = (each.transpose(1, 2) for each in (query, key, value))
    output, log_sum = _plainly(*heads_first, SCALE, kind == "causal", mask)
    formula = Part(output.transpose(1, 2).double(), log_sum.transpose(1, 2).double())
    assert same(kernel, formula, dtype)


def test_parts_lie_behind_one_another() -> None:
    parts = [Part(drawn(1, rows, HEADS, torch.float32, rows), torch.zeros(1, rows, HEADS)) for rows in (3, 1, 4)]
    together = side_by_side(iter(parts))
    assert together.output.shape == (8, HEADS, WIDTH)
    assert together.log_sum.shape == (8, HEADS)
    assert torch.equal(together.output[3], parts[1].output[0, 0])


@pytest.mark.parametrize("keys", [1, 7, 8, 9, 31])
def test_an_aligned_mask_is_the_same_mask(keys: int) -> None:
    mask = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 1, 5, keys)).astype(np.float32))
    room = _aligned(mask)
    assert torch.equal(room, mask)
    assert all(stride % 8 == 0 for stride in room.stride()[:-1])


@pytest.mark.parametrize("keys", [1, 2, 60])
def test_no_bit_depends_on_how_many_queries_there_are(keys: int) -> None:
    generator = torch.Generator().manual_seed(1)
    query = torch.randn(1, 800, 4, 16, generator=generator)
    key, value = (torch.randn(1, keys, 2, 16, generator=generator) for _ in range(2))
    whole = attend(query, key, value, scale=0.25)
    for rows in (1, 2, 3, 33, 65, 193, 258, 514, 769):
        some = attend(query[:, :rows], key, value, scale=0.25)
        assert torch.equal(some.output, whole.output[:, :rows]), rows
        assert torch.equal(some.log_sum, whole.log_sum[:, :rows]), rows
