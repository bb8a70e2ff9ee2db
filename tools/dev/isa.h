// SPDX-License-Identifier: MIT
// A model of how fast a chip runs the innermost loop of a kernel, from the text of its machine
// code. It is a model: what no text says is not in it.
//
// Each instruction takes a pipe for so many cycles of one SIMD (AMD), vector engine (Intel) or
// quarter of an SM (NVIDIA). Pipes work beside each other, so a pass of the loop takes as long as
// the busiest. One subgroup alone takes longer, for it waits for what it loads: that time is
// divided by the subgroups a SIMD holds, and is the "wait" that a pass cannot be shorter than
// (isa_wait.c). What the loop's multiplications and additions would take at the chip's peak,
// divided by the longest of these, is the modelled share of peak. Of several loops that have none
// inside, the one with the most arithmetic counts.
//
// Modelled: issue and rate of vector, integer, transcendental and matrix instructions, lanes that a
// subgroup leaves empty, bytes into registers from shared memory and from the nearest cache,
// waiting for both where the machine code says what waits for what (not on Skylake). Not modelled:
// cache misses, bank conflicts, waiting at barriers and for the instruction before, branches not
// taken (they count as taken), what an outer loop does around the innermost, clocks that fall under
// load. So a share is what the loop could reach at most.
#ifndef DEV_ISA_H
#define DEV_ISA_H

#include "base/env.h"

typedef enum isa_pipe {
    ISA_VECTOR,  // floating point, and what shares its pipe
    ISA_INTEGER, // where it has a pipe of its own
    ISA_SPECIAL, // transcendental functions
    ISA_SCALAR,  // once a subgroup
    ISA_ISSUE,   // where all pipes share one slot a cycle
    ISA_MATRIX,
    ISA_SHARED, // memory of a workgroup
    ISA_MEMORY, // the nearest cache
    ISA_WAIT,   // no pipe: what subgroups wait for, shared between them
    ISA_PIPE_COUNT,
} isa_pipe;

typedef enum isa_kind { ISA_F32, ISA_F16, ISA_INT8, ISA_TENSOR, ISA_KIND_COUNT } isa_kind;

typedef enum isa_family { ISA_AMD, ISA_INTEL, ISA_NVIDIA } isa_family;

// Of one SIMD, vector engine or quarter of an SM, in a cycle.
typedef struct isa_chip {
    const char *name;  // the lab's
    const char *match; // part of the device's name
    isa_family family;
    uint32_t generation;          // AMD: gfx major; Intel: graphics version * 10; NVIDIA: sm
    double flops[ISA_KIND_COUNT]; // peak; 0: no such instructions
    double shared_bytes, memory_bytes;
} isa_chip;

// NULL: not in the table. `name` NULL: by the device's name.
const isa_chip *isa_find_chip(const char *name, const char *device);
const char *isa_pipe_name(isa_pipe pipe);

// ---- one line of machine code

enum { ISA_COUNTERS = 5, ISA_TOKENS = 32 };
enum { ISA_MEMORY_LATENCY = 320, ISA_SHARED_LATENCY = 64, ISA_SPECIAL_LATENCY = 20 }; // cycles

typedef struct isa_line {
    char label[16];  // defined here; "": none
    char target[16]; // of a branch; "": none
    bool leaves;     // the next line does not follow
    double cycles[ISA_PIPE_COUNT];
    double flops[ISA_KIND_COUNT]; // of a subgroup
    double multiplied, added;     // f32 lanes of instructions that do one of the two
    // For isa_wait.c. What is loaded comes after `latency` cycles: in order, counted by `counter`,
    // or signalled by tokens. An instruction waits until no more than `left` of a counter are under
    // way, where its bit of `waits` is set, and for the tokens it awaits.
    double issue, latency;  // cycles; until the subgroup's next instruction
    uint8_t counter, waits; // counter 0: none
    uint8_t left[ISA_COUNTERS];
    uint32_t signals, awaits; // masks of tokens
} isa_line;

// False: nothing that counts. `width`: lanes of a subgroup.
bool isa_amd(const isa_chip *chip, uint32_t width, const char *text, isa_line *line);
bool isa_intel(const isa_chip *chip, uint32_t width, const char *text, isa_line *line);
bool isa_nvidia(const isa_chip *chip, uint32_t width, const char *text, isa_line *line);

// The first word of a line, without blanks before it.
void isa_word(const char *text, char *word, size_t size);
bool isa_starts(const char *word, const char *with);

// ---- the loop

typedef struct isa_model {
    bool known; // there is a loop with arithmetic, and the chip is in the table
    double share;
    isa_pipe limit; // the busiest
    double cycles;  // of a pass, in the busiest pipe
    double flops;   // of a pass and lane
    isa_kind kind;  // that most of the arithmetic is of
    uint32_t instructions;
} isa_model;

// The cycles that a subgroup alone takes for a pass of these lines.
double isa_pass(const isa_line *lines, size_t count);

// `width`: lanes of a subgroup; `invocations` of a workgroup, which may leave some of them empty;
// `subgroups` that a SIMD holds at a time.
isa_model isa_model_of(const isa_chip *chip, uint32_t width, uint32_t invocations, double subgroups,
                       const char *code);

#endif
