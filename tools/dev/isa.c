// SPDX-License-Identifier: MIT
#define _GNU_SOURCE
#include "isa.h"

#include "common.h"

#include <ctype.h>
#include <string.h>

#define SOMETIMES 0.5 // of the passes take a side of a branch in the loop

// ---- chips

// Peaks are those of vendors' papers at one clock: lanes by 2 flop of a fused multiply-add. RDNA3
// and 4 have as many lanes as RDNA2, and issue two at once where the operands allow. Shared memory
// and the nearest cache: bytes a clock of a compute unit, Xe core or SM, divided by its SIMDs.
static const isa_chip chips[] = {
    // AMD: GCN has 4 SIMDs of 16 lanes, RDNA 2 of 32; matrix instructions from RDNA3 on.
    {"polaris10", "POLARIS10", ISA_AMD, 8, {32, 0, 0, 0}, 32, 16},
    {"vega20", "VEGA20", ISA_AMD, 9, {32, 64, 128, 0}, 32, 16},
    {"navi10", "NAVI10", ISA_AMD, 10, {64, 128, 0, 0}, 64, 64},
    {"navi21", "NAVI21", ISA_AMD, 10, {64, 128, 256, 0}, 64, 64},
    {"navi31", "NAVI31", ISA_AMD, 11, {128, 256, 256, 256}, 64, 64},
    {"navi33", "NAVI33", ISA_AMD, 11, {128, 256, 256, 256}, 64, 64},
    {"phoenix", "PHOENIX", ISA_AMD, 11, {128, 256, 256, 256}, 64, 64},
    {"strix1", "STRIX1", ISA_AMD, 11, {128, 256, 256, 256}, 64, 64},
    {"gfx1201", "GFX1201", ISA_AMD, 12, {128, 256, 256, 512}, 64, 64},
    // Intel: 8 lanes an engine, 16 from Xe2 on; 8 engines a (sub)slice or core, 16 in Xe-LP and
    // -HPG.
    {"skl", "SKL", ISA_INTEL, 90, {16, 32, 0, 0}, 8, 8},
    {"tgl", "TGL", ISA_INTEL, 120, {16, 32, 64, 0}, 8, 8},
    {"dg2", "DG2", ISA_INTEL, 125, {16, 32, 64, 128}, 8, 8},
    {"bmg", "BMG", ISA_INTEL, 200, {32, 64, 128, 256}, 16, 16},
    {"lnl", "LNL", ISA_INTEL, 200, {32, 64, 128, 256}, 16, 16},
    {"ptl", "PTL", ISA_INTEL, 300, {32, 64, 128, 256}, 16, 16},
    // NVIDIA: a quarter of an SM. Turing has 16 lanes for floating point beside 16 for integers;
    // Ampere 16 more, which do either. Matrix peak with f32 accumulation, as GeForce has it.
    {"turing", "turing", ISA_NVIDIA, 75, {32, 64, 128, 128}, 32, 16},
    {"ampere", "ampere", ISA_NVIDIA, 86, {64, 64, 256, 256}, 32, 32},
};

const isa_chip *isa_find_chip(const char *name, const char *device)
{
    for (size_t i = 0; i < INL_COUNT(chips); i++)
        if (name ? strcmp(name, chips[i].name) == 0 : strstr(device, chips[i].match) != NULL)
            return &chips[i];
    return NULL;
}

const char *isa_pipe_name(isa_pipe pipe)
{
    static const char *const names[ISA_PIPE_COUNT] = {
        "vector", "integer", "special", "scalar", "issue", "matrix", "shared", "memory", "wait"};
    return names[pipe];
}

// ---- lines

void isa_word(const char *text, char *word, size_t size)
{
    size_t n = 0;
    while (isspace((unsigned char)*text))
        text++;
    while (text[n] && !isspace((unsigned char)text[n]) && n + 1 < size) {
        word[n] = text[n];
        n++;
    }
    word[n] = '\0';
}

bool isa_starts(const char *word, const char *with)
{
    return strncmp(word, with, strlen(with)) == 0;
}

static bool read_line(const isa_chip *chip, uint32_t width, const char *text, isa_line *line)
{
    *line = (isa_line){0};
    switch (chip->family) {
    case ISA_AMD: return isa_amd(chip, width, text, line);
    case ISA_INTEL: return isa_intel(chip, width, text, line);
    case ISA_NVIDIA: return isa_nvidia(chip, width, text, line);
    }
    return false;
}

