// SPDX-License-Identifier: MIT
#include "train/generator.h"
#include "base/finite.h"
#include "base/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// Tokens of a prompt taken at once: rows enough to fill a GPU where the prompt has them, and few
// that only pad. PASS_ALL gives all tokens' logits.
#define LONG_TOKENS 256
#define PROMPT_TOKENS 64
#define SHORT_TOKENS 16

typedef enum pass {
    PASS_TOKEN,
    PASS_SHORT,
    PASS_PROMPT,
    PASS_LONG,
    PASS_ALL,
    PASS_COUNT
} pass;

// A plan for a fixed number of tokens, made on first use.
typedef struct pass_state {
    inl_plan *plan;
    inl_input_buffers inputs;
    inl_buffer *logits; // [head rows, vocab padded to 8], host-visible
    uint32_t runs;
} pass_state;

struct inl_generator {
    inl_env env;
    inl_gpu *gpu;
    const inl_weights *weights;
    const inl_slots *slots;
    bool adapted;
    inl_lora_arena arena;
    uint32_t context, used, vocab, ld;
    inl_buffer **cache; // one a layer: keys, then values
    uint32_t cache_count;
    pass_state passes[PASS_COUNT];
};

static uint32_t pass_tokens(pass p)
{
    static const uint32_t tokens[PASS_COUNT] = {1, SHORT_TOKENS, PROMPT_TOKENS, LONG_TOKENS,
                                                PROMPT_TOKENS};
    return tokens[p];
}

// What takes the next of `count` tokens; only the last piece pads, and by less than PROMPT_TOKENS.
static pass choose_pass(uint32_t count)
{
    if (count >= LONG_TOKENS)
        return PASS_LONG;
    return count == 1 ? PASS_TOKEN : count <= SHORT_TOKENS ? PASS_SHORT : PASS_PROMPT;
}

static uint32_t head_rows(pass p)
{
    return p == PASS_ALL ? PROMPT_TOKENS : 1;
}

// A prompt's last piece is padded: its tokens past the end have places too.
uint32_t inl_generator_positions(uint32_t context)
{
    return context + PROMPT_TOKENS;
}

static uint64_t cache_bytes(const inl_generator *g)
{
    const inl_config *c = &g->weights->model->config;
    uint64_t bytes =
        inl_tensor_bytes(inl_generator_positions(g->context), c->kv_heads * c->head_dim);
    return inl_round_up(bytes, INL_BINDING_ALIGNMENT);
}

static inlay_result create_cache(inl_generator *g)
{
    uint32_t layers = g->weights->model->config.layers;
    g->cache = inl_alloc(&g->env, layers, sizeof(*g->cache));
    if (!g->cache)
        return INLAY_ERROR_OUT_OF_MEMORY;
    for (uint32_t i = 0; i < layers; i++) {
        INL_TRY(inl_buffer_create(g->gpu, "the key-value cache", 2 * cache_bytes(g),
                                  INL_MEMORY_DEVICE, &g->cache[i]));
        g->cache_count++;
        INL_TRY(inl_gpu_zero(g->gpu, g->cache[i], 0, 2 * cache_bytes(g)));
    }
    return INLAY_OK;
}

inlay_result inl_generator_create(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                                  const inl_slots *slots, const inl_lora_arena *arena,
                                  uint32_t context, inl_generator **out)
{
    *out = NULL;
    inl_generator *g = inl_alloc(env, 1, sizeof(*g));
    if (!g)
        return INLAY_ERROR_OUT_OF_MEMORY;
    g->env = *env;
    g->gpu = gpu;
    g->weights = weights;
    g->slots = slots;
    g->adapted = arena != NULL;
    if (arena)
        g->arena = *arena;
    g->arena.dropout = 0.0f;
    g->context = context;
    g->vocab = weights->head.rows;
    g->ld = (uint32_t)inl_round_up(g->vocab, 8);
    inlay_result result = create_cache(g);
    if (result != INLAY_OK) {
        inl_generator_destroy(&g);
        return result;
    }
    *out = g;
    return INLAY_OK;
}

void inl_generator_destroy(inl_generator **handle)
{
    inl_generator *g = *handle;
    if (!g)
        return;
    *handle = NULL;
    for (pass p = 0; p < PASS_COUNT; p++) {
        inl_plan_destroy(&g->passes[p].plan);
        inl_inputs_destroy(&g->passes[p].inputs);
        inl_buffer_destroy(g->gpu, &g->passes[p].logits);
    }
    for (uint32_t i = 0; i < g->cache_count; i++)
        inl_buffer_destroy(g->gpu, &g->cache[i]);
    inl_free(&g->env, g->cache);
    inl_env env = g->env;
    inl_free(&env, g);
}

