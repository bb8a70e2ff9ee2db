#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the C table of kernels from shaders/kernels.txt and the compiled SPIR-V.

usage: gen_kernels.py names KERNELS_TXT            -> "name|source|needs|defines" lines, checked
       gen_kernels.py header KERNELS_TXT OUT.h     -> enum of kernels
       gen_kernels.py table KERNELS_TXT OUT.c SPV... -> table with code; bindings and push-constant
                                                      size are read from the SPIR-V
"""
import re
import struct
import sys

OP_NAME_TYPES = {"struct": 30, "pointer": 32, "variable": 59, "decorate": 71, "member_decorate": 72,
                 "type_int": 21, "type_float": 22, "type_vector": 23, "type_image": 25}
BINDING, OFFSET, PUSH_CONSTANT = 33, 35, 9


def read_kernels(path):
    kernels = []
    with open(path, encoding="utf-8") as f:
        for number, line in enumerate(f, 1):
            line = line.split("#")[0].strip()
            if not line:
                continue
            fields = [field.strip() for field in line.split("|")]
            if len(fields) != 4 or not re.fullmatch(r"[a-z0-9_]+", fields[0]):
                sys.exit(f"{path}:{number}: expected name | source | needs | defines")
            kernels.append(fields)
    names = [k[0] for k in kernels]
    for name in names:
        if names.count(name) > 1:
            sys.exit(f"{path}: kernel {name} is listed twice")
    return kernels


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
    out.write("// Generated from shaders/kernels.txt.\n#ifndef INL_OP_KERNELS_H\n"
              "#define INL_OP_KERNELS_H\n\n#include \"gpu/gpu.h\"\n\ntypedef enum inl_kernel {\n"
              f"{rows}    INL_KERNEL_COUNT,\n}} inl_kernel;\n\n"
              "// By inl_kernel. A kernel this build's compiler could not make has no code.\n"
              "extern const inl_shader inl_kernels[INL_KERNEL_COUNT];\n"
              "// Its variant for a CPU's vectors, or itself where there is none.\n"
              "extern const inl_kernel inl_simd_kernels[INL_KERNEL_COUNT];\n\n#endif\n")


def write_table(kernels, paths, out):
    out.write("// Generated from shaders/kernels.txt.\n#include \"op_kernels.h\"\n\n")
    rows = []
    for (name, *_), path in zip(kernels, paths):
        with open(path, "rb") as f:
            code = f.read()
        bindings, texels, utexels, push = reflect(code)
        words = struct.unpack(f"<{len(code) // 4}I", code)
        lines = [", ".join(f"0x{w:x}" for w in words[i:i + 12]) for i in range(0, len(words), 12)]
        code = ",\n    ".join(lines)
        out.write(f"static const uint32_t {name}_code[] = {{\n    {code}}};\n")
        rows.append(f"    {{\"{name}\", {name}_code, sizeof({name}_code), {bindings}, {push}, "
                    f"{texels:#x}, {utexels:#x}}},\n")
    out.write("\nconst inl_shader inl_kernels[INL_KERNEL_COUNT] = {\n" + "".join(rows) + "};\n")
    names = [name for name, *_ in kernels]
    twins = [f"{name}_simd" if f"{name}_simd" in names else name for name in names]
    rows = "".join(f"    INL_KERNEL_{name.upper()},\n" for name in twins)
    out.write("\nconst inl_kernel inl_simd_kernels[INL_KERNEL_COUNT] = {\n" + rows + "};\n")


def main():
    command, kernels = sys.argv[1], read_kernels(sys.argv[2])
    if command == "names":
        for kernel in kernels:
            print("|".join(kernel))
    elif command == "header":
        with open(sys.argv[3], "w", encoding="utf-8") as out:
            write_header(kernels, out)
    elif command == "table":
        with open(sys.argv[3], "w", encoding="utf-8") as out:
            write_table(kernels, sys.argv[4:], out)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
