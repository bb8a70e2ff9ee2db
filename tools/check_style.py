#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks what of the house style a machine can see.

usage: check_style.py [--self-test]     one line a violation, exit 1 when there is one

- Source files start with the licence's SPDX line (after #! where there is one).
- Text has no tabs, no blanks at a line's end, no carriage returns, and ends with one newline.
- C and GLSL are ASCII: other characters are written as escapes.
- Lines have at most 100 columns, files 900 lines, functions 100 lines.
"""
import ast
import re
import sys

from lib import tree

MOST_COLUMNS, MOST_LINES, MOST_FUNCTION_LINES = 100, 900, 100
C_LIKE = (".c", ".h", ".h.in", ".inc", ".comp", ".glsl")
SOURCE = C_LIKE + (".py", ".sh")
TEXT = SOURCE + ("meson.build", "meson_options.txt", "kernels.txt", ".md", ".yaml", ".yml")
SPDX = "SPDX-License-Identifier: MIT"


def c_functions(lines):
    """(first line, number of lines): a lone brace at the margin opens a function's body."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line.startswith("}") and start:
            yield start, number - start + 1
            start = None


def shell_functions(lines):
    start = None
    for number, line in enumerate(lines, 1):
        if re.fullmatch(r"\w+\(\) \{", line):
            start = number
        elif line == "}" and start:
            yield start, number - start + 1
            start = None


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1


def find_functions(path, text, lines):
    if path.endswith(".py"):
        return python_functions(text)
    return shell_functions(lines) if path.endswith(".sh") else c_functions(lines)


def check_text(path, text, lines):
    if "\r" in text:
        yield f"{path}: carriage returns"
    if not text.endswith("\n") or text.endswith("\n\n"):
        yield f"{path}: does not end with one newline"
    for number, line in enumerate(lines, 1):
        if "\t" in line:
            yield f"{path}:{number}: a tab"
        if line != line.rstrip():
            yield f"{path}:{number}: blanks at the end"


def check_source(path, text, lines):
    head = lines[1:2] if text.startswith("#!") else lines[:1]
    if not head or not head[0].endswith(SPDX):
        yield f"{path}: does not start with {SPDX}"
    if len(lines) > MOST_LINES:
        yield f"{path}: {len(lines)} lines, {MOST_LINES} at most"
    for number, line in enumerate(lines, 1):
        if path.endswith(C_LIKE) and not line.isascii():
            yield f"{path}:{number}: not ASCII"
        if len(line) > MOST_COLUMNS:
            yield f"{path}:{number}: {len(line)} columns, {MOST_COLUMNS} at most"
    for number, count in find_functions(path, text, lines):
        if count > MOST_FUNCTION_LINES:
            yield f"{path}:{number}: a function of {count} lines, {MOST_FUNCTION_LINES} at most"


def check_file(path, text):
    lines = text.split("\n")[:-1] if text.endswith("\n") else text.split("\n")
    if text:
        yield from check_text(path, text, lines)
    if path.endswith(SOURCE):
        yield from check_source(path, text, lines)


def self_test():
    spdx = f"// {SPDX}\n"
    body = "int f(void)\n{\n" + "    x();\n" * 99 + "}\n"
    python = f"# {SPDX}\ndef f():\n" + "    x()\n" * 100
    files = {"no newline": ("a.c", spdx + "int x;"), "two newlines": ("a.h", spdx + "\n\n"),
             "tab": ("a.comp", spdx + "\tx\n"), "blanks": ("b.md", "text \n"),
             "return": ("a.sh", f"#!/bin/sh\n# {SPDX}\r\nx\r\n"), "no licence": ("a.py", "x = 1\n"),
             "empty": ("a.inc", ""),
             "beyond ASCII": ("a.glsl", spdx + "// \u03b1\n"), "late licence": ("a.c", "\n" + spdx),
             "wide": ("a.glsl", spdx + "x" * 101 + "\n"), "long": ("a.c", spdx + "x;\n" * 900),
             "c function": ("a.c", spdx + body), "py function": ("a.py", python),
             "sh function": ("a.sh", f"# {SPDX}\nf() {{\n" + "x\n" * 99 + "}\n")}
    missed = [name for name, file in files.items() if not list(check_file(*file))]
    good = {"a.c": spdx + body.replace("    x();\n", "", 1), "a.py": f"#!/x\n# {SPDX}\nx = 1\n"}
    missed += [f"{path} is good" for path, text in good.items() if list(check_file(path, text))]
    print(f"missed: {missed}" if missed else "every planted violation found")
    return bool(missed)


def main():
    texts = tree.read_texts(TEXT)
    said = [violation for path, text in texts.items() for violation in check_file(path, text)]
    print("\n".join(said) if said else f"{len(texts)} files in style")
    failed = bool(said) or len(texts) < 50
    return self_test() or failed if "--self-test" in sys.argv[1:] else failed


if __name__ == "__main__":
    sys.exit(main())