typedef struct listing {
    isa_line *lines;
    size_t count, cap;
} listing;

static listing read_listing(const isa_chip *chip, uint32_t width, const char *code)
{
    listing l = {0};
    char text[512];
    while (*code) {
        size_t size = strcspn(code, "\n"), kept = INL_MIN(size, sizeof(text) - 1);
        memcpy(text, code, kept);
        text[kept] = '\0';
        code += size + (code[size] == '\n');
        if (l.count == l.cap) {
            l.cap = l.cap ? 2 * l.cap : 1024;
            l.lines = realloc(l.lines, l.cap * sizeof(*l.lines));
            dev_check(l.lines ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY, "read machine code");
        }
        if (read_line(chip, width, text, &l.lines[l.count]))
            l.count++;
    }
    return l;
}

// ---- loops: blocks of lines that leave at their end alone, and the edges that lead back

typedef struct block {
    size_t first, end; // lines
    size_t next[2];    // blocks; SIZE_MAX: none
    uint8_t state;     // of the search: 0 new, 1 on the way, 2 done
    bool in_loop, heads_loop;
} block;

typedef struct graph {
    const listing *l;
    block *blocks;
    size_t count;
    struct {
        size_t from, to;
    } * back; // edges
    size_t back_count;
} graph;

static size_t block_of_label(const graph *g, const char *label)
{
    for (size_t b = 0; label[0] && b < g->count; b++)
        for (size_t i = g->blocks[b].first; i < g->blocks[b].end && g->l->lines[i].label[0]; i++)
            if (strcmp(g->l->lines[i].label, label) == 0)
                return b;
    return SIZE_MAX;
}

static graph graph_of(const listing *l)
{
    graph g = {.l = l, .blocks = calloc(l->count + 1, sizeof(*g.blocks))};
    g.back = calloc(2 * l->count + 1, sizeof(*g.back));
    dev_check(g.blocks && g.back ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY, "read machine code");
    for (size_t i = 0; i < l->count; i++) {
        bool labelled = l->lines[i].label[0] && (i == 0 || !l->lines[i - 1].label[0]);
        if (i == 0 || labelled || l->lines[i - 1].target[0] || l->lines[i - 1].leaves)
            g.blocks[g.count++].first = i;
        g.blocks[g.count - 1].end = i + 1;
    }
    for (size_t b = 0; b < g.count; b++) {
        const isa_line *last = &l->lines[g.blocks[b].end - 1];
        g.blocks[b].next[0] = last->leaves || b + 1 == g.count ? SIZE_MAX : b + 1;
        g.blocks[b].next[1] = block_of_label(&g, last->target);
    }
    return g;
}

// Depth first: an edge to a block that is on the way leads back, to the head of a loop.
static void find_back_edges(graph *g, size_t at)
{
    block *b = &g->blocks[at];
    b->state = 1;
    for (int k = 0; k < 2; k++) {
        size_t to = b->next[k];
        if (to == SIZE_MAX)
            continue;
        if (g->blocks[to].state == 0)
            find_back_edges(g, to);
        else if (g->blocks[to].state == 1) {
            g->back[g->back_count].from = at;
            g->back[g->back_count++].to = to;
            g->blocks[to].heads_loop = true;
        }
    }
    b->state = 2;
}

// Marks what leads to a back edge of this head without passing the head.
static void mark_loop(graph *g, size_t head)
{
    for (size_t b = 0; b < g->count; b++)
        g->blocks[b].in_loop = b == head;
    for (size_t e = 0; e < g->back_count; e++)
        if (g->back[e].to == head)
            g->blocks[g->back[e].from].in_loop = true;
    for (bool more = true; more;) {
        more = false;
        for (size_t b = 0; b < g->count; b++)
            for (int k = 0; k < 2 && !g->blocks[b].in_loop; k++) {
                size_t to = g->blocks[b].next[k];
                if (to != SIZE_MAX && to != head && g->blocks[to].in_loop)
                    more = g->blocks[b].in_loop = true;
            }
    }
}

static bool holds_loop(const graph *g, size_t head)
{
    for (size_t b = 0; b < g->count; b++)
        if (b != head && g->blocks[b].in_loop && g->blocks[b].heads_loop)
            return true;
    return false;
}

