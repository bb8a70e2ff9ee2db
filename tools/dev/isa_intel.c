// SPDX-License-Identifier: MIT
// Intel's machine code, as ANV prints it: "mad(8) g107<1>F g42<8,8,1>F ...", "LABEL2:", "while(8)
// JIP: LABEL2"; what a send moves stands in the line after it. The number in parentheses is how
// many lanes the instruction works on, at 8 a cycle, 16 from Xe2 on. Integers have a pipe of their
// own from Xe-HPG on.
#define _GNU_SOURCE
#include "isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { XE_HPG = 125, XE2 = 200, MATH_LANES = 4 }; // lanes of an engine to one of its math unit

static double number_after(const char *text, const char *key)
{
    const char *found = strstr(text, key);
    return found ? atof(found + strlen(key)) : 0.0;
}

// "ugm MsgDesc: ( load, ... dst_len = 4, src0_len = 1, src1_len = 0", or on old chips "mlen 1 ...
// rlen 4": registers, of which the larger of what goes and what comes is counted.
static bool count_message(const isa_chip *chip, const char *text, isa_line *line)
{
    double grf = chip->generation >= XE2 ? 64.0 : 32.0;
    double to = number_after(text, "dst_len = "), from = number_after(text, "src1_len = ");
    if (strstr(text, " rlen ")) {
        to = number_after(text, " rlen ");
        from = number_after(text, " ex_mlen ");
    }
    bool shared = strstr(text, "slm ") || strstr(text, "Surface = 254");
    double bytes = INL_MAX(INL_MAX(to, from), 1.0) * grf;
    if (strstr(text, "MsgDesc: (") == NULL)
        return false; // a barrier, a thread's end
    line->cycles[shared ? ISA_SHARED : ISA_MEMORY] =
        bytes / (shared ? chip->shared_bytes : chip->memory_bytes);
    line->latency = shared ? ISA_SHARED_LATENCY + line->cycles[ISA_SHARED] : ISA_MEMORY_LATENCY;
    return true;
}

// The type of what is written: "g107<1>F", "null<1>UD", "acc0<1>HF".
static void type_of(const char *operands, char type[8])
{
    const char *region = strchr(operands, '>');
    type[0] = '\0';
    if (region)
        isa_word(region + 1, type, 8);
}

static void count_arithmetic(const char *op, const char *type, double lanes, isa_line *line)
{
    isa_kind kind = strcmp(type, "HF") == 0 ? ISA_F16 : ISA_F32;
    if (strcmp(op, "mad") == 0)
        line->flops[kind] += 2.0 * lanes;
    else if (kind == ISA_F32 && strcmp(op, "mul") == 0)
        line->multiplied += lanes;
    else if (kind == ISA_F32 && strcmp(op, "add") == 0)
        line->added += lanes;
}

// dpas.8x8(8): 8 rows, lanes columns, 8 steps of two f16.
static void count_matrix(const isa_chip *chip, const char *op, double lanes, isa_line *line)
{
    double steps = 8.0, rows = 8.0;
    sscanf(op, "dpas.%lfx%lf", &steps, &rows);
    line->flops[ISA_TENSOR] = 2.0 * rows * lanes * 2.0 * steps;
    line->cycles[ISA_MATRIX] = line->flops[ISA_TENSOR] / chip->flops[ISA_TENSOR];
}

static void count(const isa_chip *chip, const char *op, const char *operands, double lanes,
                  isa_line *line)
{
    double width = chip->flops[ISA_F32] / 2.0, cycles = INL_MAX(lanes / width, 1.0);
    char type[8];
    type_of(operands, type);
    bool floating = strcmp(type, "F") == 0 || strcmp(type, "HF") == 0;
    if (isa_starts(op, "dpas") && chip->flops[ISA_TENSOR] > 0.0)
        count_matrix(chip, op, lanes, line);
    else if (isa_starts(op, "math"))
        line->cycles[ISA_SPECIAL] = MATH_LANES * lanes / width;
    else if (isa_starts(op, "dp4a")) {
        line->flops[ISA_INT8] = 8.0 * lanes;
        line->cycles[ISA_VECTOR] = cycles;
    } else if (floating) {
        line->cycles[ISA_VECTOR] = strcmp(type, "HF") == 0 ? INL_MAX(cycles / 2.0, 1.0) : cycles;
        count_arithmetic(op, type, lanes, line);
    } else
        line->cycles[chip->generation >= XE_HPG ? ISA_INTEGER : ISA_VECTOR] = cycles;
}

// "$3" is signalled by what is not in order (a message, a function), "$3.dst" and "$3.src" wait.
static void read_tokens(const char *text, isa_line *line)
{
    for (const char *at = strchr(text, '$'); at; at = strchr(at + 1, '$')) {
        char *end;
        uint32_t token = 1u << (strtoul(at + 1, &end, 10) % ISA_TOKENS);
        if (*end == '.')
            line->awaits |= token;
        else
            line->signals |= token;
    }
}

bool isa_intel(const isa_chip *chip, uint32_t width, const char *text, isa_line *line)
{
    (void)width; // each instruction says how many lanes it is for
    if (isa_starts(text, "LABEL")) {
        snprintf(line->label, sizeof(line->label), "%.*s", (int)strcspn(text, ": "), text);
        return true;
    }
    read_tokens(text, line);
    if (strstr(text, "MsgDesc:"))
        return count_message(chip, text, line);
    if (text[0] == '(') // a predicate
        text = strchr(text, ' ') ? strchr(text, ' ') + 1 : text;
    char op[32];
    size_t n = strcspn(text, "( \t");
    if (isa_starts(text, "sync "))
        return line->awaits != 0;
    if (text[n] != '(' || n == 0 || n >= sizeof(op))
        return false;
    memcpy(op, text, n);
    op[n] = '\0';
    double lanes = atof(text + n + 1);
    if (strcmp(op, "while") == 0) {
        const char *jump = strstr(text, "LABEL");
        if (jump)
            isa_word(jump, line->target, sizeof(line->target));
    }
    if (isa_starts(op, "send"))
        line->cycles[ISA_SCALAR] = 1.0;
    else if (strcmp(op, "while") == 0 || strcmp(op, "if") == 0 || strcmp(op, "endif") == 0 ||
             strcmp(op, "break") == 0 || strcmp(op, "else") == 0)
        line->cycles[ISA_SCALAR] = 1.0;
    else
        count(chip, op, text + n, lanes, line);
    line->latency = ISA_SPECIAL_LATENCY;
    line->issue = 1.0;
    for (int p = 0; p < ISA_PIPE_COUNT; p++)
        line->issue = INL_MAX(line->issue, p == ISA_SPECIAL ? 0.0 : line->cycles[p]);
    return true;
}
