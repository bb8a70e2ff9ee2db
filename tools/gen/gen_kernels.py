#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the C table of kernels from shaders/kernels.txt and the compiled SPIR-V.

usage: gen_kernels.py names KERNELS_TXT            -> "name|source|needs|defines" lines, checked
       gen_kernels.py header KERNELS_TXT OUT.h     -> enums of kernels and of their families
       gen_kernels.py table KERNELS_TXT OUT.c SPV... -> table with code, families by tiling;
                                                      bindings and push-constant size are read
                                                      from the SPIR-V
       gen_kernels.py sources KERNELS_TXT OUT.h    -> names, sources and defines, for tools/dev

A line "list = word word ..." names a list, {list} in a later one stands for an earlier list. A row
with {list} in its name is one kernel for each word; {LIST} in its defines is the word in capitals.
The kernels of such a row are a family, looked up by how weights lie. A kernel that there is no
SPIR-V of, because the compiler lacks what it needs, has no code.
"""
import os
import re
import struct
import sys

OP_NAME_TYPES = {"struct": 30, "pointer": 32, "variable": 59, "decorate": 71, "member_decorate": 72,
                 "type_int": 21, "type_float": 22, "type_vector": 23, "type_image": 25}
BINDING, OFFSET, PUSH_CONSTANT = 33, 35, 9
NEEDS = ("simd", "f16", "dot8", "matrix")  # inl_path of gpu/gpu.h


def expand(fields, lists):
    """One (name, source, needs, defines, family, word) for each kernel of a row."""
    found = re.search(r"\{([a-z]+)\}", fields[0])
    if not found:
        return [(*fields, None, None)]
    name, slot = found.group(1), found.group(0)
    family = None if fields[0].endswith("_simd") else fields[0].replace("_" + slot, "")
    return [(fields[0].replace(slot, word), *fields[1:3],
             fields[3].replace(slot.upper(), word.upper()), family, word)
            for word in lists[name]]


def read_kernels(path):
    kernels, lists = [], {}
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            try:
                name, _, words = line.partition("=")
                if "|" not in name:
                    lists[name.strip()] = words.format(**{n: " ".join(w) for n, w in
                                                          lists.items()}).split()
                    continue
                rows = expand([field.strip() for field in line.split("|")], lists)
            except KeyError as e:
                sys.exit(f"{path}:{number}: there is no list {e}")
            for row in rows:
                if len(row) != 6 or not re.fullmatch(r"[a-z0-9_]+", row[0]):
                    sys.exit(f"{path}:{number}: expected name | source | needs | defines")
                if not set(row[2].split()) <= set(NEEDS):
                    sys.exit(f"{path}:{number}: needs are {', '.join(NEEDS)}")
            kernels += rows
    names = [k[0] for k in kernels]
    for name in names:
        if names.count(name) > 1:
            sys.exit(f"{path}: kernel {name} is listed twice")
    return kernels


def families_of(kernels):
    """{family: {word: kernel}}, in the list's order."""
    families = {}
    for name, _, _, _, family, word in kernels:
        if family:
            families.setdefault(family, {})[word] = name
    return families


def instructions(code):
    words = struct.unpack(f"<{len(code) // 4}I", code)
    if words[0] != 0x07230203:
        sys.exit("not a SPIR-V module")
    at = 5
    while at < len(words):
        count, op = words[at] >> 16, words[at] & 0xFFFF
        yield op, words[at + 1:at + count]
        at += count


def reflect(code):
    """Number of bindings, masks of those that are texel buffers of floats and of unsigned integers,
    bytes of push constants. A push block is a struct of 4-byte scalars."""
    bindings, structs, pointers, offsets, push = {}, {}, {}, {}, None
    floats, images, texels = set(), {}, {True: 0, False: 0}
    for op, args in instructions(code):
        if op == OP_NAME_TYPES["decorate"] and args[1] == BINDING:
            bindings[args[0]] = args[2]
        elif op == OP_NAME_TYPES["member_decorate"] and args[2] == OFFSET:
            offsets.setdefault(args[0], {})[args[1]] = args[3]
        elif op == OP_NAME_TYPES["struct"]:
            structs[args[0]] = args[1:]
        elif op == OP_NAME_TYPES["type_float"]:
            floats.add(args[0])
        elif op == OP_NAME_TYPES["type_image"]:
            images[args[0]] = args[1] in floats
        elif op == OP_NAME_TYPES["pointer"]:
            pointers[args[0]] = args[2]
        elif op == OP_NAME_TYPES["variable"] and args[2] == PUSH_CONSTANT:
            push = pointers[args[0]]
        elif op == OP_NAME_TYPES["variable"] and pointers[args[0]] in images:
            texels[images[pointers[args[0]]]] |= 1 << bindings[args[1]]
    push_bytes = struct_bytes(push, structs, offsets) if push is not None else 0
    return max(bindings.values(), default=-1) + 1, texels[True], texels[False], push_bytes


