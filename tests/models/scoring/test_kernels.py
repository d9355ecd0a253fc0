"""Linear layers and the head's log-sum-exp equal the plain formulas, whatever the kernel and the size of the logits."""

from collections.abc import Iterator

import pytest

torch = pytest.importorskip("torch")
from torch import nn
from torch.nn import functional

from laborllm.models.scoring import kernels
from laborllm.models.scoring.kernels import Head, Linear, onednn_serves

WIDTH, VOCABULARY = 64, 5000
HAS_ONEDNN = torch.backends.mkldnn.is_available()
KERNELS = [False, pytest.param(True, marks=pytest.mark.skipif(not HAS_ONEDNN, reason="no oneDNN here"))]


@pytest.fixture(autouse=True)
def _seed_and_no_gradients() -> object:
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def fresh_trial() -> Iterator[None]:
    """The trial of kernels is kept for a process; here each test has its own."""
    kernels._onednn_is_faster.cache_clear()
    yield
    kernels._onednn_is_faster.cache_clear()


def head(*, onednn: bool, bias: bool = False, spread: float = 0.3) -> Head:
    """An output layer whose first input adds the same number to all logits."""
    weight = torch.randn(VOCABULARY, WIDTH) * spread
    weight[:, 0] = 1.0
    return Head(weight, torch.randn(VOCABULARY) * 2 if bias else None, onednn)


def rows(log_sums: torch.Tensor, of: Head) -> torch.Tensor:
    """Hidden states with about the given log-sum-exps, shape (rows, width)."""
    hidden = torch.randn(len(log_sums), WIDTH)
    hidden[:, 0] = 0.0
    hidden[:, 0] = log_sums - exact(of, hidden).float()
    return hidden


def exact(of: Head, hidden: torch.Tensor) -> torch.Tensor:
    """Log-sum-exp in float64, shape (rows,)."""
    bias = None if of.bias is None else of.bias.double()
    return functional.linear(hidden.double(), of.weight.double(), bias).logsumexp(1)


def off(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Largest difference beyond the rounding of the logits themselves, in float32."""
    return float((found - expected).abs().sub(5e-7 * expected.abs()).max())


@pytest.mark.parametrize("typical", [-150.0, 12.0, 150.0])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("onednn", KERNELS)
def test_log_sum_exp_of_any_size(onednn: bool, bias: bool, typical: float) -> None:
    layer = head(onednn=onednn, bias=bias)
    layer.set_shift(rows(torch.full((4,), typical), layer))
    hidden = rows(torch.linspace(-200, 200, 401), layer)
    expected = exact(layer, hidden)
    assert -201 < expected.min() < -199
    assert 199 < expected.max() < 201
    assert off(layer.log_sum_exp(hidden), expected) <= 1e-5


@pytest.mark.parametrize("onednn", KERNELS)
def test_log_sum_exp_of_sharp_and_flat_rows(onednn: bool) -> None:
    for spread in (0.0, 0.1, 1.0, 3.0):
        layer = head(onednn=onednn, spread=spread)
        hidden = rows(torch.full((50,), 8.0), layer)
        layer.set_shift(hidden[:3])
        assert off(layer.log_sum_exp(hidden), exact(layer, hidden)) <= 1e-5 + 1e-6 * spread * WIDTH


@pytest.mark.skipif(not HAS_ONEDNN, reason="no oneDNN here")
def test_rows_within_the_window_are_summed_in_the_product_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = head(onednn=True)
    layer.set_shift(rows(torch.zeros(4), layer))
    plainly, counted = layer._log_sum_exp_plainly, []
    monkeypatch.setattr(layer, "_log_sum_exp_plainly", lambda hidden: (counted.append(len(hidden)), plainly(hidden))[1])
    inside, outside = rows(torch.linspace(-25, 8, 100), layer), rows(torch.tensor([-200.0, -60.0, 30.0, 200.0]), layer)
    layer.log_sum_exp(inside)
    assert counted == []
    layer.log_sum_exp(torch.cat([inside, outside]))
    assert counted == [4]


@pytest.mark.parametrize("onednn", KERNELS)
def test_log_sum_exp_of_a_row_does_not_depend_on_its_neighbours(onednn: bool) -> None:
    layer = head(onednn=onednn)
    hidden = rows(torch.linspace(-40, 40, 1300), layer)
    layer.set_shift(hidden[640:660])
    together = layer.log_sum_exp(hidden)
    alone = torch.cat([layer.log_sum_exp(hidden[a : a + 100]) for a in range(0, 1300, 100)])
    assert off(alone, together.double()) <= 1e-5


@pytest.mark.parametrize("onednn", KERNELS)
def test_nan_stays_nan(onednn: bool) -> None:
    layer = head(onednn=onednn)
    hidden = rows(torch.zeros(5), layer)
    layer.set_shift(hidden)
    hidden[2, 3] = torch.nan
    assert layer.log_sum_exp(hidden).isnan().tolist() == [False, False, True, False, False]


def test_log_sum_exp_in_float64() -> None:
    weight, bias, hidden = (torch.randn(*shape).double() for shape in ((VOCABULARY, WIDTH), (VOCABULARY,), (7, WIDTH)))
    layer = Head(weight, bias, onednn=False)
    layer.set_shift(hidden)
    assert torch.allclose(layer.log_sum_exp(hidden), exact(layer, hidden), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("pairs", [0, 1, 5000])
def test_logits_of_pairs(pairs: int, bias: bool) -> None:
    layer = head(onednn=False, bias=bias)
    hidden = torch.randn(30, WIDTH)
    row, token = torch.randint(30, (pairs,)), torch.randint(VOCABULARY, (pairs,))
    expected = functional.linear(hidden, layer.weight, layer.bias)[row, token]
    assert layer.logits(hidden, row, token).shape == (pairs,)
    assert torch.allclose(layer.logits(hidden, row, token), expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("onednn", KERNELS)
@pytest.mark.parametrize("count", [1, 7, 700])
def test_linear_layers_equal_the_modules(onednn: bool, bias: bool, count: int) -> None:
    module = nn.Linear(96, 160, bias=bias)
    layer, x, other = Linear(module, onednn), torch.randn(count, 96), torch.randn(count, 160)
    assert layer.onednn == onednn
    before = other.clone()
    for found, expected in (
        (layer(x), module(x)),
        (layer.silu(x), functional.silu(module(x))),
        (layer.times(x, other), module(x) * other),
        (layer.plus(x, other), module(x) + other),
    ):
        assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(other, before)


def test_an_adapted_layer_keeps_its_own_forward() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    module = Doubled(8, 8)
    layer, x = Linear(module, True), torch.randn(3, 8)
    assert not layer.onednn
    assert torch.equal(layer(x), module(x))
    assert torch.equal(layer.plus(x, x), module(x) + x)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_onednn_serves_float32_alone(dtype: torch.dtype) -> None:
    assert not onednn_serves(torch.ones(16, 16, dtype=dtype))


@pytest.mark.parametrize(("seconds", "serves"), [((1.0, 3.0), True), ((1.0, 1.0), False), ((3.0, 1.0), False)])
@pytest.mark.skipif(not HAS_ONEDNN, reason="no oneDNN here")
def test_onednn_is_taken_where_it_is_clearly_faster(
    seconds: tuple[float, float], serves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    took = dict(zip((kernels._onednn, functional.linear), seconds, strict=True))
    monkeypatch.setattr(kernels, "_seconds", lambda work, *given: took[work])
    assert onednn_serves(torch.ones(16, 16)) == serves
