"""The sampler `transformers`, on small random models."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import transformers

from rft_core import BuildContext, ModelRef, Rollout, SampledUnit, SampleUnit, SamplingParams, WeightRef
from rft_core.errors import ComponentError, ConfigError, DataError, IntegrityError, ModelError
from rft_core.types import Prompt
from rft_core.weights import digest_of
from rft_sampler_transformers import rft_samplers
from rft_sampler_transformers.decode import Decoding, Row
from rft_sampler_transformers.distribution import choose, log_distribution
from rft_sampler_transformers.draws import keys_of, uniforms
from rft_sampler_transformers.sampler import TransformersSampler
from rft_sampler_transformers.steps import LEAN, choose_step, lean_step
from rft_tiny_llama.config import TinyLlamaConfig
from rft_tiny_llama.source import TinyLlamaSource
from rft_torch.lora import LoraSettings, add_lora
from rft_torch.models import load_model, load_tokenizer
from rft_torch.weights import adapter_tensors, publish_adapter, publish_full

(SPEC,) = rft_samplers()
ALPHABET = "abcdefgh .,!"
TEXTS = ("a", "abc", "hg fe", "bad cab.", "head, bed and face!", "abc", "dd")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    """A random Llama with grouped key-value heads and wide logits, so that few tokens are near-ties."""
    config = TinyLlamaConfig.model_validate(
        {"hidden_size": 32, "layers": 2, "heads": 4, "kv_heads": 2, "max_context": 64, "init_std": 0.2,
         "tokenizer": {"type": "characters", "alphabet": ALPHABET}}
    )  # fmt: skip
    return TinyLlamaSource(config, base_dir=Path()).materialize(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def sampler(model: ModelRef) -> TransformersSampler:
    return make(model)


def make(model: ModelRef, **settings: int) -> TransformersSampler:
    sampler = SPEC.build(SPEC.config.model_validate(settings), BuildContext(base_dir=Path(), model=model))
    assert isinstance(sampler, TransformersSampler)
    sampler.load_policy(policy(model.path))
    return sampler


def policy(folder: Path, number: int = 0) -> WeightRef:
    kind: Literal["full", "adapter"] = "adapter" if (folder / "adapter_config.json").exists() else "full"
    return WeightRef(run_id="run", lineage="main", number=number, digest=digest_of(folder), kind=kind, path=str(folder))


def unit(
    model: ModelRef,
    texts: Sequence[str] = TEXTS,
    n: int = 4,
    weights: WeightRef | None = None,
    first_seed: int = 0,
    **sampling: object,
) -> SampleUnit:
    prompts = tuple(
        Prompt(
            ordinal=i,
            messages=({"role": "user", "content": text},),
            seeds=tuple(first_seed + 1000 * i + k for k in range(n)),
        )
        for i, text in enumerate(texts)
    )
    params = SamplingParams.model_validate({"max_tokens": 24, **sampling})
    return SampleUnit(
        request_id="unit", run_id="run", policy=weights or policy(model.path), prompts=prompts, sampling=params
    )


def rollouts(result: SampledUnit) -> list[Rollout]:
    return [rollout for group in result.groups for rollout in group]


def plain_logits(model: torch.nn.Module, rollout: Rollout) -> torch.Tensor:
    """Logits of the completion's positions by one forward pass over prompt and completion, without a cache."""
    prompt, completion = (list(segment.token_ids) for segment in rollout.segments)
    with torch.inference_mode():
        logits: torch.Tensor = model(input_ids=torch.tensor([prompt + completion]), use_cache=False).logits
    return logits[0, len(prompt) - 1 : -1]


