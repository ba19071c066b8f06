import os
import subprocess
import sys
import tempfile


def grade(sample, item):
    program = sample["output_text"].replace("\x00", "") + "\n\n" + item["tests"] + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "solution.py")
        with open(path, "w", encoding="utf-8", errors="replace") as f:
            f.write(program)
        try:
            done = subprocess.run(
                [sys.executable, "-I", path],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=5,
            )
        except subprocess.TimeoutExpired:
            return 0.0
    return 1.0 if done.returncode == 0 else 0.0
