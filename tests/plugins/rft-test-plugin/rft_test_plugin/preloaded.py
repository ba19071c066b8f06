"""Imported once by the process that `forked` forks from: what runs of the tests import, from the plugins to torch."""

import gc

import peft  # noqa: F401
import tensorboard  # noqa: F401
import torch._dynamo  # noqa: F401
import transformers.models.llama.modeling_llama  # noqa: F401

import rft_core.cli.run_commands
import rft_core.runs.run
import rft_core.runs.stages
import rft_core.storage.store  # noqa: F401

gc.collect()
gc.freeze()