@pytest.mark.parametrize("max_batch", [256, 5])
@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.7, 0.9), (0.0, 1.0)])
def test_logprobs_equal_a_plain_forward_pass(model: ModelRef, temperature: float, top_p: float, max_batch: int) -> None:
    """Stored log-probabilities are those of the distribution sampled from, for prompts of many lengths
    in one batch, for rows that enter late, and after the cache was shifted or grown."""
    sampler = make(model, max_batch=max_batch, prefill_tokens=16)
    reference = load_model(model)
    result = sampler.sample(unit(model, n=6, temperature=temperature, top_p=top_p, max_tokens=40))
    lengths = {rollout.completion_tokens for rollout in rollouts(result)}
    assert len(lengths) > 3
    for rollout in rollouts(result):
        expected = log_distribution(plain_logits(reference, rollout), temperature=temperature, top_p=top_p)
        chosen = expected.gather(-1, torch.tensor(rollout.completion_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(rollout.segments[1].logprobs), chosen, atol=1e-4, rtol=0)


FAMILIES: dict[str, dict[str, object]] = {
    "LlamaForCausalLM": {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}},
    "MistralForCausalLM": {"sliding_window": None},
    "Qwen2ForCausalLM": {},
    "Qwen3ForCausalLM": {"head_dim": 12},
    "GPT2LMHeadModel": {},
    "GemmaForCausalLM": {"head_dim": 8},
    "Olmo2ForCausalLM": {},
    "Gemma2ForCausalLM": {"head_dim": 8, "sliding_window": 64, "query_pre_attn_scalar": 8},
    "GptOssForCausalLM": {"head_dim": 8, "sliding_window": 64, "num_local_experts": 4, "num_experts_per_tok": 2},
    "GPTJForCausalLM": {"rotary_dim": 4},
}
EAGER = {"Gemma2ForCausalLM", "GptOssForCausalLM", "GPTJForCausalLM"}
"""Without scaled_dot_product_attention in transformers."""


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_the_logprobs_of_its_own_forward(model: ModelRef, tmp_path: Path, family: str) -> None:
    """The lean step computes what each class that takes it computes; other classes take the plain step, with
    their own attention where they have no other."""
    cls = getattr(transformers, family)
    torch.manual_seed(0)
    config = cls.config_class(
        vocab_size=len(ALPHABET) + 5, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, eos_token_id=2, **FAMILIES[family],
    )  # fmt: skip
    reference = cls(config).eval()
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)  # biases and norms that are not 0 and 1
    reference.save_pretrained(tmp_path)
    load_tokenizer(model.path).save_pretrained(tmp_path)
    ref = ModelRef(path=tmp_path)
    assert (choose_step(reference) is lean_step) == (family in LEAN)
    assert (load_model(ref).config._attn_implementation == "eager") == (family in EAGER)
    for rollout in rollouts(make(ref, max_batch=9).sample(unit(ref, max_tokens=12))):
        expected = plain_logits(reference, rollout).log_softmax(-1)
        chosen = expected.gather(-1, torch.tensor(rollout.completion_ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(rollout.segments[1].logprobs), chosen, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        (
            transformers.BloomConfig(vocab_size=17, hidden_size=16, n_layer=1, n_head=2),
            "type bloom takes its positions",
        ),
        (
            transformers.FalconConfig(
                vocab_size=17, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, alibi=True
            ),
            "type falcon takes its positions",
        ),
        (transformers.MptConfig(vocab_size=17, d_model=16, n_layers=1, n_heads=2), "set max_position_embeddings"),
    ],
)
def test_models_that_cannot_be_batched_are_refused(
    model: ModelRef, tmp_path: Path, config: transformers.PretrainedConfig, sentence: str
) -> None:
    """One sentence when the sampler is built, in place of an error from within the model at the first step."""
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    load_tokenizer(model.path).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=sentence):
        make(ModelRef(path=tmp_path))


