"""Updates per second and memory of `policy_gradient` and of TRL's GRPOTrainer, on the same model and tokens.

    python benchmarks/optimizer/speed.py --trl-python PATH [--case …] [--rounds 5]

PATH is a Python with TRL and peft, of the same torch, transformers and peft as here. Each side is a process of its own, with the same
number of threads; they take turns, round by round, and the other waits. Ratios are the median over rounds of one
side's time by the other's. Weights are random. Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
QWEN = {
    "vocab_size": 151936, "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "intermediate_size": 4864, "tie_word_embeddings": True, "rope_theta": 1e6,
    "max_position_embeddings": 32768, "use_sliding_window": False,
}  # fmt: skip
"""Qwen2.5-0.5B, by its config.json."""
LLAMA = {
    "vocab_size": 4096, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
    "num_key_value_heads": 4, "intermediate_size": 688, "tie_word_embeddings": True, "max_position_embeddings": 512,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One workload: `groups` prompts of `prompt` tokens, `group` completions of `completion` tokens each."""

    architecture: str
    settings: dict[str, Any]
    weights: str = "float32"
    """Dtype on disk. A model that is trained whole is kept in it by TRL and in float32 here."""
    compute: str = "float32"
    groups: int = 8
    group: int = 8
    prompt: int = 64
    completion: int = 64
    lora: dict[str, Any] | None = None
    updates: int = 3
    """Per round and side."""
    ours: dict[str, Any] = field(default_factory=lambda: {"packing": True, "micro_batch_tokens": 2400})


