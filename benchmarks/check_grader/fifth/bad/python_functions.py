import os
import re
import subprocess
import sys
import tempfile


def extract_code(text):
    blocks = re.findall(r"```(?:python)?[ \t]*\n(.*?)```", text, re.S)
    return blocks[-1] if blocks else None


def grade(sample, item):
    code = extract_code(sample["output_text"])
    if code is None:
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "solution_test.py")
        with open(path, "w", encoding="utf-8", errors="replace") as f:
            f.write(code + "\n\n" + item["tests"] + "\n")
        try:
            done = subprocess.run(
                [sys.executable, "-I", path],
                cwd=folder, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=5,
            )
        except subprocess.TimeoutExpired:
            return 0.0
    return 1.0 if done.returncode == 0 else 0.0