def test_sliding_windows_are_refused_when_they_would_bite(model: ModelRef, tmp_path: Path) -> None:
    """A model with a sliding window samples within the window, and says so where a rollout would leave it."""
    config = transformers.MistralConfig(
        vocab_size=len(ALPHABET) + 5, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, sliding_window=40,
    )  # fmt: skip
    transformers.MistralForCausalLM(config).save_pretrained(tmp_path)
    load_tokenizer(model.path).save_pretrained(tmp_path)
    ref = ModelRef(path=tmp_path)
    assert len(rollouts(make(ref).sample(unit(ref, max_tokens=10)))) == 4 * len(TEXTS)
    with pytest.raises(ModelError, match="windows of 40 tokens"):
        make(ref).sample(unit(ref, max_tokens=40))


def test_the_cache_grows_when_completions_are_long(model: ModelRef, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache that must grow, and be shifted, many times gives the rollouts of one that is large enough."""
    work = unit(model, n=6, max_tokens=50)
    expected = make(model, max_batch=9).sample(work)
    monkeypatch.setattr("rft_sampler_transformers.decode.FIRST_COLUMNS", 1)
    for left, right in zip(rollouts(expected), rollouts(make(model, max_batch=9).sample(work)), strict=True):
        assert left.completion_ids == right.completion_ids


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_the_cache_stays_within_its_bytes(model: ModelRef, share: float) -> None:
    """Whether all rows fit at once or others join the batch, keys and values take no more than max_cache_bytes."""
    built = make(model)
    prompts, rows = [[5, 6, 7]], [Row(prompt=0, seed=seed, limit=40) for seed in range(16)]
    whole = built._limits.token_bytes * len(rows) * 43
    limits = replace(built._limits, max_cache_bytes=int(share * whole), eos=frozenset())
    decoding = Decoding(built._model, built._decoder, limits, prompts, rows, SamplingParams(max_tokens=40))
    with torch.inference_mode():
        drawn = decoding.run()
    assert [len(one.tokens) for one in drawn] == [40] * len(rows)
    taken = sum(layer.keys.nbytes + layer.values.nbytes for layer in decoding._cache.layers)
    assert share * whole / 2 < taken <= limits.max_cache_bytes


def test_tokens_are_the_inverse_cdf_at_their_addressed_number(model: ModelRef, sampler: TransformersSampler) -> None:
    """Each token follows from the plain logits and u(seed, position) alone."""
    reference = load_model(model)
    for rollout in rollouts(sampler.sample(unit(model, temperature=0.7, top_p=0.9))):
        count = rollout.completion_tokens
        u = torch.from_numpy(uniforms(keys_of([rollout.seed] * count), np.arange(count)))
        logp = log_distribution(plain_logits(reference, rollout), temperature=0.7, top_p=0.9)
        assert choose(logp, u).tolist() == list(rollout.completion_ids)


def test_greedy_equals_generate(model: ModelRef, sampler: TransformersSampler) -> None:
    """Temperature 0 gives the tokens of transformers' own greedy decoding."""
    reference = load_model(model)
    for rollout in rollouts(sampler.sample(unit(model, n=1, temperature=0))):
        prompt = torch.tensor([rollout.segments[0].token_ids])
        generated = reference.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24
        )
        assert generated[0, prompt.shape[1] :].tolist() == list(rollout.completion_ids)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (1.5, 0.8)])
def test_frequencies_fit_the_distribution(
    model: ModelRef, sampler: TransformersSampler, temperature: float, top_p: float
) -> None:
    """Chi-square of 20,000 first tokens against exact probabilities, at p > 0.001."""
    draws = 20_000
    result = rollouts(
        sampler.sample(unit(model, ["bad cab."], n=draws, max_tokens=1, temperature=temperature, top_p=top_p))
    )
    counts = Counter(rollout.completion_ids[0] for rollout in result)
    logp = log_distribution(plain_logits(load_model(model), result[0]), temperature=temperature, top_p=top_p)
    expected = {token: draws * p for token, p in enumerate(logp.exp()[0].tolist())}
    assert all(expected[token] > 0 for token in counts)
    common = [token for token, number in expected.items() if number >= 10]
    rare = draws - sum(expected[token] for token in common)
    chi2 = sum((counts[token] - expected[token]) ** 2 / expected[token] for token in common)
    chi2 += (sum(counts.values()) - sum(counts[t] for t in common) - rare) ** 2 / max(rare, 10)
    freedom = len(common)
    # Wilson and Hilferty's approximation of the 99.9th percentile.
    assert len(common) > 4
    assert chi2 < freedom * (1 - 2 / (9 * freedom) + 3.09 * (2 / (9 * freedom)) ** 0.5) ** 3


