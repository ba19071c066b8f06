"""Log-probabilities from hidden states and the output layer, of `rft_torch`, without the logits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import context, make_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rft_core.types import ModelRef
from rft_torch import output_layer
from rft_torch.batching import token_row
from rft_torch.logprobs import token_logprobs
from rft_torch.lora import LoraSettings
from rft_torch.models import load_model
from rft_torch.output_layer import hidden_logprobs, is_plain
from rft_torch.settings import TrainerConfig
from rft_torch.trainer import Trainer

N, H, V = 13, 5, 11
WAYS = ("frozen", "again", "kept")


def sizes(monkeypatch: pytest.MonkeyPatch, *, tokens: int, words: int, kept: int) -> None:
    """Chunks of so many tokens, blocks of so many words, logits kept up to so many."""
    monkeypatch.setattr(output_layer, "BLOCK_WORDS", words)
    monkeypatch.setattr(output_layer, "BLOCK_LOGITS", tokens * words)
    monkeypatch.setattr(output_layer, "KEPT_LOGITS", kept)


def layer(dtype: torch.dtype = torch.float64, *, scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(N, H, generator=generator, dtype=dtype) * scale
    weight = torch.randn(V, H, generator=generator, dtype=dtype)
    bias = torch.randn(V, generator=generator, dtype=dtype)
    return hidden, weight, bias, torch.randint(V, (N,), generator=generator)


def upstream(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(N, generator=generator, dtype=dtype), torch.randn(N, generator=generator, dtype=dtype)


def compute(way: str, temperature: float, *, entropy_grad: bool, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Log-probabilities, entropy, and the gradients to hidden states and, where they are trained, weight and bias."""
    hidden, weight, bias, targets = layer(dtype)
    wanted = [hidden] if way == "frozen" else [hidden, weight, bias]
    for one in wanted:
        one.requires_grad_()
    found, entropy = hidden_logprobs(hidden, weight, bias, targets, temperature, entropy_grad=entropy_grad)
    assert entropy.requires_grad == entropy_grad
    up, spread = upstream(dtype)
    loss = (found * up).sum() + ((entropy * spread).sum() if entropy_grad else 0)
    return [found.detach(), entropy.detach(), *torch.autograd.grad(loss, wanted)]


