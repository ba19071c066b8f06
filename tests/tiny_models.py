"""Llama models of a few thousand parameters, made on the fly, and rollouts over their alphabet."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from rft_core.registry import Registry
from rft_core.specs import BuildContext
from rft_core.types import Grade, GradedGroup, Group, Item, ModelRef, Rollout, SamplingParams, Segment

ALPHABET = "0123456789+-=abcdefgh xyz"
PAD, EOS = 0, 1
REGISTRY = Registry.discover()


def make_model(folder: Path, *, seed: int = 0, hidden: int = 32, layers: int = 2, **config: Any) -> Path:
    """A character-level Llama in `folder`, with random weights drawn from `seed`."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {token: i for i, token in enumerate(["<pad>", "<eos>", "<unk>", *ALPHABET])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    settings = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "max_position_embeddings": 128,
        **config,
    }
    model_config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        pad_token_id=PAD,
        bos_token_id=None,
        eos_token_id=EOS,
        **settings,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(model_config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.mul_(4)  # sharper than a fresh model, so that differences show
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def context(folder: Path, *, seed: int = 0, temperature: float = 1.0, top_p: float = 1.0, **model: Any) -> BuildContext:
    """A build context for the model in `folder`."""
    return BuildContext(
        base_dir=folder.parent,
        seed=seed,
        model=ModelRef(path=folder, **model),
        sampling=SamplingParams(temperature=temperature, top_p=top_p),
        part=lambda role, raw: REGISTRY.part(role, raw, where=f"optimizer.{role}"),
    )


def policy_gradient(folder: Path, **settings: Any) -> Any:
    """The optimizer `policy_gradient` with these settings, on the model in `folder`."""
    return REGISTRY.build("optimizer", {"type": "policy_gradient", "learning_rate": 1e-2, **settings}, context(folder))


class Rows(list[Item]):
    """Rows as a data source."""

    def item(self, index: int) -> Item:
        return self[index]

    def fingerprint(self) -> str:
        return "rows"


def rollout(
    ordinal: int,
    sample: int,
    prompt: tuple[int, ...],
    completion: tuple[int, ...],
    logprobs: tuple[float, ...],
    finish: Any = "stop",
) -> Rollout:
    return Rollout(
        ordinal=ordinal,
        sample=sample,
        seed=0,
        segments=(
            Segment(role="prompt", token_ids=prompt),
            Segment(role="assistant", token_ids=completion, logprobs=logprobs, trained=True, policy=0),
        ),
        text="",
        finish_reason=finish,
    )


def graded_group(ordinal: int, rollouts: list[Rollout], grades: list[Grade | float]) -> GradedGroup:
    item = Item(key=f"rows:{ordinal}", index=ordinal, row={"messages": []})
    group = Group(ordinal=ordinal, item=item, rollouts=tuple(rollouts))
    return GradedGroup(group=group, grades=tuple(g if isinstance(g, Grade) else Grade.score(g) for g in grades))


def random_groups(
    seed: int, *, groups: int = 6, samples: int = 4, vocab: int = 28, ragged: bool = True
) -> tuple[GradedGroup, ...]:
    """Groups with ragged prompts and completions, rewards in [0, 1], and plausible log-probabilities."""
    draw = random.Random(seed)
    made = []
    for ordinal in range(groups):
        prompt = tuple(draw.randrange(3, vocab) for _ in range(draw.randint(1, 9) if ragged else 6))
        rollouts = []
        for sample in range(samples):
            length = draw.randint(1, 11) if ragged else 8
            completion = tuple(draw.randrange(1, vocab) for _ in range(length))
            rollouts.append(
                rollout(ordinal, sample, prompt, completion, tuple(-draw.uniform(2, 4.5) for _ in completion))
            )
        made.append(graded_group(ordinal, rollouts, [round(draw.random(), 3) for _ in rollouts]))
    return tuple(made)
