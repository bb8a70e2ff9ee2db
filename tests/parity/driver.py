# SPDX-License-Identifier: MIT
"""Running inlay: the test driver (driver.c) and the command line, and reading what they leave."""
import json
import os
import subprocess

from safetensors.torch import load_file

BUILD = os.environ["INLAY_BUILD"]


class Run:
    def __init__(self, folder):
        self.folder = folder
        with open(folder / "report.json", encoding="utf-8") as f:
            self.report = json.load(f)

    def tensors(self, name):
        """An adapter's tensors by PEFT's names without its prefix."""
        file = load_file(self.folder / name / "adapter_model.safetensors")
        return {key.removeprefix("base_model.model."): value for key, value in file.items()}

    def logits(self):
        file = load_file(self.folder / "logits.safetensors")
        return [file[str(i)] for i in range(len(file))]


def run(folder, **job):
    folder.mkdir(exist_ok=True)
    job["out"] = str(folder)
    path = folder / "job.json"
    path.write_text(json.dumps({k: str(v) if isinstance(v, os.PathLike) else v
                                for k, v in job.items()}))
    done = subprocess.run([f"{BUILD}/tests/parity_driver", str(path)], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return Run(folder)


def command(*words, stdin=""):
    """The inlay command; its standard output."""
    done = subprocess.run([f"{BUILD}/tools/inlay", *map(str, words)], input=stdin.encode("utf-8"),
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout.decode("utf-8")