def reference(way: str, temperature: float, *, entropy_grad: bool) -> list[Tensor]:
    """The same by torch's own log_softmax in float64."""
    hidden, weight, bias, targets = layer()
    wanted = [hidden] if way == "frozen" else [hidden, weight, bias]
    for one in wanted:
        one.requires_grad_()
    logp = ((hidden @ weight.T + bias) / temperature).log_softmax(-1)
    found, entropy = logp.gather(1, targets[:, None])[:, 0], -(logp.exp() * logp).sum(-1)
    up, spread = upstream()
    loss = (found * up).sum() + ((entropy * spread).sum() if entropy_grad else 0)
    return [found.detach(), entropy.detach(), *torch.autograd.grad(loss, wanted)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("entropy_grad", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("words", [1, 4, V])
@pytest.mark.parametrize("tokens", [1, 5, N])
def test_values_and_gradients_are_those_of_log_softmax(
    monkeypatch: pytest.MonkeyPatch, way: str, entropy_grad: bool, temperature: float, words: int, tokens: int
) -> None:
    """In float64, for a frozen layer, one whose logits are made again and one that keeps them, whatever the blocks."""
    sizes(monkeypatch, tokens=tokens, words=words, kept=N * V if way == "kept" else 0)
    found = compute(way, temperature, entropy_grad=entropy_grad)
    expected = reference(way, temperature, entropy_grad=entropy_grad)
    assert all(torch.allclose(a, b, atol=1e-12, rtol=1e-10) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("entropy_grad", [False, True])
def test_gradcheck(monkeypatch: pytest.MonkeyPatch, way: str, entropy_grad: bool) -> None:
    """Numeric differences agree with every backward pass, several blocks and chunks each."""
    sizes(monkeypatch, tokens=5, words=4, kept=N * V if way == "kept" else 0)
    hidden, weight, bias, targets = layer(scale=1.0)

    def call(hidden: Tensor, weight: Tensor, bias: Tensor) -> Any:
        found = hidden_logprobs(hidden, weight, bias, targets, 0.8, entropy_grad=entropy_grad)
        return found if entropy_grad else found[0]

    trained = way != "frozen"
    inputs = (hidden.requires_grad_(), weight.requires_grad_(trained), bias.requires_grad_(trained))
    assert torch.autograd.gradcheck(call, inputs)


@pytest.mark.parametrize("way", WAYS)
def test_the_size_of_chunks_changes_gradients_by_rounding(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """float32, every chunk size from 1 to all: less than 1e-5 of the gradient's norm."""
    kept = N * V if way == "kept" else 0
    sizes(monkeypatch, tokens=N, words=V, kept=kept)
    whole = compute(way, 0.9, entropy_grad=False, dtype=torch.float32)
    for tokens in range(1, N + 1):
        sizes(monkeypatch, tokens=tokens, words=3, kept=kept)
        for a, b in zip(compute(way, 0.9, entropy_grad=False, dtype=torch.float32), whole, strict=True):
            assert (a - b).norm() < 1e-5 * b.norm()


def test_where_the_model_is_sure_gradients_keep_their_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A frozen layer in float32 and targets of probability 1 − 1e-6: float64's gradient to 1e-5 of itself, where
    W − Σ p W would have lost its first digit."""
    sizes(monkeypatch, tokens=4, words=3, kept=0)
    targets = torch.arange(N) % V
    weight = torch.eye(V) + torch.randn(V, V, generator=torch.Generator().manual_seed(0)) / 10
    hidden = torch.nn.functional.one_hot(targets, V) * 16.0
    exact = hidden.double().requires_grad_()
    logp = (exact @ weight.double().T).log_softmax(-1).gather(1, targets[:, None])[:, 0]
    (expected,) = torch.autograd.grad(logp.sum(), exact)
    assert -1e-5 < logp.max() < -1e-7
    found, _ = hidden_logprobs(hidden.requires_grad_(), weight, None, targets)
    (gradient,) = torch.autograd.grad(found.sum(), hidden)
    error = (gradient.double() - expected).norm(dim=1) / expected.norm(dim=1)
    assert float(error.max()) < 1e-5


@pytest.mark.parametrize("trained", [False, True])
def test_bfloat16_products_are_those_of_autocast(trained: bool) -> None:
    """Log-probabilities as from logits made under autocast, to rounding of the sum; gradients to that of bfloat16."""
    hidden, weight, bias, targets = layer(torch.float32)
    weight.requires_grad_(trained)

    def both(direct: bool) -> tuple[Tensor, list[Tensor]]:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            if direct:
                logits = torch.nn.functional.linear(hidden, weight, bias)
                assert logits.dtype == torch.bfloat16
                found, _ = token_logprobs(logits, targets)
            else:
                found, _ = hidden_logprobs(hidden, weight, bias, targets)
        return found, list(torch.autograd.grad(found.sum(), [hidden, weight] if trained else [hidden]))

    hidden.requires_grad_()
    (found, gradients), (expected, references) = both(False), both(True)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-6)
    assert all((a - b).norm() < 0.02 * b.norm() for a, b in zip(gradients, references, strict=True))
    assert all(gradient.dtype == torch.float32 for gradient in gradients)


@pytest.mark.parametrize("trained", [False, True])
def test_many_blocks_in_bfloat16_cost_little_exactness(trained: bool) -> None:
    """Seen from float64 on the same bfloat16 numbers, log-probabilities are as exact as from bfloat16 logits summed in
    float32, and gradients, whose blocks are rounded before they are added, within 1.4 times as exact."""
    draw = torch.Generator().manual_seed(0)
    words, size, tokens = 8 * output_layer.BLOCK_WORDS, 64, 32
    weight = (torch.randn(words, size, generator=draw) / 10).bfloat16()
    hidden = torch.randn(tokens, size, generator=draw).bfloat16()
    targets, up = torch.randint(words, (tokens,), generator=draw), torch.randn(tokens, generator=draw)

    def found_in(dtype: torch.dtype, *, blocks: bool) -> list[Tensor]:
        h, w = hidden.to(dtype, copy=True).requires_grad_(), weight.to(dtype, copy=True).requires_grad_(trained)
        if blocks:
            found, _ = hidden_logprobs(h, w, None, targets)
        else:
            logits = h @ w.T
            wide = logits if dtype == torch.float64 else logits.float()
            found = wide.log_softmax(-1).gather(1, targets[:, None])[:, 0]
        (found * up.to(found.dtype)).sum().backward()
        return [one.double() for one in (found.detach(), h.grad, w.grad) if one is not None]

    exact = found_in(torch.float64, blocks=False)
    ours, plain = found_in(torch.bfloat16, blocks=True), found_in(torch.bfloat16, blocks=False)
    apart = [float((a - c).norm() / (b - c).norm()) for a, b, c in zip(ours, plain, exact, strict=True)]
    assert len(apart) == 2 + trained
    assert apart[0] < 1.01
    assert max(apart[1:]) < 1.4
    assert max(float((b - c).norm() / c.norm()) for b, c in zip(plain, exact, strict=True)) < 0.01


@pytest.mark.parametrize("way", ["frozen", "again"])
def test_nothing_of_the_size_of_the_logits_is_made(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Forward and backward, 200 tokens by 60 words in blocks of 10 by 6: no tensor has more than a tenth of the logits,
    but for the weight's gradient."""
    sizes(monkeypatch, tokens=10, words=6, kept=0)
    made: list[int] = []

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            made.extend(
                one.numel() for one in (out if isinstance(out, tuple | list) else [out]) if isinstance(one, Tensor)
            )
            return out

    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(200, 4, generator=generator, requires_grad=True)
    weight = torch.randn(60, 4, generator=generator, requires_grad=way == "again")
    with Watching():
        found, _ = hidden_logprobs(hidden, weight, None, torch.arange(200) % 60)
        found.sum().backward()
    assert max(made) <= 200 * 60 // 10


def test_without_gradients_nothing_is_kept_and_values_are_the_same() -> None:
    """As for a reference: the same bits, and no graph."""
    hidden, weight, bias, targets = layer(torch.float32)
    with_graph, entropy = hidden_logprobs(hidden.requires_grad_(), weight, bias, targets, 0.7)
    with torch.no_grad():
        found, same = hidden_logprobs(hidden, weight, bias, targets, 0.7)
    assert not found.requires_grad
    assert torch.equal(found, with_graph)
    assert torch.equal(same, entropy)


def test_nan_stays_visible() -> None:
    """A broken hidden state gives NaN for its own token alone."""
    hidden, weight, bias, targets = layer(torch.float32)
    hidden[2, 0] = torch.nan
    found, _ = hidden_logprobs(hidden, weight, bias, targets)
    assert found.isnan().nonzero().tolist() == [[2]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def gemma(cap: float | None) -> Any:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    return Gemma2ForCausalLM(
        Gemma2Config(
            vocab_size=28, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=1, head_dim=8, final_logit_softcapping=cap,
        )
    ).eval()  # fmt: skip


def granite(scaling: float) -> Any:
    from transformers import GraniteConfig, GraniteForCausalLM

    sizes = {"vocab_size": 28, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    return GraniteForCausalLM(GraniteConfig(**sizes, num_attention_heads=2, logits_scaling=scaling)).eval()


def test_models_that_change_their_logits_are_told_apart(folder: Path) -> None:
    """Llama is plain; a cap of logits, a scale of them, and an adapted output layer are not."""
    assert is_plain(load_model(ModelRef(path=folder)))
    assert is_plain(gemma(None))
    assert not is_plain(gemma(30.0))
    assert is_plain(granite(1.0))
    assert not is_plain(granite(1.001))
    adapted = TrainerConfig(lora=LoraSettings(rank=2, targets=("q_proj", "lm_head")))
    assert not is_plain(Trainer(adapted, context(folder)).model)


def rows() -> list[Any]:
    draw = random.Random(3)
    made = []
    for prompt in [[draw.randrange(28) for _ in range(n)] for n in (1, 4, 9)] * 2:
        ids = [*prompt, *[draw.randrange(28) for _ in range(draw.randint(2, 9))]]
        made.append(token_row(ids, range(len(prompt), len(ids)), share_prompt=True))
    return made


@pytest.mark.parametrize("lora", [None, LoraSettings(rank=2)])
@pytest.mark.parametrize("tied", [True, False])
def test_the_trainer_has_the_gradient_of_the_logits_path(tmp_path: Path, lora: LoraSettings | None, tied: bool) -> None:
    """Every parameter, tied embeddings and an untied output layer included, with a gradient for the entropy."""
    folder = make_model(tmp_path / "m", tie_word_embeddings=tied)
    trainer = Trainer(TrainerConfig(lora=lora), context(folder))

    def gradients() -> dict[str, Tensor]:
        trainer.model.zero_grad()
        _, found, entropy = trainer.logprobs(rows(), 0.8, entropy_grad=True)
        (found.sum() + 3 * entropy.sum()).backward()
        return {name: p.grad.clone() for name, p in trainer.parameters.items() if p.grad is not None}

    assert trainer._plain_output
    direct = gradients()
    trainer._plain_output = False
    by_logits = gradients()
    assert direct.keys() == by_logits.keys() == trainer.parameters.keys()
    for name, gradient in direct.items():
        assert (gradient - by_logits[name]).norm() <= 1e-5 * by_logits[name].norm()


def test_capped_models_are_trained_on_their_capped_logits(folder: Path, tmp_path: Path) -> None:
    """Gemma 2: log-probabilities are those of the model's own logits, and the entropy has its gradient."""
    model = gemma(3.0)
    for parameter in model.parameters():
        parameter.data.mul_(3)
    model.save_pretrained(tmp_path)
    trainer = Trainer(TrainerConfig(), context(tmp_path))
    own = [token_row([1, 2, 3, 4, 5], range(2, 5), share_prompt=False)]
    _, found, entropy = trainer.logprobs(own, 0.5, entropy_grad=True)
    logp = (trainer.model(torch.tensor([[1, 2, 3, 4, 5]])).logits[0] / 0.5).log_softmax(-1)
    assert torch.allclose(found, torch.stack([logp[1, 3], logp[2, 4], logp[3, 5]]), atol=1e-5)
    parameters = list(trainer.parameters.values())
    gradients = torch.autograd.grad(entropy.sum(), parameters)
    expected = torch.autograd.grad(-(logp[1:4].exp() * logp[1:4]).sum(), parameters)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(gradients, expected, strict=True))
