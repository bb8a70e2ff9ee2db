#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that each row of the README's tables of what is supported names tests that exist and run.

usage: check_readme.py              -> one line a violation, exit 1 when there is one
       check_readme.py --self-test  -> also plants violations; exit 1 when one is missed

Such a table's last column is headed "tested by". Its cells hold, in backticks, files below tests/
or of runtime/verify, and after each the names of tests or of their cases. A C test must be
registered, a Python test defined, a case stand in quotes; tools/lib/suites.sh must run the file.
And what the code's own tables list must have a row, and files that the README and CONTRIBUTING.md
name must be there.
"""
import os
import re
import sys

from lib import tree

SUITES = "tools/lib/suites.sh"
# The code's table, what it looks like there, and the README's heading under which its names stand.
LISTED = [("runtime/model/arch.c", r'\{\.name = "(\w+)"', "Architectures"),
          ("runtime/quant/format.c", r'^    \{INL_FORMAT_\w+, "(?!NF4_PLAIN)(\w+)"',
           "Tensor types"),
          ("runtime/io/pretokenizer_names.c", r'^    \{\.names = \{"(?!default)([^"]+)"',
           "Tokenizers")]


def sections(readme):
    """(heading, [row's cells]) of each table whose last column is headed "tested by"."""
    heading, rows, inside = "", [], False
    for line in readme.splitlines() + [""]:
        if line.startswith("#"):
            heading = line.lstrip("# ")
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            if inside:
                yield heading, rows
            inside = False
        elif cells[-1] == "tested by":
            inside, rows = True, []
        elif inside and set(line) - set("|-: "):
            rows.append(cells)


def is_run(path, suites):
    """Whether suites.sh runs a file: by a script for its folder, or by the test's name."""
    folder, name = path.rsplit("/", 1)
    stem = name.rsplit(".", 1)[0].removeprefix("test_")
    if folder == "runtime/verify":
        return "test_kernels" in suites
    return f"{folder}/run.sh" in suites or bool(re.search(rf"\b{re.escape(stem)}\b", suites))


def has_test(texts, path, name):
    """Kernels' checks are called by the one that families.h has; a C file may include its cases."""
    text, folder, word = texts[path], path.rsplit("/", 1)[0], re.escape(name)
    for included in re.findall(r'#include "(\w+\.inc)"', text):
        text += texts.get(f"{folder}/{included}", "")
    pattern = (rf"^\s*def {word}\(" if path.endswith(".py") else
               rf"    {word}\(suite" if folder == "runtime/verify" else rf"_test\({word}\b")
    return f'"{name}"' in text or bool(re.search(pattern, text, re.MULTILINE))


def check_row(cells, texts):
    path = names = None
    for token in re.findall(r"`([^`]+)`", cells[-1]):
        if "/" in token:
            if path and not names:
                yield f"names no test of {path}"
            path, names = f"{'runtime' if token.startswith('verify/') else 'tests'}/{token}", 0
            if path not in texts:
                yield f"{path} does not exist"
            elif not is_run(path, texts[SUITES]):
                yield f"{path} is not in {SUITES}"
        elif path is None:
            yield f"{token} stands before any file"
        else:
            names += 1
            if path in texts and not has_test(texts, path, token):
                yield f"{path} has no test {token}"
    if not names:
        yield "names no test"


def check_listed(tables, texts):
    for path, pattern, heading in LISTED:
        listed = re.findall(pattern, texts[path], re.MULTILINE)
        if not listed:
            yield f"{path}: its table was not found"
        first = [word for rows in (r for h, r in tables if h == heading) for cells in rows
                 for word in re.findall(r"`([^`]+)`", cells[0])]
        for name in listed:
            if name not in first:
                yield f"README.md: {heading} has no row of {name}, which {path} lists"


def check_paths(texts):
    """`folder/file.c` or `folder/file.[ch]`; with <, * or spaces it is no file's name."""
    named = re.compile(r"`((?:runtime|shaders|tests|tools|include)/[^`<*\s]*)`")
    for guide in ("README.md", "CONTRIBUTING.md"):
        for path in named.findall(texts[guide]):
            for name in [path[:-4] + e for e in "ch"] if path.endswith("[ch]") else [path]:
                if not os.path.exists(os.path.join(tree.ROOT, name)):
                    yield f"{guide}: {name} does not exist"


def find_violations(texts):
    tables = list(sections(texts["README.md"]))
    found = [f"README.md: {heading}, {cells[0]}: {said}" for heading, rows in tables
             for cells in rows for said in check_row(cells, texts)]
    found += [*check_listed(tables, texts), *check_paths(texts)]
    return found, sum(len(rows) for _, rows in tables)


def self_test(texts):
    row = "\n## Planted\n\n| x | tested by |\n|---|---|\n| y | {} |\n"
    planted = ["nothing", "`unit/test_base.c`", "`unit/test_nothing.c` `test_x`", "`test_x`",
               "`unit/test_gguf.c` `test_nothing`", "`headers/check_headers.py` `nothing`",
               "`unit/test_base.c` `unit/test_gguf.c` `test_numbers`"]
    missed = [p for p in planted
              if not find_violations(dict(texts, **{"README.md": texts["README.md"] +
                                                    row.format(p)}))[0]]
    for path, pattern, _ in LISTED:
        name = re.search(pattern, texts[path], re.MULTILINE)
        line = name.group(0).replace(name.group(1), "planted1")
        if not find_violations(dict(texts, **{path: texts[path] + "\n" + line}))[0]:
            missed.append(f"a row in {path}")
    for guide in ("README.md", "CONTRIBUTING.md"):
        if not find_violations(dict(texts, **{guide: texts[guide] + "`tools/planted`"}))[0]:
            missed.append(f"a file that is not there, in {guide}")
    idle = dict(texts, **{SUITES: ""})
    if not find_violations(idle)[0]:
        missed.append("a suite that nobody runs")
    print(f"missed: {missed}" if missed else "every planted violation found")
    return bool(missed)


def main():
    texts = tree.read_texts((".c", ".py", ".sh", ".md", ".inc"),
                            ("tests/", "tools/lib/", "README.md", "CONTRIBUTING.md", "runtime/"))
    violations, rows = find_violations(texts)
    print("\n".join(violations) if violations else f"{rows} rows, each backed by a test")
    if violations or rows == 0:
        return 1
    return 1 if "--self-test" in sys.argv[1:] and self_test(texts) else 0


if __name__ == "__main__":
    sys.exit(main())