def said_of_a_unit(path: Path) -> str:
    """Fingerprint, tokens and log-probabilities of a new sampler for one unit."""
    model = ModelRef(path=path)
    sampler = make(model, max_batch=7)
    return f"{sampler.info().fingerprint} {sampler.sample(unit(model, temperature=0.9))}"


def test_two_processes_give_the_same_bits(model: ModelRef) -> None:
    """The same unit here and in a fresh process gives equal fingerprints, tokens and log-probabilities, to the bit."""
    command = [sys.executable, __file__, str(model.path)]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert elsewhere.strip() == said_of_a_unit(model.path)
    assert "SampledUnit(" in elsewhere


def test_repeating_a_unit_gives_the_same_bits(model: ModelRef, sampler: TransformersSampler) -> None:
    """A unit's answer does not depend on what the sampler did before."""
    work = unit(model, temperature=1.0)
    first = sampler.sample(work)
    sampler.sample(unit(model, ["cab"], first_seed=5))
    assert sampler.sample(work) == first


def test_a_rollout_does_not_depend_on_its_neighbours(model: ModelRef, sampler: TransformersSampler) -> None:
    """A prompt alone, in other company, through a narrow batch or row by row draws the same tokens."""
    whole = sampler.sample(unit(model, temperature=0.9))
    narrow = make(model, max_batch=3).sample(unit(model, temperature=0.9))
    small = make(model, max_cache_bytes=1).sample(unit(model, temperature=0.9))
    for index, prompt in enumerate(unit(model).prompts):
        alone = sampler.sample(replace(unit(model, temperature=0.9), prompts=(prompt,)))
        expected = [rollout.completion_ids for rollout in alone.groups[0]]
        assert [rollout.completion_ids for rollout in whole.groups[index]] == expected
        assert [rollout.completion_ids for rollout in narrow.groups[index]] == expected
        assert [rollout.completion_ids for rollout in small.groups[index]] == expected


def test_answers_come_in_the_order_of_prompts_and_seeds(model: ModelRef, sampler: TransformersSampler) -> None:
    """Equal prompts in a unit share their forward pass and still get their own groups."""
    work = unit(model)
    result = sampler.sample(work)
    for prompt, group in zip(work.prompts, result.groups, strict=True):
        assert [rollout.seed for rollout in group] == list(prompt.seeds)
        assert [rollout.sample for rollout in group] == [0, 1, 2, 3]
        assert {rollout.ordinal for rollout in group} == {prompt.ordinal}
    assert result.groups[1][0].segments[0] == result.groups[5][0].segments[0]
    assert [r.completion_ids for r in result.groups[1]] != [r.completion_ids for r in result.groups[5]]


def test_finish_reasons(model: ModelRef, sampler: TransformersSampler) -> None:
    """EOS is a trained token outside the text and means stop; the token limit and the context mean length."""
    tokenizer = load_tokenizer(model.path)
    found = set()
    for rollout in rollouts(sampler.sample(unit(model, n=16, max_tokens=60))):
        ids = rollout.completion_ids
        prompt = rollout.segments[0].token_ids
        found.add(rollout.finish_reason)
        assert (ids[-1] == tokenizer.eos_token_id) == (rollout.finish_reason == "stop")
        assert tokenizer.eos_token_id not in ids[:-1]
        assert rollout.text == tokenizer.decode(list(ids), skip_special_tokens=True)
        if rollout.finish_reason == "length":
            assert len(ids) == min(60, 64 - len(prompt))
    assert found == {"stop", "length"}


