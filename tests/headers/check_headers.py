#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Compiles each public header alone, and twice in a row, as C11 and as C++17, without a warning.

usage: check_headers.py BUILD_FOLDER     one of the headers is generated there
"""
import glob
import itertools
import os
import shutil
import subprocess
import sys

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wundef", "-Werror"]
LANGUAGES = {"c": ["-std=c11", "-Wstrict-prototypes"], "c++": ["-std=c++17", "-Wold-style-cast"]}
COMPILERS = {"c": ("gcc", "clang"), "c++": ("g++", "clang++")}


def compile_alone(compiler, language, folders, header):
    text = f"#include <{header}>\n#include <{header}>\nint main(void) {{ return 0; }}\n"
    command = [compiler, "-x", language, *LANGUAGES[language], *WARNINGS, "-fsyntax-only",
               *[f"-I{folder}" for folder in folders], "-"]
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        print(f"{header}, {compiler} {LANGUAGES[language][0]}:\n{run.stderr}")
    return run.returncode == 0


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    folders = [os.path.join(base, "include") for base in (root, sys.argv[1])]
    headers = [os.path.relpath(path, folder) for folder in folders
               for path in sorted(glob.glob(os.path.join(folder, "inlay/*.h")))]
    compiled, failed = 0, 0
    for language, compilers in COMPILERS.items():
        present = [c for c in compilers if shutil.which(c)]
        if not present:
            print(f"no compiler for {language}: one of {compilers} is needed")
            return 1
        for compiler, header in itertools.product(present, headers):
            failed += not compile_alone(compiler, language, folders, header)
            compiled += 1
    print(f"{compiled} compilations of {len(headers)} headers, {failed} failed")
    return bool(failed) or len(headers) < 2


if __name__ == "__main__":
    sys.exit(main())
