"""`python -m rft_workers` is `rft-worker`."""

from rft_workers.cli import main

if __name__ == "__main__":
    main(prog_name="rft-worker")
