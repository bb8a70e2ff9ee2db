// SPDX-License-Identifier: MIT
// Runs operations of the plan on the device and compares them with float64.
//
// A case lives in one device buffer, the heap: every tensor, weight and input of the case is a
// region of it, with guard words before, after, and at the end of the range that is bound (drivers
// that clip stores at the end of a binding would hide an overrun otherwise). The heap is uploaded,
// the plan runs, the heap comes back, and every byte outside of the outputs must be what it was.
// Guard words are NaN, so that reading them shows too. Padding columns hold zero as the contract of
// plan.h says, padding rows hold finite garbage, and outputs hold NaN before the run.
//
// The tests of kernels run all cases, inlay_verify some. Where memory runs out, or the device is
// lost, the function under way does not return: the suite ends there (suite.h).
#ifndef INL_VERIFY_CASE_H
#define INL_VERIFY_CASE_H

#include "op/op.h"
#include "verify/names.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct kt_suite kt_suite;
typedef struct kt kt; // a case

// ---- cases

// NULL when the filter leaves the case out. The name and the suite's seed give the case's own
// numbers.
kt *kt_begin(kt_suite *suite, const char *format, ...) INL_PRINTF(2, 3);
// Finishes the plan, runs it, checks guards and inputs. False: there is no result to look at,
// because the case has failed already or nothing is to be looked at.
bool kt_run(kt *k);
// After kt_run: runs the plan on the same bytes once more, which must give the same bits.
bool kt_run_again(kt *k);
void kt_end(kt *k);
// The first failure of a case is kept, and told when it ends.
void kt_fail(kt *k, const char *format, ...) INL_PRINTF(2, 3);
// Why the case looks at nothing on this device.
void kt_skip(kt *k, const char *format, ...) INL_PRINTF(2, 3);

kt_suite *kt_suite_of(kt *k);
inl_plan *kt_plan(kt *k);
inl_gpu *kt_gpu(kt_suite *suite);
inl_gpu_caps *kt_caps(kt_suite *suite); // to tell the device for a while that it is another
bool kt_quick(const kt_suite *suite);   // not what takes the CPU driver or its compiler long
bool kt_brief(const kt_suite *suite);   // a few cases for each kernel (then it is quick, too)
// Both hold zeros and are freed at the end of the case.
void *kt_alloc(kt *k, uint64_t bytes);
inl_buffer *kt_buffer(kt *k, uint64_t bytes);
// What is not the device's to get right: anything but INLAY_OK ends the suite.
void kt_must(kt *k, inlay_result result);
uint32_t kt_u32(kt *k);                        // random
uint32_t kt_below(kt *k, uint32_t n);          // in [0, n)
float kt_f32(kt *k, float scale);              // in [-scale, scale)
double *kt_doubles(kt *k, uint64_t count);     // as kt_alloc
double *kt_copy(kt *k, const double *values, uint64_t count);
double *kt_absolute(kt *k, const double *values, uint64_t count); // NULL stays NULL

// ---- what the host writes before a step

typedef struct kt_inputs {
    inl_inputs in;
    struct step_scalars *scalars; // these point into the heap's image: fill before kt_run
    uint32_t *tokens, *positions, *starts, *ends, *rows, *labels;
    uint32_t tokens_count;
} kt_inputs;

// All for `tokens` tokens: one sequence, nothing supervised, a seed for dropout.
kt_inputs kt_make_inputs(kt *k, uint32_t tokens);
// Packs sequences of the given lengths (0 ends the list; the rest is one more) into starts, ends,
// positions.
void kt_pack(kt_inputs *inputs, const uint32_t *lengths);

// ---- tensors

typedef enum kt_kind {
    KT_IN,  // random, must stay as it is
    KT_OUT, // NaN before the run
    KT_ADD, // random, and written: +=, in place
} kt_kind;

typedef struct kt_mat {
    inl_tensor t;
    uint32_t region;
    uint32_t rows, cols, ld; // ld in floats
    double *v;               // [rows, cols]: what was uploaded; of outputs, what is expected
    const double *terms; // what errors are relative to where it is not v: [rows, cols], or NULL
    bool any_padding;    // padding columns are not compared
} kt_mat;

// Padded as the plan's tensors are. Random values in [-scale, scale).
kt_mat kt_tensor(kt *k, kt_kind kind, const char *name, uint32_t rows, uint32_t cols, float scale);
// `count` floats, padded with zeros to a multiple of `pad`.
kt_mat kt_array(kt *k, kt_kind kind, const char *name, uint32_t count, uint32_t pad, float scale);
// Writes values (rounded to f32, and v with them) over an input.
void kt_set(kt *k, kt_mat *m, const double *values);
inl_range kt_range(kt *k, const kt_mat *m);

