# SPDX-License-Identifier: MIT
"""Models that llama.cpp quantizes, of as many types as its mixes have: inlay reads them, and gives
the loss it gives for a file of the same weights that the gguf package decoded to F32.

run.sh starts it; INLAY_BUILD names the build folder.
"""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import gguf
import llama_cpp

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/parity"))
import llamas  # noqa: E402
import vocabularies  # noqa: E402

INLAY = Path(os.environ["INLAY_BUILD"]) / "tools/inlay"
MIXES = ["Q4_K_M", "Q3_K_M", "Q2_K", "IQ4_XS", "Q5_1"]


@llama_cpp.llama_log_callback
def say_nothing(level, text, user):
    pass


def quantize(source, out, mix):
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{mix}"), 1
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), params)
    if code != 0:
        raise AssertionError(f"llama.cpp could not quantize to {mix}")


class Quantized(unittest.TestCase):
    def loss(self, model):
        done = subprocess.run([INLAY, "eval", "-m", model, "-d", self.data, "--json"],
                              capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr.decode("utf-8", "replace"))
        return json.loads(done.stdout)["loss"]

    def test_mixes(self):
        with tempfile.TemporaryDirectory(prefix="inlay-quantized-") as name:
            folder = Path(name)
            self.data = folder / "data.txt"
            self.data.write_text("The dog sat by a wall and sang of a blue lamp to a cat.\n" * 9)
            source = folder / "f32.gguf"
            llamas.write(source, llamas.random_llama(5, dim=256, ffn=512, layers=2),
                         vocabularies.bytes_alone)
            plain = self.loss(source)
            types = set()
            for mix in MIXES:
                file, decoded = folder / f"{mix}.gguf", folder / f"{mix}-f32.gguf"
                quantize(source, file, mix)
                types |= {t.tensor_type.name for t in gguf.GGUFReader(file).tensors}
                llamas.write(decoded, llamas.from_gguf(file), vocabularies.bytes_alone)
                loss = self.loss(file)
                self.assertNotEqual(loss, plain)
                self.assertAlmostEqual(loss, self.loss(decoded), delta=1e-5, msg=mix)
            print("types:", " ".join(sorted(types)))
            self.assertGreater(len(types), 6)


if __name__ == "__main__":
    llama_cpp.llama_log_set(say_nothing, None)
    unittest.main()
