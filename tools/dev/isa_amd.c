// SPDX-License-Identifier: MIT
// AMD's machine code, as RADV prints it: "v_fmac_f32_e32 v0, v1, v2 ; 02000501", "BB4:",
// "s_cbranch_scc0 BB4". Rates: GCN gives a wave of 64 to 16 lanes in 4 cycles; RDNA gives 32 lanes
// a cycle, a wave of 64 in two, which from RDNA3 on is one for the instructions that can be issued
// two at once.
#define _GNU_SOURCE
#include "isa.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GCN_CYCLES = 4, SLOW = 4, RDNA = 10, RDNA3 = 11, RDNA4 = 12 };

static bool ends(const char *word, const char *with)
{
    size_t n = strlen(word), m = strlen(with);
    return n >= m && strcmp(word + n - m, with) == 0;
}

// Bytes a lane that a load or store of this name moves.
static double bytes_of(const char *word)
{
    static const struct {
        const char *part;
        double bytes;
    } sizes[] = {{"x4", 16},   {"x3", 12}, {"x2", 8},  {"b128", 16}, {"b96", 12},
                 {"b64", 8},   {"b32", 4}, {"b16", 2}, {"short", 2}, {"ubyte", 1},
                 {"sbyte", 1}, {"_u8", 1}, {"_i8", 1}, {"_u16", 2},  {"_i16", 2}};
    double bytes = 4.0;
    for (size_t i = 0; i < INL_COUNT(sizes); i++)
        if (strstr(word, sizes[i].part)) {
            bytes = sizes[i].bytes;
            break;
        }
    return strstr(word, "2addr") || isa_starts(word, "ds_read2") || isa_starts(word, "ds_write2")
               ? 2.0 * bytes
               : bytes;
}

static bool is_one_of(const char *word, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (isa_starts(word, list[i]))
            return true;
    return false;
}
#define IS_ONE_OF(word, list) is_one_of(word, list, INL_COUNT(list))

static bool is_transcendental(const char *word)
{
    static const char *const names[] = {"v_exp_",  "v_log_", "v_rcp_", "v_rsq_",
                                        "v_sqrt_", "v_sin_", "v_cos_"};
    return IS_ONE_OF(word, names);
}

// A quarter of the rate everywhere; on GCN before gfx9 also what fuses f32.
static bool is_slow(const isa_chip *chip, const char *word)
{
    static const char *const names[] = {"v_mul_lo_u32", "v_mul_lo_i32", "v_mul_hi_", "v_mad_u64",
                                        "v_mad_i64"};
    static const char *const fused[] = {"v_fma_f32"};
    static const char *const converted[] = {"v_cvt_"};
    return IS_ONE_OF(word, names) || (chip->generation < 9 && IS_ONE_OF(word, fused)) ||
           (chip->generation < 9 && IS_ONE_OF(word, converted) && strstr(word, "f64"));
}

// Those that RDNA3 issues two of, or does a wave of 64 of at once.
static bool is_paired(const char *word)
{
    static const char *const names[] = {"v_fma_f32", "v_fmac_f32",    "v_fmaak",   "v_fmamk",
                                        "v_mul_f32", "v_add_f32",     "v_sub_f32", "v_subrev_f32",
                                        "v_mov_b32", "v_cndmask_b32", "v_max_f32", "v_min_f32",
                                        "v_dot2",    "v_fma_f16",     "v_fmac_f16"};
    return IS_ONE_OF(word, names);
}

// What one operation of a lane counts.
static void count_flops(const char *word, uint32_t width, isa_line *line)
{
    static const char *const fused[] = {
        "fma_f32",   "fmac_f32",  "fmaak_f32",   "fmamk_f32",   "mac_f32",        "mad_f32",
        "madak_f32", "madmk_f32", "fma_mix_f32", "mad_mix_f32", "fma_legacy_f32", "mad_legacy_f32"};
    static const char *const multiplied[] = {"mul_f32", "mul_legacy_f32"};
    static const char *const added[] = {"add_f32", "sub_f32", "subrev_f32"};
    if (isa_starts(word, "v_dual_"))
        word += 7;
    else
        word += 2;
    if (IS_ONE_OF(word, fused))
        line->flops[ISA_F32] += 2.0 * width;
    else if (IS_ONE_OF(word, multiplied))
        line->multiplied += width;
    else if (IS_ONE_OF(word, added))
        line->added += width;
    else if (isa_starts(word, "pk_fma_f16") || isa_starts(word, "dot2"))
        line->flops[ISA_F16] += 4.0 * width;
    else if (isa_starts(word, "fma_f16") || isa_starts(word, "fmac_f16"))
        line->flops[ISA_F16] += 2.0 * width;
    else if (isa_starts(word, "dot4"))
        line->flops[ISA_INT8] += 8.0 * width;
}

// v_wmma_f32_16x16x16_f16 is 2 * 16^3 flop a subgroup, at the chip's matrix peak; v_swmmac of
// sparse matrices is not used.
static void count_matrix(const isa_chip *chip, const char *word, isa_line *line)
{
    unsigned m = 16, n = 16, k = 16;
    const char *shape = strchr(word, 'x');
    while (shape && shape > word && shape[-1] >= '0' && shape[-1] <= '9')
        shape--;
    if (shape)
        sscanf(shape, "%ux%ux%u", &m, &n, &k);
    line->flops[ISA_TENSOR] = 2.0 * m * n * k;
    line->cycles[ISA_VECTOR] = line->flops[ISA_TENSOR] / chip->flops[ISA_TENSOR];
}

