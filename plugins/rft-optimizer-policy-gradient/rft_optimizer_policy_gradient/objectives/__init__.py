"""Objectives: what is maximised per token. One file each; see `tokens`."""