// Whether a pass can go from the head back to it without this block of the loop.
static bool is_avoidable(const graph *g, size_t head, size_t without)
{
    bool *reached = calloc(g->count, sizeof(*reached)), back = false;
    dev_check(reached ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY, "read machine code");
    reached[head] = without != head;
    for (bool more = true; more && !back;) {
        more = false;
        for (size_t b = 0; b < g->count; b++)
            for (int k = 0; k < 2 && reached[b]; k++) {
                size_t to = g->blocks[b].next[k];
                if (to == SIZE_MAX || !g->blocks[to].in_loop || to == without)
                    continue;
                back |= to == head;
                more |= !reached[to];
                reached[to] = true;
            }
    }
    free(reached);
    return back;
}

static void weigh(isa_line *line, double weight)
{
    for (int p = 0; p < ISA_PIPE_COUNT; p++)
        line->cycles[p] *= weight;
    for (int k = 0; k < ISA_KIND_COUNT; k++)
        line->flops[k] *= weight;
    line->multiplied *= weight;
    line->added *= weight;
    line->issue *= weight;
}

static void add_line(isa_line *sum, const isa_line *line)
{
    for (int p = 0; p < ISA_PIPE_COUNT; p++)
        sum->cycles[p] += line->cycles[p];
    for (int k = 0; k < ISA_KIND_COUNT; k++)
        sum->flops[k] += line->flops[k];
    sum->multiplied += line->multiplied;
    sum->added += line->added;
}

// Multiplications and additions count in pairs where there are more of them than were fused, else
// they are a format's decoding and not the product's.
static isa_line sum_of_loop(graph *g, size_t head, uint32_t *instructions)
{
    isa_line sum = {0}, *lines = calloc(g->l->count, sizeof(*lines));
    size_t count = 0;
    dev_check(lines ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY, "read machine code");
    for (size_t b = 0; b < g->count; b++) {
        if (!g->blocks[b].in_loop)
            continue;
        double weight = is_avoidable(g, head, b) ? SOMETIMES : 1.0;
        for (size_t i = g->blocks[b].first; i < g->blocks[b].end; i++) {
            lines[count] = g->l->lines[i];
            weigh(&lines[count], weight);
            add_line(&sum, &lines[count++]);
            *instructions += g->l->lines[i].label[0] == '\0';
        }
    }
    sum.cycles[ISA_WAIT] = isa_pass(lines, count);
    free(lines);
    double pairs = 2.0 * INL_MIN(sum.multiplied, sum.added);
    if (pairs > sum.flops[ISA_F32])
        sum.flops[ISA_F32] += pairs;
    return sum;
}

static isa_model model_of_loop(const isa_chip *chip, uint32_t width, double subgroups, graph *g,
                               size_t head)
{
    isa_model m = {0};
    isa_line sum = sum_of_loop(g, head, &m.instructions);
    const double *cycles = sum.cycles, *flops = sum.flops;
    sum.cycles[ISA_WAIT] /= INL_MAX(subgroups, 1.0);
    double most = 0.0, ideal = 0.0;
    for (int k = 0; k < ISA_KIND_COUNT; k++) {
        m.flops += flops[k] / width;
        if (chip->flops[k] > 0.0)
            ideal += flops[k] / chip->flops[k];
        if (flops[k] > most) {
            most = flops[k];
            m.kind = (isa_kind)k;
        }
    }
    for (int p = 0; p < ISA_PIPE_COUNT; p++)
        if (cycles[p] > m.cycles) {
            m.cycles = cycles[p];
            m.limit = (isa_pipe)p;
        }
    m.known = ideal > 0.0 && m.cycles > 0.0;
    m.share = m.known ? ideal / m.cycles : 0.0;
    return m;
}

isa_model isa_model_of(const isa_chip *chip, uint32_t width, uint32_t invocations, double subgroups,
                       const char *code)
{
    isa_model best = {0};
    if (!chip || !code || width == 0 || invocations == 0)
        return best;
    double used = (double)invocations / (double)inl_round_up(invocations, width);
    listing l = read_listing(chip, width, code);
    graph g = graph_of(&l);
    if (g.count > 0)
        find_back_edges(&g, 0);
    for (size_t head = 0; head < g.count; head++) {
        if (!g.blocks[head].heads_loop)
            continue;
        mark_loop(&g, head);
        if (holds_loop(&g, head))
            continue;
        isa_model m = model_of_loop(chip, width, subgroups, &g, head);
        if (m.known && m.flops > best.flops)
            best = m;
    }
    free(g.blocks);
    free(g.back);
    free(l.lines);
    best.share *= used;
    return best;
}
