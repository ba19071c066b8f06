"""`rft-worker sampler|grader`: serve one kind of component."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rft_workers.server import Settings

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("kind", type=click.Choice(["sampler", "grader"]))
@click.option("--listen", metavar="ADDR", help="host:port, unix:/path or unix-abstract:name. Port 0 takes a free one.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="File with the token; else RFT_WORKER_TOKEN, else one is made.",
)
@click.option(
    "--concurrency", type=click.IntRange(1, 1024), default=4, show_default=True, help="Groups graded at the same time."
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads for computing.")
@click.option(
    "--max-components", type=click.IntRange(1, 256), default=4, show_default=True, help="Components kept loaded."
)
@click.option(
    "--grace",
    "grace_s",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    help="Seconds to finish what runs at SIGTERM.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), help="PEM certificate; required off this machine.")
@click.option("--tls-key", type=click.Path(path_type=Path), help="PEM key of the certificate.")
@click.option(
    "--tls-ca", type=click.Path(path_type=Path), help="Ask clients for a certificate of this authority (mTLS)."
)
@click.option("--bootstrap", is_flag=True, hidden=True, help="Started by the engine: settings come on standard input.")
def main(
    kind: str,
    listen: str | None,
    token_file: Path | None,
    concurrency: int,
    threads: int | None,
    max_components: int,
    grace_s: float,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    bootstrap: bool,
) -> None:
    """Serve a sampler or a grader. The engine says which component, when a run starts."""
    if threads is not None:
        # Read by libraries when they are loaded, so this comes before anything else is imported.
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    from rft_core.errors import RftError
    from rft_workers.server import Settings

    logging_to_stderr()
    try:
        if bootstrap:
            code = _serve_for_engine(kind, max_components, grace_s)
        elif listen is None:
            raise click.UsageError("give --listen, for example --listen 127.0.0.1:7070")
        else:
            from rft_workers.auth import find_token

            token, written = find_token(token_file)
            settings = Settings(
                kind="sampler" if kind == "sampler" else "grader",
                listen=listen,
                token=token,
                concurrency=concurrency,
                max_components=max_components,
                grace_s=grace_s,
                tls_cert=tls_cert,
                tls_key=tls_key,
                tls_ca=tls_ca,
            )
            code = _serve_by_hand(settings, written)
    except RftError as error:
        click.echo(f"rft-worker: {error}", err=True)
        code = error.exit_code
    # Calls that hang in a component's threads must not keep the process alive.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def logging_to_stderr() -> None:
    import logging

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _serve_for_engine(kind: str, max_components: int, grace_s: float) -> int:
    import asyncio

    from rft_workers.bootstrap import read_bootstrap, tell_ready
    from rft_workers.server import Settings, serve

    told = read_bootstrap()
    settings = Settings(
        kind="sampler" if kind == "sampler" else "grader",
        listen=told.listen,
        token=told.token,
        concurrency=told.concurrency,
        max_components=max_components,
        grace_s=grace_s,
    )
    return asyncio.run(serve(settings, lambda _: tell_ready(told.ready_fd)))


def _serve_by_hand(settings: Settings, written: Path | None) -> int:
    import asyncio

    from rft_workers.server import serve

    def tell(address: str) -> None:
        click.echo(f"rft-worker: {settings.kind} on {address}")
        if written is not None:
            click.echo(f"rft-worker: token {settings.token}")
            click.echo(f"rft-worker: token written to {written}")
        sys.stdout.flush()

    try:
        return asyncio.run(serve(settings, tell))
    finally:
        if written is not None:
            written.unlink(missing_ok=True)
