import os
import re
import subprocess
import sys
import tempfile


def grade(sample, item):
    block = re.search(r"```(?:python)?\n(.*?)```", sample["output_text"], re.DOTALL)
    if block is None:
        return 0.0
    program = block.group(1) + "\n\n" + "\n".join(item["tests"]) + "\n"
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "solution.py")
        with open(path, "w", encoding="utf-8", errors="replace") as f:
            f.write(program)
        try:
            done = subprocess.run([sys.executable, "-I", path], cwd=folder, timeout=5,
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            return 0.0
    return 1.0 if done.returncode == 0 else 0.0