static void emit(inl_generator *g, pass p, inl_tensor *keys, inl_tensor *values)
{
    const inl_config *c = &g->weights->model->config;
    pass_state *s = &g->passes[p];
    uint32_t cols = c->kv_heads * c->head_dim;
    for (uint32_t i = 0; i < c->layers; i++) {
        inl_tensor shape = {.rows = g->context, .cols = cols};
        shape.ld = (uint32_t)inl_round_up(cols, 8);
        keys[i] = values[i] = shape;
        keys[i].buf = inl_plan_external(s->plan, g->cache[i], 0, cache_bytes(g));
        values[i].buf = inl_plan_external(s->plan, g->cache[i], cache_bytes(g), cache_bytes(g));
    }
    inl_network net = {.plan = s->plan,
                       .weights = g->weights,
                       .slots = g->slots,
                       .arena = g->adapted ? &g->arena : NULL,
                       .in = inl_inputs_bind(s->plan, &s->inputs),
                       .tokens = pass_tokens(p),
                       .cache_k = keys,
                       .cache_v = values};
    inl_range logits = {.buffer = s->logits, .size = 4ull * g->ld * head_rows(p)};
    inl_network_emit(&net, &(inl_walk){.logits = logits, .head_rows = head_rows(p)});
}

static inlay_result prepare(inl_generator *g, pass p)
{
    pass_state *s = &g->passes[p];
    if (s->plan)
        return INLAY_OK;
    uint32_t layers = g->weights->model->config.layers;
    INL_TRY(inl_inputs_create(g->gpu, pass_tokens(p), &s->inputs));
    INL_TRY(inl_buffer_create(g->gpu, "logits", 4ull * g->ld * inl_round_up(head_rows(p), 8),
                              INL_MEMORY_HOST, &s->logits));
    inl_tensor *tensors = inl_alloc(&g->env, 2 * layers, sizeof(*tensors));
    inlay_result result = tensors ? inl_plan_create(&g->env, g->gpu, &s->plan)
                                  : INLAY_ERROR_OUT_OF_MEMORY;
    if (result == INLAY_OK) {
        emit(g, p, tensors, tensors + layers);
        result = inl_plan_finish(s->plan);
    }
    inl_free(&g->env, tensors);
    if (result != INLAY_OK) {
        inl_plan_destroy(&s->plan);
        inl_inputs_destroy(&s->inputs);
        inl_buffer_destroy(g->gpu, &s->logits);
    }
    return result;
}

void inl_generator_reset(inl_generator *generator)
{
    generator->used = 0;
}

uint32_t inl_generator_used(const inl_generator *generator)
{
    return generator->used;
}

static void fill(inl_generator *g, pass p, const int32_t *tokens, uint32_t count)
{
    inl_input_buffers *in = &g->passes[p].inputs;
    for (uint32_t i = 0; i < pass_tokens(p); i++) {
        in->tokens[i] = i < count ? (uint32_t)tokens[i] : 0;
        in->positions[i] = g->used + i;
        in->starts[i] = 0;
        in->rows[i] = p == PASS_ALL ? INL_MIN(i, count - 1) : count - 1;
    }
    in->scalars->cache_row = g->used;
    in->scalars->supervised = p == PASS_ALL ? count : 1;
}

static inlay_result run_pass(inl_generator *g, pass p, const int32_t *tokens, uint32_t count)
{
    INL_TRY(prepare(g, p));
    pass_state *s = &g->passes[p];
    fill(g, p, tokens, count);
    uint64_t ticket;
    INL_TRY(inl_plan_run(s->plan, &ticket));
    INL_TRY(inl_gpu_wait(g->gpu, ticket));
    if (++s->runs == 2)
        INL_TRY(inl_plan_adjust(s->plan));
    g->used += count;
    return INLAY_OK;
}

static inlay_result check_room(const inl_generator *g, const int32_t *tokens, uint32_t count)
{
    if (count == 0 || count > g->context - g->used)
        return inl_fail(&g->env, INLAY_ERROR_INVALID_ARGUMENT,
                        "%u tokens do not fit the context of %u, of which %u are used", count,
                        g->context, g->used);
    for (uint32_t i = 0; i < count; i++)
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= g->vocab)
            return inl_fail(&g->env, INLAY_ERROR_INVALID_ARGUMENT,
                            "token %d is not in the vocabulary of %u", tokens[i], g->vocab);
    return INLAY_OK;
}

inlay_result inl_generator_feed(inl_generator *g, const int32_t *tokens, uint32_t count,
                                const float **logits)
{
    INL_TRY(check_room(g, tokens, count));
    pass p = PASS_TOKEN;
    while (count > 0) {
        p = choose_pass(count);
        uint32_t part = INL_MIN(count, pass_tokens(p));
        INL_TRY(run_pass(g, p, tokens, part));
        tokens += part;
        count -= part;
    }
    *logits = inl_buffer_map(g->passes[p].logits);
    return INLAY_OK;
}