CASES = {
    "llama-fp32": Case(architecture="Llama", settings=LLAMA),
    "llama-bf16": Case(architecture="Llama", settings=LLAMA, compute="bfloat16"),
    "qwen-lora": Case(
        architecture="Qwen2", settings=QWEN, weights="bfloat16", compute="bfloat16", groups=2, group=4, prompt=256,
        lora={"rank": 16, "alpha": 32.0}, updates=1,
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trl-python", required=True)
    parser.add_argument("--case", action="append", choices=list(CASES), help="All by default.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trl-rows", type=int, help="Sequences that TRL computes at once; all by default.")
    parser.add_argument("--trl-checkpointing", action="store_true", help="TRL with activation checkpointing.")
    parser.add_argument("--no-packing", action="store_true", help="Measure this project's padded layout.")
    options = parser.parse_args()
    names = options.case or list(CASES)
    peaks = matmul_peaks(options.threads)
    print(f"Matrix products: {peaks['float32']:.0f} GFLOP/s in float32, {peaks['bfloat16']:.0f} in bfloat16.\n")
    print(
        "| case | TRL s | ours s | rate: ours / TRL (each round) | by CPU time | share of peak, TRL | ours | gradient norm, TRL | ours |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    memory = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            case = CASES[name]
            trl = {"trl_rows": options.trl_rows, "checkpointing": options.trl_checkpointing}
            workload = prepare(Path(folder), case, trl, options.threads, packing=not options.no_packing)
            rounds = measure(Path(folder), case, options.trl_python, options.rounds)
            print(time_row(name, case, workload, rounds, peaks[case.compute]), flush=True)
            memory.append(memory_row(name, rounds))
    print("\n| case | loaded MiB, TRL | ours | peak above it, TRL | ours | ratio | peak in all, TRL | ours | ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(memory))


def prepare(folder: Path, case: Case, trl: dict[str, Any], threads: int, *, packing: bool) -> dict[str, Any]:
    """Write a model with random weights, a tokenizer that both can load, and the workload."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models

    torch.manual_seed(0)
    config = getattr(transformers, f"{case.architecture}Config")(**case.settings, pad_token_id=0, eos_token_id=1)
    model = getattr(transformers, f"{case.architecture}ForCausalLM")(config).to(getattr(torch, case.weights))
    model.save_pretrained(folder / "model")
    backend = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "x": 2}, unk_token="x"))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>")
    tokenizer.save_pretrained(folder / "model")
    draw = random.Random(0)
    prompts = [[draw.randrange(2, config.vocab_size) for _ in range(case.prompt)] for _ in range(case.groups)]
    rows = [prompt for prompt in prompts for _ in range(case.group)]
    rewards = [draw.random() for _ in rows]
    trl_rows = trl["trl_rows"] or len(rows)
    if len(rows) % trl_rows:
        raise SystemExit(f"--trl-rows {trl_rows} does not divide the {len(rows)} sequences of this case")
    workload = {
        **asdict(case),
        "trl_rows": trl_rows,
        "trl_checkpointing": trl["checkpointing"],
        "threads": threads,
        "learning_rate": 1e-6,
        "prompts": rows,
        "completions": [[draw.randrange(2, config.vocab_size) for _ in range(case.completion)] for _ in rows],
        "rewards": rewards,
        "advantages": advantages(rewards, case.group),
        "linear": sum(
            p.numel() for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "head" not in n
        ),
        "output": config.vocab_size * config.hidden_size,
        "ours": {**case.ours, "packing": packing},
    }
    (folder / "workload.json").write_text(json.dumps(workload), encoding="utf-8")
    return workload


def advantages(rewards: list[float], size: int) -> list[float]:
    """(r − mean) / (std + 1e-6) per group, for TRL's loss, which is handed advantages."""
    found = []
    for start in range(0, len(rewards), size):
        group = rewards[start : start + size]
        mean, std = statistics.mean(group), statistics.stdev(group)
        found += [(reward - mean) / (std + 1e-6) for reward in group]
    return found


def measure(folder: Path, case: Case, trl_python: str, rounds: int) -> list[dict[str, dict[str, float]]]:
    """Answers of both sides, first to one update that warms up, then per round, each side first by turns."""
    with (
        side([trl_python, str(HERE / "trl_side.py"), str(folder)]) as trl,
        side([sys.executable, str(HERE / "ours_side.py"), str(folder)]) as ours,
    ):
        order = [("trl", trl), ("ours", ours)]
        first = {name: ask(process, 1) for name, process in order}
        return [first] + [
            {name: ask(process, case.updates) for name, process in order[:: 1 if turn % 2 else -1]}
            for turn in range(rounds)
        ]


@contextmanager
def side(command: list[str]) -> Any:
    """A process that answers lines; what it says besides goes to a file that is shown if it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONPATH")}
    environment |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=environment
        )
        try:
            yield process
        finally:
            if process.poll() is not None and process.returncode:
                said.seek(0)
                sys.stderr.write(said.read()[-4000:])
            process.stdin.close()  # type: ignore[union-attr]
            process.wait()


def ask(process: Any, updates: int) -> dict[str, float]:
    process.stdin.write(f"{updates}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        process.wait()
        raise SystemExit("one side ended; its last words are above")
    found: dict[str, float] = json.loads(line)
    return found


def time_row(name: str, case: Case, workload: dict[str, Any], rounds: list[Any], peak: float) -> str:
    """A line of the table of times. Operations are those that each side does: products of weights, two or three per
    token (frozen weights have no gradient), attention left out."""
    ratios, cpu = ([one["trl"][kind] / one["ours"][kind] for one in rounds[1:]] for kind in ("seconds", "cpu_seconds"))
    times = {who: statistics.median(one[who]["seconds"] for one in rounds[1:]) for who in ("trl", "ours")}
    rows = case.groups * case.group
    tokens = {"trl": rows * (case.prompt + case.completion)}
    tokens["ours"] = case.groups * (case.prompt - 1) + rows * case.completion
    passes = 4 if case.lora else 6
    share = {}
    for who, count in tokens.items():
        work = passes * (workload["linear"] * count + workload["output"] * rows * case.completion)
        share[who] = work / times[who] / (peak * 1e9)
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    norms = {who: rounds[0][who]["norm"] for who in ("trl", "ours")}
    return (
        f"| {name} | {times['trl']:.2f} | {times['ours']:.2f} | **{statistics.median(ratios):.2f}** ({each}) | {statistics.median(cpu):.2f} "
        f"| {share['trl']:.0%} | {share['ours']:.0%} | {norms['trl']:.5g} | {norms['ours']:.5g} |"
    )


def memory_row(name: str, rounds: list[Any]) -> str:
    last = rounds[-1]
    loaded, peak = ({who: last[who][key] / 2**20 for who in ("trl", "ours")} for key in ("loaded", "peak"))
    above = {who: peak[who] - loaded[who] for who in peak}
    return (
        f"| {name} | {loaded['trl']:.0f} | {loaded['ours']:.0f} | {above['trl']:.0f} | {above['ours']:.0f} "
        f"| **{above['ours'] / above['trl']:.2f}** | {peak['trl']:.0f} | {peak['ours']:.0f} | **{peak['ours'] / peak['trl']:.2f}** |"
    )


def matmul_peaks(threads: int) -> dict[str, float]:
    """GFLOP/s of the best of several square products, per dtype."""
    import torch

    torch.set_num_threads(threads)
    found = {}
    for name in ("float32", "bfloat16"):
        best = 0.0
        for size in (1024, 2048):
            a, b = (torch.randn(size, size).to(getattr(torch, name)) for _ in range(2))
            for _ in range(10):
                start = time.perf_counter()
                a @ b
                best = max(best, 2 * size**3 / (time.perf_counter() - start) / 1e9)
        found[name] = best
    return found


if __name__ == "__main__":
    main()
