#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the static library that is installed: one object in which only the public API is global.

usage: link_static.py OUT.a IN.a OBJCOPY AR CC...

Hidden visibility ends at a shared library's edge alone. In an archive every global symbol meets the
host's own: its volk, its inl_anything. So the objects become one, and what is hidden becomes local.
"""
import os
import subprocess
import sys


def main():
    out, archive, objcopy, ar, *cc = sys.argv[1:]
    one = out.removesuffix(".a") + ".o"
    subprocess.run(cc + ["-r", "-nostdlib", "-o", one, "-Wl,--whole-archive", archive,
                         "-Wl,--no-whole-archive"], check=True)
    subprocess.run([objcopy, "--localize-hidden", one], check=True)
    if os.path.exists(out):
        os.remove(out)
    subprocess.run([ar, "rcsD", out, one], check=True)
    os.remove(one)


if __name__ == "__main__":
    main()