@pytest.mark.parametrize("stop", [("!",), ("ab", "c."), (" ",)])
def test_stop_strings_end_the_text(model: ModelRef, sampler: TransformersSampler, stop: tuple[str, ...]) -> None:
    """A completion ends with the token that completes a stop string; the text ends before the match;
    everything up to there is what is drawn without stop strings."""
    tokenizer = load_tokenizer(model.path)
    free = rollouts(sampler.sample(unit(model, n=8, max_tokens=40)))
    stopped = rollouts(sampler.sample(unit(model, n=8, max_tokens=40, stop=stop)))
    cut = 0
    for without, rollout in zip(free, stopped, strict=True):
        starts = [without.text.find(string) for string in stop if string in without.text]
        if not starts:
            assert rollout.completion_ids == without.completion_ids
            continue
        cut += 1
        assert rollout.text == without.text[: min(starts)]
        assert rollout.finish_reason == "stop"
        assert rollout.completion_ids == without.completion_ids[: rollout.completion_tokens]
        whole, before = (
            tokenizer.decode(list(ids), skip_special_tokens=True)
            for ids in (rollout.completion_ids, rollout.completion_ids[:-1])
        )
        assert any(string in whole for string in stop)
        assert not any(string in before for string in stop)
    assert cut > 0


def test_stop_strings_cost_no_decoding_of_whole_completions(model: ModelRef) -> None:
    """A stop string that ends in white space concerns every token: a dozen tokens are decoded for each, and a
    whole completion once, at its end."""
    sampler = make(model)
    tokenizer = sampler._decoder._tokenizer
    decode, lengths = tokenizer.batch_decode, []

    def counting(rows: list[list[int]], **settings: object) -> list[str]:
        lengths.extend(map(len, rows))
        texts: list[str] = decode(rows, **settings)
        return texts

    tokenizer.batch_decode = counting
    drawn = rollouts(sampler.sample(unit(model, n=8, max_tokens=60, stop=("\n",))))
    assert max(rollout.completion_tokens for rollout in drawn) > 40
    assert len(lengths) > sum(rollout.completion_tokens for rollout in drawn) - len(drawn)
    assert sum(length > 12 for length in lengths) <= len(drawn)


def test_a_prompt_without_room_is_named(model: ModelRef, sampler: TransformersSampler) -> None:
    """A prompt as long as the context is an error that says how long, and by its ordinal which."""
    with pytest.raises(DataError, match=r"the prompt has 72 tokens .* context of 64; shorten it") as caught:
        sampler.sample(unit(model, ["a", "a" * 70]))
    assert caught.value.ordinal == 1


@pytest.mark.parametrize("temperature", [1.0, 0.0])
def test_weights_that_have_grown_too_far_are_a_sentence(model: ModelRef, tmp_path: Path, temperature: float) -> None:
    """Finite weights whose logits are not: no token is drawn from them, and the version is named."""
    grown, sampler = load_model(model), make(model)
    with torch.no_grad():
        for parameter in grown.parameters():
            parameter.mul_(1e15)
    publish_full(grown, tmp_path)
    weights = policy(tmp_path, number=3)
    sampler.load_policy(weights)
    with pytest.raises(
        ComponentError, match=r"policy version 3, .* logits are not finite: .* lower optimizer\.learning_rate"
    ):
        sampler.sample(unit(model, weights=weights, temperature=temperature))


def test_weights_of_another_version_are_refused(model: ModelRef, sampler: TransformersSampler) -> None:
    """A unit that asks for weights other than those loaded gets no rollouts."""
    other = replace(policy(model.path, number=3), digest="sha256:other")
    with pytest.raises(IntegrityError, match="policy version 3"):
        sampler.sample(unit(model, weights=other))