inlay_result inl_generator_feed_all(inl_generator *g, const int32_t *tokens, uint32_t count,
                                    float *all)
{
    INL_TRY(check_room(g, tokens, count));
    while (count > 0) {
        uint32_t part = INL_MIN(count, PROMPT_TOKENS);
        INL_TRY(run_pass(g, PASS_ALL, tokens, part));
        const float *rows = inl_buffer_map(g->passes[PASS_ALL].logits);
        for (uint32_t i = 0; i < part; i++, all += g->vocab)
            memcpy(all, rows + (size_t)i * g->ld, g->vocab * sizeof(float));
        tokens += part;
        count -= part;
    }
    return INLAY_OK;
}

// ---- sampling

#define NO_POWER (-60.0) // of e: a weight that no sum over a vocabulary shows

typedef struct candidate {
    float logit;
    int32_t id;
} candidate;

static bool likelier(const candidate *a, const candidate *b)
{
    return a->logit != b->logit ? a->logit > b->logit : a->id < b->id;
}

static int32_t greedy(const float *logits, uint32_t vocab)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best])
            best = i;
    return (int32_t)best;
}

// Candidates as a heap whose top is the likeliest: few of a large vocabulary are ever asked for in
// order.
typedef struct heap {
    candidate *c; // [left] in the heap, behind them those taken, the last taken first
    uint32_t left, all;
} heap;

static void sift_down(heap *h, uint32_t at)
{
    candidate moved = h->c[at];
    for (uint32_t child; (child = 2 * at + 1) < h->left; at = child) {
        if (child + 1 < h->left && likelier(&h->c[child + 1], &h->c[child]))
            child++;
        if (!likelier(&h->c[child], &moved))
            break;
        h->c[at] = h->c[child];
    }
    h->c[at] = moved;
}

static void make_heap(heap *h, candidate *c, const float *logits, uint32_t vocab)
{
    *h = (heap){c, vocab, vocab};
    for (uint32_t i = 0; i < vocab; i++)
        c[i] = (candidate){logits[i], (int32_t)i};
    for (uint32_t i = vocab / 2; i-- > 0;)
        sift_down(h, i);
}

// The `rank`-th likeliest, from 0 on.
static candidate take(heap *h, uint32_t rank)
{
    while (h->all - h->left <= rank) {
        candidate top = h->c[0];
        h->c[0] = h->c[--h->left];
        h->c[h->left] = top;
        sift_down(h, 0);
    }
    return h->c[h->all - 1 - rank];
}

// Relative to that of the likeliest.
static double weight_of(const inl_sampling *s, float logit, float most)
{
    double power = ((double)logit - (double)most) / (double)s->temperature;
    return power < NO_POWER ? 0.0 : exp(power);
}

// Cuts to top_k and to the smallest head that holds top_p; *total: of the weights of those.
static uint32_t cut(const inl_sampling *s, heap *h, const float *logits, float most, double *total)
{
    uint32_t count = s->top_k > 0 ? INL_MIN(h->all, s->top_k) : h->all;
    *total = 0.0;
    for (uint32_t i = 0; i < count; i++)
        *total += weight_of(s, s->top_k > 0 ? take(h, i).logit : logits[i], most);
    if (s->top_p <= 0.0f || s->top_p >= 1.0f)
        return count;
    double sum = 0.0, wanted = (double)s->top_p * *total;
    uint32_t kept = 0;
    while (kept < count && sum < wanted)
        sum += weight_of(s, take(h, kept++).logit, most);
    *total = sum;
    return kept;
}

inlay_result inl_sample(const inl_env *env, const inl_sampling *sampling, const float *logits,
                        uint32_t vocab, uint32_t draw, int32_t *out)
{
    *out = greedy(logits, vocab);
    if (!inl_all_finite(logits, vocab))
        return inl_fail(env, INLAY_ERROR_NOT_FINITE, "the model's logits are NaN or infinite");
    if (sampling->temperature <= 0.0f)
        return INLAY_OK;
    candidate *c = inl_alloc(env, vocab, sizeof(*c));
    if (!c)
        return INLAY_ERROR_OUT_OF_MEMORY;
    heap h;
    make_heap(&h, c, logits, vocab);
    float most = logits[*out];
    double total;
    uint32_t count = cut(sampling, &h, logits, most, &total), i = 0;
    double left = (double)inl_rng_f32(sampling->seed, 0x73616d70u, draw) * total, weight;
    while (i + 1 < count && left >= (weight = weight_of(sampling, take(&h, i).logit, most))) {
        left -= weight;
        i++;
    }
    *out = take(&h, i).id;
    inl_free(env, c);
    return INLAY_OK;
}
