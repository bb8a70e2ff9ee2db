#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks what the built libraries export, and that the library never ends or talks to the process.

usage: check_symbols.py BUILD_FOLDER
       check_symbols.py --self-test      -> plants violations; exit 1 when one is missed

- Shared and static library have exactly the global symbols that the headers declare INLAY_API.
- The other globals of the objects start with inl_; volk.c's are volk's.
- None of FORBIDDEN is referenced.
"""
import glob
import os
import re
import subprocess
import sys
import tempfile

from lib import tree

FORBIDDEN = set("""
exit _exit _Exit quick_exit atexit abort raise kill signal sigaction __assert_fail system popen fork
printf vprintf fprintf vfprintf dprintf puts fputs putchar putc fputc perror getchar fgets scanf
__printf_chk __vprintf_chk __fprintf_chk __vfprintf_chk stdin stdout stderr syslog
getenv secure_getenv setenv putenv setlocale srand rand random
""".split())
DECLARATION = re.compile(r"\bINLAY_API\b[^;(]*?\b(inlay_\w+)\s*\(", re.DOTALL)


def declared(headers):
    names = set()
    for path in headers:
        with open(path, encoding="utf-8") as f:
            names.update(DECLARATION.findall(f.read()))
    return names


def symbols(path, *options):
    """(object, symbol) pairs. `nm -A -P` writes "archive[object]: symbol type ..."."""
    out = subprocess.run(["nm", "-A", "-P", *options, path], check=True, capture_output=True,
                         text=True).stdout
    for line in out.splitlines():
        place, _, rest = line.rpartition(": ")
        yield place, rest.split()[0]


def check_exports(kind, found, wanted):
    said = [f"{kind} exports {name}, which no header declares" for name in sorted(found - wanted)]
    return said + [f"{kind} lacks {name}, which a header declares"
                   for name in sorted(wanted - found)]


def check_names(archive):
    """Nothing of ours may be called what a host's own code could be called."""
    said = []
    for place, name in symbols(archive, "-g", "--defined-only"):
        prefixes = ("vk", "volk") if "volk.c" in place else ("inl_", "inlay_")
        if not name.startswith(prefixes):
            said.append(f"{place}: {name} starts with none of {prefixes}")
    return said


def check_references(archive):
    return [f"{place}: references {name}" for place, name in symbols(archive, "-u")
            if name.split("@")[0] in FORBIDDEN]


def self_test():
    source = ("#include <stdio.h>\n#include <stdlib.h>\n"
              "int helper(void); int helper(void) { return getenv(\"HOME\") != 0; }\n"
              "int inl_shout(void); int inl_shout(void) { puts(\"a\"); abort(); }\n")
    with tempfile.TemporaryDirectory() as folder:
        path, archive = os.path.join(folder, "planted.c"), os.path.join(folder, "planted.a")
        with open(path, "w", encoding="utf-8") as f:
            f.write(source)
        subprocess.run(["cc", "-c", path, "-o", path + ".o"], check=True)
        subprocess.run(["ar", "rc", archive, path + ".o"], check=True)
        exported = {name for _, name in symbols(archive, "-g", "--defined-only")}
        said = "\n".join(check_names(archive) + check_references(archive) +
                         check_exports("it", exported, {"inl_shout", "inlay_missing"}))
    missed = [w for w in ("helper starts with", "references getenv", "references puts",
                          "references abort", "exports helper", "lacks inlay_missing")
              if w not in said]
    print(f"missed: {missed}" if missed else "every planted violation found")
    return bool(missed)


def check_build(build):
    wanted = declared(glob.glob(os.path.join(tree.ROOT, "include/inlay/*.h")))
    core = os.path.join(build, "runtime/libinlaycore.a")
    said = check_names(core) + check_references(core)
    for kind, name, option in (("the shared library", "libinlay.so", "-D"),
                               ("the static library", "libinlay.a", "-g")):
        path = os.path.join(build, "runtime", name)
        found = {name for _, name in symbols(path, option, "--defined-only")}
        said += check_exports(kind, found, wanted)
    print("\n".join(said) if said else f"both libraries export the {len(wanted)} functions")
    return bool(said) or not wanted


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    return self_test() if sys.argv[1] == "--self-test" else check_build(sys.argv[1])


if __name__ == "__main__":
    sys.exit(main())