def test_full_weights_are_loaded_in_place(model: ModelRef, tmp_path: Path) -> None:
    """After load_policy the sampler draws as one that was built with those weights, and names the version."""
    config = {"hidden_size": 32, "layers": 2, "heads": 4, "kv_heads": 2, "max_context": 64, "init_std": 0.2, "seed": 1}
    settings = TinyLlamaConfig.model_validate({**config, "tokenizer": {"type": "characters", "alphabet": ALPHABET}})
    other = TinyLlamaSource(settings, base_dir=Path()).materialize(tmp_path)
    sampler = make(model)
    sampler.load_policy(policy(other.path, number=4))
    updated = sampler.sample(unit(other, weights=policy(other.path, number=4)))
    built = make(other).sample(unit(other))
    assert updated.policy == 4
    assert [r.segments[1].logprobs for r in rollouts(updated)] == [r.segments[1].logprobs for r in rollouts(built)]


def test_adapters_are_loaded_over_the_base(model: ModelRef, tmp_path: Path) -> None:
    """Rollouts under an adapter have the log-probabilities of the model with that adapter; a second
    adapter replaces the first."""
    sampler = SPEC.build(SPEC.config(), BuildContext(base_dir=Path(), model=model))
    assert isinstance(sampler, TransformersSampler)
    reference = load_model(model)
    add_lora(reference, LoraSettings(rank=4, alpha=8.0), seed=0, base_path=str(model.path))
    for number in (1, 2):
        with torch.no_grad():
            for index, tensor in enumerate(adapter_tensors(reference).values()):
                tensor.copy_(
                    torch.randn(tensor.shape, generator=torch.Generator().manual_seed(100 * number + index)) / 8
                )
        folder = tmp_path / str(number)
        folder.mkdir()
        publish_adapter(reference, folder)
        weights = policy(folder, number)
        sampler.load_policy(weights)
        for rollout in rollouts(sampler.sample(unit(model, weights=weights))):
            expected = plain_logits(reference, rollout).log_softmax(-1)
            chosen = expected.gather(-1, torch.tensor(rollout.completion_ids)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(rollout.segments[1].logprobs), chosen, atol=1e-4, rtol=0)
    with pytest.raises(IntegrityError, match="has served adapter ones"):
        sampler.load_policy(policy(model.path, 3))


@pytest.mark.parametrize(
    "package", ["rft-sampler-transformers", "rft-torch", "transformers", "tokenizers", "peft", "numpy"]
)
def test_the_fingerprint_names_every_package(
    sampler: TransformersSampler, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """Another version of what tokenizes, adapts, draws or computes is another fingerprint."""
    before = sampler.info().fingerprint
    monkeypatch.setattr(
        "rft_sampler_transformers.sampler.version", lambda name: "0.0.1" if name == package else version(name)
    )
    assert sampler.info().fingerprint != before


def test_info_names_model_and_build(model: ModelRef, sampler: TransformersSampler) -> None:
    """A CPU sampler promises equal bits; its fingerprint changes with the number of threads."""
    info = sampler.info()
    assert (info.bitwise, info.max_context, info.vocab_size) == (True, 64, len(ALPHABET) + 5)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert sampler.info().fingerprint != info.fingerprint
    finally:
        torch.set_num_threads(threads)


def test_a_model_is_needed() -> None:
    """Built without a model the sampler says what to set."""
    with pytest.raises(ConfigError, match="set `model:`"):
        SPEC.build(SPEC.config(), BuildContext(base_dir=Path()))


def test_registering_imports_nothing_heavy() -> None:
    """The plugin's module loads without torch and transformers."""
    code = "import sys, rft_sampler_transformers, rft_tiny_llama; assert not {'torch', 'transformers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":  # the other process of test_two_processes_give_the_same_bits
    print(said_of_a_unit(Path(sys.argv[1])))
