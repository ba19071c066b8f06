"""Advantage estimators: how much better than expected each rollout did. One file each; see `scored`."""
