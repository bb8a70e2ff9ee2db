# SPDX-License-Identifier: MIT
"""The project's own text files, for the scripts that check them."""
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def in_git():
    return os.path.exists(os.path.join(ROOT, ".git"))


def git(*arguments):
    """What git prints, whoever owns the checkout."""
    command = ["git", "-c", "safe.directory=*", "-C", ROOT, *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout.decode()


def list_files():
    """Paths relative to ROOT: what git tracks or would, else everything outside build folders."""
    if in_git():
        names = git("ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
        return sorted({n for n in names if n and os.path.isfile(os.path.join(ROOT, n))})
    found = []
    for folder, subfolders, names in os.walk(ROOT):
        subfolders[:] = [s for s in subfolders if not s.startswith((".", "build", "out", "__"))]
        found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names]
    return sorted(found)


def read_texts(suffixes, folders=("",)):
    """{path: text} of the files below `folders` whose names end in one of `suffixes`."""
    texts = {}
    for path in list_files():
        if path.endswith(suffixes) and path.startswith(tuple(folders)):
            with open(os.path.join(ROOT, path), encoding="utf-8", newline="") as f:
                texts[path] = f.read()
    return texts
