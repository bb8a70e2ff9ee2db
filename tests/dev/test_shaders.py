#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""--shaders of the development programs: kernels come from a folder of sources, what does not
compile is named with its line, and what has not changed is not compiled again.

usage: test_shaders.py BUILD
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(build, folder, cache):
    program = [build / "tools/dev/bench_train", "-n", "1", "-s", "0.01", "-t", "8", "--shaders",
               folder, ROOT / "tools/basemodel/base.gguf"]
    return subprocess.run(list(map(str, program)), capture_output=True, text=True, timeout=300,
                          check=False, env={**os.environ, "XDG_CACHE_HOME": str(cache)})


def counts(done):
    assert done.returncode == 0, done
    found = re.search(r": (\d+) compiled, (\d+) as before", done.stderr)
    return int(found.group(1)), int(found.group(2))


def main():
    build = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory(prefix="inlay-shaders-") as name:
        folder, cache = Path(name) / "shaders", Path(name) / "cache"
        shutil.copytree(ROOT / "shaders", folder)
        first = run(build, folder, cache)
        if "needs a build with libshaderc" in first.stderr:
            print("skipped: this build has no libshaderc")
            return 77
        compiled, before = counts(first)
        assert compiled > 5 and before == 0, first
        source = folder / "rmsnorm.comp"
        text = source.read_text()
        source.write_text(text.replace("void main()\n{", "void main()\n{\n" +
                                       "    if (p.cols == 0u) return;"))
        assert source.read_text() != text
        assert counts(run(build, folder, cache)) == (1, compiled - 1)
        source.write_text(text + "nonsense\n")
        broken = run(build, folder, cache)
        assert broken.returncode == 1, broken
        assert f"rmsnorm.comp:{len(text.splitlines()) + 1}: error:" in broken.stderr, broken
        assert "the kernel rmsnorm" in broken.stderr, broken
        source.unlink()
        absent = run(build, folder, cache)
        assert absent.returncode == 1 and "rmsnorm.comp" in absent.stderr, absent
    return 0


if __name__ == "__main__":
    sys.exit(main())
