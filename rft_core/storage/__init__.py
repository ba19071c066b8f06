"""What a run keeps on disk: journal, rollout store, checkpoints."""
