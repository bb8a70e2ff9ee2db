#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks the subjects of the commits made since this file is there.

usage: check_commits.py     one line a violation, exit 1 when there is one

A subject is "area/file: what it does now", at most 72 characters, without a full stop.
"""
import re
import sys

from lib import tree

MOST_CHARACTERS = 72
SUBJECT = re.compile(r"[\w./-]+(, [\w./-]+)*: \S.*[^. ]")


def check(commit, subject):
    if len(subject) > MOST_CHARACTERS:
        yield f"{commit}: {len(subject)} characters, {MOST_CHARACTERS} at most: {subject}"
    if not SUBJECT.fullmatch(subject):
        yield f'{commit}: not "area/file: what it does now", or with a full stop: {subject}'


def read_commits():
    made = tree.git("log", "--diff-filter=A", "--format=%H", "--", "tools/check_commits.py").split()
    if not made:
        return []
    log = tree.git("log", "--no-merges", "--format=%h %s", f"{made[-1]}..HEAD")
    return [line.split(" ", 1) for line in log.splitlines()]


def self_test():
    bad = ["no area", "io/gguf: with a stop.", "io: " + "x" * 69, "io/gguf:no space", "a b: c"]
    good = ["io/gguf: offsets are checked", "io, op: xy", ".ci/run: calls both", "io: " + "x" * 68]
    missed = [s for s in bad if not list(check("c", s))] + [s for s in good if list(check("c", s))]
    print(f"judged wrongly: {missed}" if missed else "every planted violation found")
    return bool(missed)


def main():
    if self_test():
        return 1
    if not tree.in_git():
        print("skipped: no history here")
        return 77
    commits = read_commits()
    said = [violation for commit in commits for violation in check(*commit)]
    print("\n".join(said) if said else f"{len(commits)} subjects as they should be")
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())