static void count_vector(const isa_chip *chip, uint32_t width, const char *text, const char *word,
                         isa_line *line)
{
    double cycles = chip->generation < RDNA ? GCN_CYCLES : width > 32 ? 2.0 : 1.0;
    const char *second = strstr(text, ":: v_dual_");
    if (chip->generation >= RDNA3 && width > 32 && is_paired(word))
        cycles = 1.0;
    if (is_slow(chip, word))
        cycles *= SLOW;
    if (!is_transcendental(word))
        line->cycles[ISA_VECTOR] = cycles;
    else if (chip->generation < RDNA) // no pipe of its own
        line->cycles[ISA_VECTOR] = SLOW * cycles;
    else {
        line->cycles[ISA_VECTOR] = cycles;
        line->cycles[ISA_SPECIAL] = SLOW * cycles;
    }
    count_flops(word, width, line);
    if (second) {
        char other[48];
        isa_word(second + 3, other, sizeof(other));
        count_flops(other, width, line);
    }
}

// The counters that waiting is by; gfx12 counts what others count together.
enum { LOADS = 1, SHARED = 2, STORES = 3, SCALARS = 4 };

static void wait_for(isa_line *line, int counter, const char *number)
{
    line->waits |= (uint8_t)(1u << counter);
    line->left[counter] = (uint8_t)strtoul(number, NULL, 0);
}

// "s_waitcnt vmcnt(3) lgkmcnt(0)", "s_waitcnt_vscnt null, 0x0", "s_wait_loadcnt_dscnt 0x103".
static void read_waits(const char *word, const char *text, isa_line *line)
{
    const char *vm = strstr(text, "vmcnt("), *lgkm = strstr(text, "lgkmcnt(");
    const char *number = strstr(text, "0x");
    if (vm)
        wait_for(line, LOADS, vm + 6);
    if (lgkm)
        wait_for(line, SHARED, lgkm + 8);
    if (!isa_starts(word, "s_wait_") || !number)
        return;
    unsigned long value = strtoul(number, NULL, 16);
    bool loads = strstr(word, "loadcnt") != NULL, shared = strstr(word, "dscnt") != NULL;
    char field[8];
    if (loads) {
        snprintf(field, sizeof(field), "%lu", shared ? value >> 8 : value);
        wait_for(line, LOADS, field);
    }
    if (shared) {
        snprintf(field, sizeof(field), "%lu", value & 0x3f);
        wait_for(line, SHARED, field);
    }
    if (strstr(word, "kmcnt"))
        wait_for(line, SCALARS, number);
}

static void load(isa_line *line, int counter, double latency)
{
    line->counter = (uint8_t)counter;
    line->latency = latency;
}

bool isa_amd(const isa_chip *chip, uint32_t width, const char *text, isa_line *line)
{
    char word[48];
    isa_word(text, word, sizeof(word));
    if (isa_starts(word, "BB") && ends(word, ":")) {
        snprintf(line->label, sizeof(line->label), "%.*s", (int)strlen(word) - 1, word);
        return true;
    }
    if (isa_starts(word, "s_branch") || isa_starts(word, "s_cbranch"))
        isa_word(strstr(text, word) + strlen(word), line->target, sizeof(line->target));
    line->leaves = strcmp(word, "s_branch") == 0 || strcmp(word, "s_endpgm") == 0;
    double turn = chip->generation < RDNA ? GCN_CYCLES : 1.0;
    line->issue = turn;
    if (isa_starts(word, "v_wmma") && chip->flops[ISA_TENSOR] > 0.0)
        count_matrix(chip, word, line);
    else if (isa_starts(word, "v_"))
        count_vector(chip, width, text, word, line);
    else if (isa_starts(word, "ds_")) {
        line->cycles[ISA_SHARED] = bytes_of(word) * width / chip->shared_bytes;
        load(line, SHARED, ISA_SHARED_LATENCY + line->cycles[ISA_SHARED]);
    } else if (isa_starts(word, "buffer_") || isa_starts(word, "global_") ||
               isa_starts(word, "image_")) {
        line->cycles[ISA_MEMORY] = bytes_of(word) * width / chip->memory_bytes;
        bool stores = strstr(word, "store") != NULL && chip->generation >= RDNA;
        load(line, stores ? STORES : LOADS, ISA_MEMORY_LATENCY);
    } else if (isa_starts(word, "s_wait")) {
        line->issue = 0.0;
        read_waits(word, text, line);
    } else if (isa_starts(word, "s_delay_alu") || isa_starts(word, "s_clause") ||
               isa_starts(word, "s_nop"))
        return false;
    else if (isa_starts(word, "s_load") || isa_starts(word, "s_buffer_load")) {
        line->cycles[ISA_SCALAR] = turn;
        load(line, chip->generation >= RDNA4 ? SCALARS : SHARED, ISA_SHARED_LATENCY);
    } else if (isa_starts(word, "s_"))
        line->cycles[ISA_SCALAR] = turn;
    else
        return false;
    line->issue = INL_MAX(line->issue, line->cycles[ISA_VECTOR]);
    return true;
}
