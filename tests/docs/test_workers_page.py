"""The TLS recipe of docs/workers.md, typed in and used."""

import re
import subprocess
from pathlib import Path

from doc_pages import BIN, DOCS, blocks

from rft_test_plugin.harness import engine, fast_run, summary

PAGE = DOCS / "workers.md"
TOKEN = "0123456789abcdef0123456789abcdef"


def test_the_tls_recipe_works(tmp_path: Path) -> None:
    """A worker with the certificate that the page makes grades a run; without the authority it is refused."""
    (recipe,) = [b.text for b in blocks(PAGE, "bash")]
    subprocess.run(["bash", "-euo", "pipefail", "-c", recipe], cwd=tmp_path, check=True, capture_output=True)
    (shown,) = re.findall(r"^rft-worker grader --listen 0.0.0.0:7070 (.*)$", PAGE.read_text(), re.MULTILINE)
    process = subprocess.Popen(
        [str(BIN / "rft-worker"), "grader", "--listen", "127.0.0.1:0", *shown.split()],
        cwd=tmp_path,
        env={"RFT_WORKER_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[-1]
        where = ["--set", f"grading.worker.address={address}"]
        env = {"RFT_WORKER_TOKEN": TOKEN}
        plain = engine("run", fast_run(tmp_path), "--name", "plain", *where, env=env)
        assert plain.code == 3
        assert address in plain.errors
        secure = engine(
            "run", fast_run(tmp_path), "--name", "fast", *where, "--set", "grading.worker.tls_ca=ca.pem", env=env
        )
        assert secure.code == 0, secure.errors
        assert summary(tmp_path / "runs" / "fast")["status"] == "succeeded"
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0
