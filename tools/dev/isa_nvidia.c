// SPDX-License-Identifier: MIT
// NVIDIA's machine code, as NVK prints it: "r1 = ffma.ftz r2 r3 r4 // delay=4", "block 8 L14 [7] ->
// {",
// "@!p0 bra pT L57". A quarter of an SM takes one instruction of a warp a cycle; 16 lanes do
// integers, 16 (Turing) or 32 (Ampere) floating point, 4 transcendental functions and conversions.
#define _GNU_SOURCE
#include "isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WARP = 32, INTEGER_LANES = 16, SPECIAL_LANES = 4 };

static double bytes_of(const char *op)
{
    return strstr(op, ".b128")  ? 16.0
           : strstr(op, ".b64") ? 8.0
           : strstr(op, ".b32") ? 4.0
           : strstr(op, "16")   ? 2.0
           : strstr(op, "8")    ? 1.0
                                : 4.0;
}

// hmma.16816, imma.16832 or mma.m16n8k16: rows, columns and depth.
static double matrix_flops(const char *op)
{
    const char *digits = op + strcspn(op, "0123456789");
    unsigned m, n, k;
    if (sscanf(digits, "%un%uk%u", &m, &n, &k) == 3)
        return 2.0 * m * n * k;
    size_t count = strspn(digits, "0123456789");
    k = (unsigned)atoi(digits + (count > 3 ? 3 : 2)); // 16816: 16, 8, 16; 1688: 16, 8, 8
    return 2.0 * 16 * 8 * k;
}

static bool is_float(const char *op)
{
    static const char *const names[] = {"ffma", "fmul", "fadd", "fmnmx", "fsetp", "fswzadd"};
    for (size_t i = 0; i < INL_COUNT(names); i++)
        if (isa_starts(op, names[i]))
            return true;
    return false;
}

static bool is_special(const char *op)
{
    static const char *const names[] = {"mufu", "transcendental", "i2f", "f2i",  "f2f",
                                        "i2i",  "popc",           "flo", "brev", "frnd"};
    for (size_t i = 0; i < INL_COUNT(names); i++)
        if (isa_starts(op, names[i]))
            return true;
    return false;
}

static bool is_control(const char *op)
{
    static const char *const names[] = {"bra",    "bssy",   "bsync",    "bclear", "exit", "bar",
                                        "nop",    "membar", "warpsync", "yield",  "bmov", "ldc",
                                        "depbar", "s2r",    "cs2r",     "r2ur",   "vote", "ccctl"};
    for (size_t i = 0; i < INL_COUNT(names); i++)
        if (isa_starts(op, names[i]))
            return true;
    return false;
}

static void count(const isa_chip *chip, const char *op, bool uniform, isa_line *line)
{
    double per_lane = chip->flops[ISA_F32] / 2.0;
    line->cycles[ISA_ISSUE] = 1.0;
    if (is_control(op))
        return;
    if (uniform)
        line->cycles[ISA_SCALAR] = 2.0;
    else if (isa_starts(op, "hmma") || isa_starts(op, "imma") || isa_starts(op, "mma")) {
        line->flops[ISA_TENSOR] = matrix_flops(op);
        line->cycles[ISA_MATRIX] = line->flops[ISA_TENSOR] / chip->flops[ISA_TENSOR];
    } else if (isa_starts(op, "hfma2")) {
        line->flops[ISA_F16] = 4.0 * WARP;
        line->cycles[ISA_VECTOR] = line->flops[ISA_F16] / chip->flops[ISA_F16];
    } else if (is_float(op)) {
        line->cycles[ISA_VECTOR] = WARP / per_lane;
        line->flops[ISA_F32] = isa_starts(op, "ffma") ? 2.0 * WARP : 0.0;
        line->multiplied = isa_starts(op, "fmul") ? WARP : 0.0;
        line->added = isa_starts(op, "fadd") ? WARP : 0.0;
    } else if (is_special(op))
        line->cycles[ISA_SPECIAL] = (double)WARP / SPECIAL_LANES;
    else if (isa_starts(op, "ld.shared") || isa_starts(op, "st.shared") || isa_starts(op, "shfl") ||
             isa_starts(op, "ldsm") || isa_starts(op, "atom.shared"))
        line->cycles[ISA_SHARED] = bytes_of(op) * WARP / chip->shared_bytes;
    else if (isa_starts(op, "ld") || isa_starts(op, "st") || isa_starts(op, "su") ||
             isa_starts(op, "atom"))
        line->cycles[ISA_MEMORY] = bytes_of(op) * WARP / chip->memory_bytes;
    else {
        if (isa_starts(op, "dp4a") || isa_starts(op, "idp4"))
            line->flops[ISA_INT8] = 8.0 * WARP;
        line->cycles[ISA_INTEGER] = (double)WARP / INTEGER_LANES;
    }
}

// "// delay=4 wt=000101 wr:0 rd:1": cycles to the next instruction, barriers that are waited for
// (the last digit is barrier 0), and those that are signalled when a result is there or operands
// are read.
static void read_schedule(const char *text, isa_line *line)
{
    const char *note = strstr(text, "// ");
    const char *delay = note ? strstr(note, "delay=") : NULL,
               *wait = note ? strstr(note, "wt=") : NULL;
    const char *written = note ? strstr(note, "wr:") : NULL,
               *read = note ? strstr(note, "rd:") : NULL;
    line->issue = delay ? atof(delay + 6) : 1.0;
    if (wait)
        line->awaits = (uint32_t)strtoul(wait + 3, NULL, 2);
    line->latency = line->cycles[ISA_MEMORY] > 0.0   ? ISA_MEMORY_LATENCY
                    : line->cycles[ISA_SHARED] > 0.0 ? ISA_SHARED_LATENCY + line->cycles[ISA_SHARED]
                                                     : ISA_SPECIAL_LATENCY;
    if (written)
        line->signals = 1u << (atoi(written + 3) & 7);
    else if (read) {
        line->signals = 1u << (atoi(read + 3) & 7);
        line->latency = ISA_SPECIAL_LATENCY;
    }
}

bool isa_nvidia(const isa_chip *chip, uint32_t width, const char *text, isa_line *line)
{
    (void)width;
    char word[64];
    isa_word(text, word, sizeof(word));
    if (isa_starts(word, "block")) {
        const char *label = strstr(text, " L");
        if (label)
            isa_word(label, line->label, sizeof(line->label));
        return label != NULL;
    }
    if (!word[0] || word[0] == '}')
        return false;
    const char *op = strstr(text, " = ");
    bool always = word[0] != '@', uniform = isa_starts(word, "ur") || isa_starts(word, "up");
    if (op)
        op += 3;
    else {
        op = text;
        if (word[0] == '@')
            op = strstr(text, word) + strlen(word);
    }
    const char *operands = op;
    isa_word(op, word, sizeof(word));
    if (strcmp(word, "bra") == 0) {
        const char *target = strstr(operands, " L");
        if (target)
            isa_word(target, line->target, sizeof(line->target));
        line->leaves = always && strstr(operands, " pT ");
    }
    if (strcmp(word, "exit") == 0)
        line->leaves = always;
    if (strcmp(word, "nop") == 0)
        return false; // where branches meet
    count(chip, word, uniform, line);
    read_schedule(text, line);
    return true;
}
