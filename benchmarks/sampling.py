"""Sampling: rft-engine's `transformers` sampler against `model.generate`, side by side.

    python benchmarks/sampling.py [--repeats 9] [--threads 2] [--device cuda] [--dtype bfloat16]

Both draw the same number of rollouts of the same length from the same random Llama in the same
process, alternating, so that a busy machine slows both. `generate` is used as other trainers use it:
one call for all rows, `do_sample=True`, `output_logits=True` where log-probabilities are wanted. The
sampler always records log-probabilities and addresses every random number. In most workloads there is
no end-of-sequence token, so that all rollouts have full length; with mixed lengths the prompts differ
in length and each rollout ends at a random token, as in a real run.

The table gives medians and the ratio of medians (generate / sampler; above 1 the sampler is faster).
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rft_core import ModelRef, SampleUnit, SamplingParams, WeightRef
from rft_core.types import Prompt
from rft_core.weights import digest_of
from rft_sampler_transformers.config import TransformersSamplerConfig
from rft_sampler_transformers.sampler import TransformersSampler
from rft_tiny_llama.config import TinyLlamaConfig
from rft_tiny_llama.source import TinyLlamaSource

ALPHABET = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 507))
"""With five special tokens a vocabulary of 512."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What both sides draw."""

    name: str
    shape: dict[str, int]
    prompts: int
    group: int
    tokens: int
    mixed: bool = False
    """Prompts of different lengths, and completions that end at one of 16 tokens, after 32 tokens on average."""


LARGE = {"hidden_size": 256, "layers": 4, "heads": 4, "intermediate_size": 640}
SMALL = {"hidden_size": 128, "layers": 2, "heads": 4, "intermediate_size": 384}
WORKLOADS = (
    Workload(name="3 M, 8 prompts × 8, 64 tokens", shape=LARGE, prompts=8, group=8, tokens=64),
    Workload(name="3 M, 32 prompts × 16, 64 tokens", shape=LARGE, prompts=32, group=16, tokens=64),
    Workload(name="3 M, 32 prompts × 16, mixed lengths", shape=LARGE, prompts=32, group=16, tokens=64, mixed=True),
    Workload(name="0.5 M, 32 prompts × 16, 24 tokens", shape=SMALL, prompts=32, group=16, tokens=24),
)

HALF_BILLION = {"hidden_size": 896, "layers": 24, "heads": 14, "kv_heads": 2, "intermediate_size": 4864}
ON_CUDA = Workload(name="0.36 B, 64 prompts × 8, 128 tokens", shape=HALF_BILLION, prompts=64, group=8, tokens=128)
"""Shaped as Qwen 2.5's 0.5 B, but for the vocabulary: too slow for two cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9, help="timings per side")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch's threads")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where both compute")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="of the weights of both")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cuda = arguments.device == "cuda"
    chip = torch.cuda.get_device_name() if cuda else torch.backends.cpu.get_cpu_capability()
    where = f"{chip}, {arguments.dtype}, {arguments.threads} threads"
    print(f"torch {torch.__version__}, {where}, medians of {arguments.repeats}\n")
    print("| workload | generate | generate with log-probs | sampler | ratio | ratio with log-probs |")
    print("|---|---|---|---|---|---|")
    for workload in (*WORKLOADS, ON_CUDA) if cuda else WORKLOADS:
        plain, recorded, ours = measure(workload, arguments.repeats, arguments.device, arguments.dtype)
        cells = [workload.name, *(f"{1000 * seconds:.0f} ms" for seconds in (plain, recorded, ours))]
        print(f"| {' | '.join(cells)} | {plain / ours:.2f} | {recorded / ours:.2f} |", flush=True)


def measure(workload: Workload, repeats: int, device: str, dtype: str) -> tuple[float, float, float]:
    """Median seconds of generate, of generate with log-probabilities, and of the sampler."""
    with tempfile.TemporaryDirectory() as folder:
        config = TinyLlamaConfig.model_validate(
            {
                **workload.shape,
                "max_context": 512,
                "tokenizer": {"type": "characters", "alphabet": ALPHABET},
                "device": device,
                "dtype": dtype,
            }
        )
        ref = TinyLlamaSource(config, base_dir=Path()).materialize(Path(folder))
        set_eos(ref.path, list(range(16, 32)) if workload.mixed else None)
        sides = [*generate_sides(ref, workload), sampler_side(ref, workload)]
        times: list[list[float]] = [[] for _ in sides]
        for repeat in range(repeats + 1):
            for side, found in zip(sides, times, strict=True):
                start = time.perf_counter()
                side(repeat)
                if repeat:  # the first round warms up
                    found.append(time.perf_counter() - start)
    plain, recorded, ours = (statistics.median(found) for found in times)
    return plain, recorded, ours


def set_eos(folder: Path, tokens: list[int] | None) -> None:
    """Let the model in `folder` end completions at these tokens only."""
    changes: dict[str, dict[str, Any]] = {
        "config.json": {"eos_token_id": tokens},
        "generation_config.json": {"eos_token_id": tokens},
        "tokenizer_config.json": {"eos_token": None},
    }
    for name, values in changes.items():
        file = folder / name
        file.write_text(json.dumps(json.loads(file.read_text()) | values))


def texts(workload: Workload) -> list[str]:
    lengths = [16 if not workload.mixed else 4 + (7 * i) % 29 for i in range(workload.prompts)]
    return ["".join(ALPHABET[(31 * i + 7 * j) % len(ALPHABET)] for j in range(n - 2)) for i, n in enumerate(lengths)]


def generate_sides(ref: ModelRef, workload: Workload) -> list[Callable[[int], Any]]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(ref.path, dtype=getattr(torch, ref.dtype)).to(ref.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(ref.path)
    rows = [f"<bos>{text}<sep>" for text in texts(workload) for _ in range(workload.group)]

    @torch.inference_mode()
    def plain(repeat: int) -> Any:
        torch.manual_seed(repeat)
        batch = tokenizer(rows, return_tensors="pt", padding=True).to(ref.device)
        return model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=True,
            top_k=0,
            max_new_tokens=workload.tokens,
        ).tolist()

    @torch.inference_mode()
    def recorded(repeat: int) -> Any:
        torch.manual_seed(repeat)
        batch = tokenizer(rows, return_tensors="pt", padding=True).to(ref.device)
        out = model.generate(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            do_sample=True,
            top_k=0,
            max_new_tokens=workload.tokens,
            output_logits=True,
            return_dict_in_generate=True,
        )
        chosen = out.sequences[:, -len(out.logits) :]
        return torch.stack(out.logits, 1).float().log_softmax(-1).gather(-1, chosen[..., None]).tolist()

    return [plain, recorded]


def sampler_side(ref: ModelRef, workload: Workload) -> Callable[[int], Any]:
    sampler = TransformersSampler(TransformersSamplerConfig(), ref)
    digest = digest_of(ref.path)
    weights = WeightRef(run_id="benchmark", lineage="main", number=0, digest=digest, kind="full", path=str(ref.path))
    sampler.load_policy(weights)
    params = SamplingParams(max_tokens=workload.tokens)

    def sample(repeat: int) -> Any:
        prompts = tuple(
            Prompt(
                ordinal=i,
                messages=({"role": "user", "content": text},),
                seeds=tuple(range(1000 * i, 1000 * i + workload.group)),
            )
            for i, text in enumerate(texts(workload))
        )
        return sampler.sample(
            SampleUnit(request_id=str(repeat), run_id="benchmark", policy=weights, prompts=prompts, sampling=params)
        )

    return sample


if __name__ == "__main__":
    main()
