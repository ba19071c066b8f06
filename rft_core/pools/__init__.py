"""Pools of components: in this process, or in workers that are started, watched and shared."""
