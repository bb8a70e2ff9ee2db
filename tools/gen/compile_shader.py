#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles one shader with glslc and validates the SPIR-V.

usage: compile_shader.py GLSLC SPIRV_VAL|- SOURCE OUT.spv OUT.d FLAGS...
"""
import os
import subprocess
import sys


def main():
    glslc, spirv_val, source, out, depfile, *flags = sys.argv[1:]
    compiled = subprocess.run([glslc, *flags, "-MD", "-MF", depfile, "-o", out, source])
    if compiled.returncode != 0:
        return compiled.returncode
    if spirv_val != "-":
        checked = subprocess.run([spirv_val, "--target-env", "vulkan1.2", out])
        if checked.returncode != 0:
            os.remove(out)
            return checked.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