def struct_bytes(struct_id, structs, offsets):
    end = 0
    for index, member in enumerate(structs[struct_id]):
        size = struct_bytes(member, structs, offsets) if member in structs else 4
        end = max(end, offsets[struct_id][index] + size)
    return end


def write_header(kernels, out):
    rows = "".join(f"    INL_KERNEL_{name.upper()},\n" for name, *_ in kernels)
    families = "".join(f"    INL_KERNELS_{name.upper()},\n" for name in families_of(kernels))
    out.write("// Generated from shaders/kernels.txt.\n#ifndef INL_OP_KERNELS_H\n"
              "#define INL_OP_KERNELS_H\n\n#include \"gpu/gpu.h\"\n#include \"quant/format.h\"\n\n"
              f"typedef enum inl_kernel {{\n{rows}    INL_KERNEL_COUNT,\n}} inl_kernel;\n\n"
              "// Kernels of which there is one for each way that weights lie in tiles.\n"
              f"typedef enum inl_kernel_family {{\n{families}    INL_KERNELS_COUNT,\n"
              "} inl_kernel_family;\n\n"
              "// By inl_kernel. A kernel this build's compiler could not make has no code.\n"
              "extern const inl_shader inl_kernels[INL_KERNEL_COUNT];\n"
              "// Its variant for a CPU's vectors, or itself where there is none.\n"
              "extern const inl_kernel inl_simd_kernels[INL_KERNEL_COUNT];\n"
              "// INL_KERNEL_COUNT where the family has none for it.\n"
              "extern const inl_kernel "
              "inl_kernels_by_tiling[INL_KERNELS_COUNT][INL_TILING_COUNT];\n\n#endif\n")


def needs_mask(needs):
    return " | ".join(f"1u << INL_PATH_{need.upper()}" for need in needs.split()) or "0"


def write_table(kernels, paths, out):
    out.write("// Generated from shaders/kernels.txt.\n#include \"op_kernels.h\"\n\n")
    rows, compiled = [], {os.path.basename(path): path for path in paths}
    for name, _, needs, *_ in kernels:
        if f"{name}.spv" not in compiled:
            rows.append(f"    {{.name = \"{name}\", .needs = {needs_mask(needs)}}},\n")
            continue
        with open(compiled[f"{name}.spv"], "rb") as f:
            code = f.read()
        bindings, texels, utexels, push = reflect(code)
        words = struct.unpack(f"<{len(code) // 4}I", code)
        lines = [", ".join(f"0x{w:x}" for w in words[i:i + 12]) for i in range(0, len(words), 12)]
        code = ",\n    ".join(lines)
        out.write(f"static const uint32_t {name}_code[] = {{\n    {code}}};\n")
        rows.append(f"    {{\"{name}\", {name}_code, sizeof({name}_code), {bindings}, {push}, "
                    f"{texels:#x}, {utexels:#x}, {needs_mask(needs)}}},\n")
    out.write("\nconst inl_shader inl_kernels[INL_KERNEL_COUNT] = {\n" + "".join(rows) + "};\n")
    names = [name for name, *_ in kernels]
    twins = [f"{name}_simd" if f"{name}_simd" in names else name for name in names]
    rows = "".join(f"    INL_KERNEL_{name.upper()},\n" for name in twins)
    out.write("\nconst inl_kernel inl_simd_kernels[INL_KERNEL_COUNT] = {\n" + rows + "};\n")
    write_families(families_of(kernels), out)


def write_families(families, out):
    words = list(dict.fromkeys(word for kernels in families.values() for word in kernels))
    out.write("\nconst inl_kernel inl_kernels_by_tiling[INL_KERNELS_COUNT][INL_TILING_COUNT] = {\n")
    for family, kernels in families.items():
        out.write(f"    [INL_KERNELS_{family.upper()}] = {{\n")
        for word in words:
            kernel = f"INL_KERNEL_{kernels.get(word, 'count').upper()}"
            out.write(f"        [INL_TILING_{word.upper()}] = {kernel},\n")
        out.write("    },\n")
    out.write("};\n")


def write_sources(kernels, out):
    rows = "".join(f'    {{"{name}", "{source}", "{defines}"}},\n'
                   for name, source, _, defines, *_ in kernels)
    out.write("// Generated from shaders/kernels.txt, by inl_kernel.\n"
              "typedef struct dev_kernel {\n    const char *name, *source, *defines;\n"
              f"}} dev_kernel;\n\nstatic const dev_kernel dev_kernels[] = {{\n{rows}}};\n")


def main():
    command, kernels = sys.argv[1], read_kernels(sys.argv[2])
    if command == "names":
        for kernel in kernels:
            print("|".join(kernel[:4]))
    elif command == "header":
        with open(sys.argv[3], "w", encoding="utf-8") as out:
            write_header(kernels, out)
    elif command == "table":
        with open(sys.argv[3], "w", encoding="utf-8") as out:
            write_table(kernels, sys.argv[4:], out)
    elif command == "sources":
        with open(sys.argv[3], "w", encoding="utf-8") as out:
            write_sources(kernels, out)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
