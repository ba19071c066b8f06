"""The model source `pretrained`: folders, and the hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tiny_models import context, make_model

from rft_core.errors import ModelError
from rft_torch.models import PretrainedConfig
from rft_torch.source import build_source


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("model") / "tiny")


def test_pretrained_source_finds_folders(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Relative to the run file; what is neither a folder nor reachable on the hub gets a sentence."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    there = context(folder)
    ref = build_source(PretrainedConfig(path=folder.name, device="cpu"), there).materialize(tmp_path)
    assert (ref.path, ref.device, ref.dtype) == (folder, "cpu", "float32")
    for path in ("./nowhere", "/no/such/folder", "a/b/c"):
        with pytest.raises(ModelError, match="there is no model folder"):
            build_source(PretrainedConfig(path=path), there).materialize(tmp_path)


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as a download needs: one repository, whose files hold their own names."""

    files = (
        "config.json", "model.safetensors", "consolidated.safetensors", "consolidated-00001-of-00002.safetensors",
        "original/model.safetensors", "pytorch_model.bin", "tokenizer.json",
    )  # fmt: skip

    def do_GET(self) -> None:
        if self.path.startswith("/api/") and "/tree/" in self.path:
            self.answer(json.dumps([{"type": "file", "path": f, "size": len(f), "oid": f} for f in self.files]))
        elif self.path.startswith("/api/"):
            self.answer(json.dumps({"id": "a/b", "sha": "0" * 40, "siblings": [{"rfilename": f} for f in self.files]}))
        else:
            self.answer(self.path.partition("/resolve/")[2])

    def do_HEAD(self) -> None:
        self.do_GET()

    def answer(self, text: str) -> None:
        self.send_response(200)
        for name, value in (("Content-Length", len(text)), ("X-Repo-Commit", "0" * 40), ("ETag", '"1"')):
            self.send_header(name, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(text.encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing on the terminal."""


def test_weights_are_fetched_once(tmp_path: Path) -> None:
    """From a hub repository come safetensors, JSON and tokenizer, without the second copy of the weights that some hold."""
    code = (
        "from pathlib import Path; from rft_core.specs import BuildContext; from rft_torch.source import *\n"
        "ref = build_source(PretrainedConfig(path='a/b'), BuildContext(base_dir=Path('.'))).materialize(Path('.'))\n"
        "print(*sorted(str(f.relative_to(ref.path)) for f in ref.path.rglob('*') if f.is_file()))"
    )
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    environment = {
        **{name: value for name, value in os.environ.items() if "proxy" not in name.lower()},
        "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
        "HF_HOME": str(tmp_path),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
    }
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.stdout.split() == ["config.json", "model.safetensors", "tokenizer.json"], done.stderr


def test_pretrained_source_offline_names_the_way_out(folder: Path) -> None:
    """Without the network a hub id fails at once, in one sentence."""
    code = (
        "from pathlib import Path; from rft_core.specs import BuildContext; from rft_torch.source import *\n"
        "build_source(PretrainedConfig(path='nobody/nothing'), BuildContext(base_dir=Path('.'))).materialize(Path('.'))"
    )
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "ModelError: the model 'nobody/nothing'" in done.stderr
    assert "go online, or set model.path to a folder" in done.stderr
