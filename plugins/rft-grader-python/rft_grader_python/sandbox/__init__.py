"""Runs untrusted Python in a fresh fork of a frozen parent.

    host      launch.py, jobs.py, tiers.py      the process that has the grader
    zygote    zygote.py, outer.py               imports done, source loaded, never sees a sample
    fork      cage.py and the run_*.py          one a job, caged before it reads its job, killed after

The zygote and its forks import nothing of the engine: they start in 50 ms and hold little that could leak.
What is isolated in which tier: docs/sandbox.md.
"""