// What products of f16, summed up in f32, are held to in the place of a smaller bound.
#define INL_PATHS_OF_HALVES (1u << INL_PATH_F16 | 1u << INL_PATH_MATRIX)
#define KT_HALVES_BOUND 1e-6

// What is there must be m->v: NMSE at most `bound`, no single element further off than 1000 times
// its square root in units of the expected RMS, padding columns zero.
void kt_expect(kt *k, const kt_mat *m, double bound);
void kt_expect_rows(kt *k, const kt_mat *m, uint32_t rows, double bound);
// Bit for bit (0 equals -0); v must be representable. Within KT_HALVES_BOUND where f16 was used.
void kt_expect_exact(kt *k, const kt_mat *m);
// After the run: the element as the device left it.
float kt_get(kt *k, const kt_mat *m, uint32_t row, uint32_t col);

// ---- words, for what is not f32

// `words` is what is there before the run, NULL: guard words that the run is to write over.
typedef struct kt_words {
    inl_range range;
    uint32_t region, count;
} kt_words;
kt_words kt_make_words(kt *k, const char *name, uint32_t count, const uint32_t *words);
void kt_expect_words(kt *k, const kt_words *w, const uint32_t *expected);
// Before the run and after it.
const uint32_t *kt_words_before(kt *k, const kt_words *w);
const uint32_t *kt_get_words(kt *k, const kt_words *w);

// ---- weights

#define KT_MAX_PARTS 4

typedef struct kt_weight {
    inl_weight w;
    inl_weight_part parts[KT_MAX_PARTS];
    double *v; // decoded, [rows, cols], or [experts, rows, cols]
} kt_weight;

// Random weights in `parts` parts. `raw`: any finite bit pattern of the format, not only what an
// encoder makes of well-behaved numbers.
void kt_make_weight(kt *k, inl_format_id format, uint32_t rows, uint32_t cols, uint32_t parts,
                    bool raw, kt_weight *out);

// Random matrices of `experts`, each encoded for itself, in `parts` parts of whole experts.
void kt_make_expert_weight(kt *k, inl_format_id format, uint32_t experts, uint32_t rows,
                           uint32_t cols, uint32_t parts, kt_weight *out);

#define KT_MAX_SLOTS 7

typedef struct kt_lora {
    inl_lora_arena arena;
    inl_lora_slot slots[KT_MAX_SLOTS];
    uint32_t count;
    uint32_t columns4;         // of h, in vec4s
    uint32_t column4[KT_MAX_SLOTS];
    kt_mat weights, gradients; // arrays; v of the gradients is what is expected: add to it
    double *a[KT_MAX_SLOTS], *b[KT_MAX_SLOTS]; // [rank, in], [out, rank], of each expert
    // DoRA: [out] of each slot; norms and squares as the slots have them.
    double *magnitude[KT_MAX_SLOTS], *norm[KT_MAX_SLOTS];
    kt_mat norms, squares;
} kt_lora;

// Slots in one arena, placed together as the adapter's are: A's first, then B's. A rank may be 0.
void kt_make_lora(kt *k, uint32_t count, const uint32_t *ranks, const uint32_t *ins,
                  const uint32_t *outs, float dropout, kt_lora *out);
void kt_make_expert_lora(kt *k, uint32_t experts, uint32_t count, const uint32_t *ranks,
                         const uint32_t *ins, const uint32_t *outs, float dropout, kt_lora *out);
// The same with DoRA's magnitudes and any norms: nothing says that they are those of W + s B A.
// Norms and squares are inputs, or what is expected of them is to be filled in.
void kt_make_dora(kt *k, kt_kind kind, uint32_t count, const uint32_t *ranks, const uint32_t *ins,
                  const uint32_t *outs, float dropout, kt_lora *out);
void kt_lora_expect_magnitude(kt_lora *l, uint32_t slot, const double *dm);
// Adds dense gradients [rank, in] and [out, rank], of each expert, to what is expected of the
// gradient arena.
void kt_lora_expect_add(kt_lora *l, uint32_t slot, const double *da, const double *db);
// The gradient arena as a whole, its padding exactly zero.
void kt_lora_expect(kt *k, const kt_lora *l, double bound);
// The columns of h or g [rows, columns4 * 4] that are slot `slot`'s, dense [rows, rank].
double *kt_lora_narrow(kt *k, const kt_lora *l, uint32_t slot, const double *h, uint32_t rows);
// Puts dense [rows, rank] there.
void kt_lora_widen(const kt_lora *l, uint32_t slot, const double *narrow, uint32_t rows, double *h);

#endif
