#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks that includes go down the layers only, and that each boundary is kept.

usage: check_layers.py              -> one line a violation, exit 1 when there is one
       check_layers.py --self-test  -> also plants violations in it; exit 1 when one is missed

- runtime/X includes its own headers and those of the layers ALLOWED names; api/ all of them.
- Vulkan is seen, through any chain of headers, in gpu/, api/device.c and inlay/vulkan.h alone.
- Of include/inlay, base/ sees the three headers that name no noun, api/ all, the layers between
  them none.
- A public header includes public headers and the C standard's, inlay/vulkan.h Vulkan's as well.
- tools/inlay includes, of ours, <inlay/...> and its own headers.
- A type's name is defined in one header: two meanings link side by side until a file needs both.
"""
import os
import re
import sys

from lib import tree

ALLOWED = {
    "base": [],
    "gpu": ["base"],
    "quant": ["base"],
    "io": ["base", "quant"],
    "op": ["base", "gpu", "quant"],
    "adapter": ["base", "quant", "io", "op"],
    "model": ["base", "quant", "io", "op", "adapter"],
    "train": ["base", "quant", "io", "op", "adapter", "model"],
    "verify": ["base", "gpu", "quant", "io", "op", "model"],
    "bench": ["base", "quant", "io", "op", "adapter", "model", "train", "verify"],
    "api": ["base", "gpu", "quant", "io", "op", "adapter", "model", "train", "verify", "bench"],
}
GENERATED = {"op_kernels.h": "op"}  # by the build: the layer it belongs to; it includes gpu/gpu.h
SHARED_WITH_SHADERS = {("runtime/op/params.h", "../../shaders/lib/params.h"),
                       ("runtime/quant/packed.h", "../../shaders/lib/packing.h")}
BASE_SEES = {"inlay/config.h", "inlay/error.h", "inlay/log.h"}
SEES_VULKAN = re.compile(r"runtime/gpu/|runtime/api/device\.c$|include/inlay/vulkan\.h$")
STANDARD = {f"{name}.h" for name in ("stdbool", "stddef", "stdint")}
TYPE = re.compile(r"^(?:\} (\w+);|typedef (?!(?:struct|enum|union) (\w+) \2;)[^{}();]* (\w+);"
                  r"|typedef [^{};]*\(\*(\w+)\)\()", re.MULTILINE)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def includes(text):
    return INCLUDE.findall(text)


def is_vulkan(name):
    return name == "volk.h" or name.startswith(("vulkan/", "vk_"))


def find_target(texts, path, name):
    """The path of the file of ours that `name`, included by `path`, is; None for anything else."""
    beside = os.path.normpath(os.path.join(os.path.dirname(path), name))
    for candidate in (f"runtime/{name}", f"include/{name}", beside):
        if candidate in texts:
            return candidate
    return None


def check_runtime(path, quote, name):
    layer = path.split("/")[1]
    if layer not in ALLOWED:
        return f"no layer is called {layer}"
    if name.startswith("inlay/"):
        if layer == "api" or (layer == "base" and name in BASE_SEES):
            return None
        return f"{layer}/ must not see <{name}>"
    if quote == "<" or (path, name) in SHARED_WITH_SHADERS:
        return None
    target = GENERATED.get(name, name.split("/")[0])
    if target not in ALLOWED:
        return f'"{name}" does not start with a layer'
    if target != layer and target not in ALLOWED[layer]:
        return f'{layer}/ must not include {target}/: "{name}"'
    return None


def check_public(path, quote, name):
    if quote == "<" and (name in STANDARD or name.startswith("inlay/")):
        return None
    if path == "include/inlay/vulkan.h" and name == "vulkan/vulkan_core.h":
        return None
    return f"a public header must not need {name}"


def check_tool(texts, path, quote, name):
    if is_vulkan(name):
        return f"the command line must not see {name}"
    target = find_target(texts, path, name)
    if quote == "<" and (target is None or name.startswith("inlay/")):
        return None
    if target is None and "/" not in name:
        return None  # not in the tree: the compiler will say so
    if target is not None and os.path.dirname(target) == "tools/inlay":
        return None
    return f"the command line must include <inlay/...> and its own headers alone, not {name}"


def check_vulkan(texts):
    """Whatever sees Vulkan hands it on to what includes it: spread until nothing changes."""
    why, changed = {}, True
    while changed:
        changed = False
        for path, text in texts.items():
            for _, name in includes(text) if path not in why else []:
                target = find_target(texts, path, name)
                if is_vulkan(name) or target in why:
                    why[path] = name
                    changed = True
                    break
    return [f"{path}: sees Vulkan through {name}" for path, name in why.items()
            if not SEES_VULKAN.match(path)]


def check_types(texts):
    """One meaning a name; a struct that is only named ahead is none."""
    said, defined = [], {}
    for path, text in texts.items():
        for match in TYPE.finditer(text) if path.endswith(".h") else []:
            name = match[1] or match[3] or match[4]
            if defined.setdefault(name, path) != path:
                said.append(f"{path}: {name} is another type in {defined[name]}")
    return said


def find_violations(texts):
    found = []
    for path, text in texts.items():
        for quote, name in includes(text):
            if path.startswith("runtime/"):
                said = check_runtime(path, quote, name)
            elif path.startswith("include/"):
                said = check_public(path, quote, name)
            else:
                said = check_tool(texts, path, quote, name)
            if said:
                found.append(f"{path}: {said}")
    return found + check_vulkan(texts) + check_types(texts)


PLANTED = [
    ("runtime/base/env.h", '"io/gguf.h"'), ("runtime/base/file.c", "<inlay/model.h>"),
    ("runtime/gpu/caps.c", '"quant/format.h"'), ("runtime/io/gguf.c", '"gpu/gpu.h"'),
    ("runtime/io/gguf.c", '"op_kernels.h"'), ("runtime/op/plan.c", '"io/gguf.h"'),
    ("runtime/adapter/lora.c", '"model/config.h"'), ("runtime/model/model.c", "<inlay/model.h>"),
    ("runtime/model/block.c", "<volk.h>"), ("runtime/train/trainer.c", '"gpu/gpu.h"'),
    ("runtime/train/trainer.c", '"api/handles.h"'), ("runtime/api/train.c", '"gpu/vk.h"'),
    ("runtime/api/train.c", '"../gpu/gpu.h"'), ("runtime/api/inlay.c", '"../../tests/x.h"'),
    ("runtime/api/model.c", "<inlay/vulkan.h>"), ("include/inlay/train.h", "<jansson.h>"),
    ("include/inlay/train.h", "<vulkan/vulkan_core.h>"), ("include/inlay/train.h", "<stdio.h>"),
    ("tools/inlay/args.c", '"base/env.h"'), ("tools/inlay/args.c", "<base/env.h>"),
    ("tools/inlay/args.c", "<vulkan/vulkan.h>"), ("tools/inlay/args.c", "<inlay/vulkan.h>"),
    ("tools/inlay/args.c", '"../../runtime/base/half.h"'), ("runtime/extra/x.c", '"base/env.h"'),
]


PLANTED_TYPES = ["typedef struct inl_map {\n} inl_map;\n", "typedef uint32_t inl_map;\n",
                 "typedef void (*inl_map)(void);\n"]


def self_test(texts):
    missed = 0
    for path, include in PLANTED:
        planted = dict(texts, **{path: f"#include {include}\n" + texts.get(path, "")})
        if not any(v.startswith(f"{path}: ") for v in find_violations(planted)):
            print(f"missed: {include} in {path}")
            missed += 1
    for header in PLANTED_TYPES:
        planted = dict(texts, **{"runtime/quant/x.h": header})
        if not any("another type" in v for v in find_violations(planted)):
            print(f"missed: {header}")
            missed += 1
    planted = len(PLANTED) + len(PLANTED_TYPES)
    print(f"{planted - missed} of {planted} planted violations found")
    return missed


def main():
    texts = tree.read_texts((".c", ".h", ".h.in"), ("runtime/", "include/inlay/", "tools/inlay/"))
    texts = {path.removesuffix(".in"): text for path, text in texts.items()}
    if len(texts) < 50:
        sys.exit(f"{len(texts)} files found, the tree is not here")
    violations = find_violations(texts)
    print("\n".join(violations) if violations else f"{len(texts)} files, no include goes up")
    if violations:
        return 1
    return 1 if "--self-test" in sys.argv[1:] and self_test(texts) else 0


if __name__ == "__main__":
    sys.exit(main())
