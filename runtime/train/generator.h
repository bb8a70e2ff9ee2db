// SPDX-License-Identifier: MIT
// Continuing token sequences with a key-value cache.
#ifndef INL_TRAIN_GENERATOR_H
#define INL_TRAIN_GENERATOR_H

#include "model/network.h"
#include "train/inputs.h"

typedef struct inl_generator inl_generator;

typedef struct inl_sampling {
    float temperature; // 0: greedy
    uint32_t top_k;    // 0: all
    float top_p;       // 0 or 1: all
    uint32_t seed;
} inl_sampling;

// Everything given must outlive the generator; its rope table covers inl_generator_positions.
inlay_result inl_generator_create(const inl_env *env, inl_gpu *gpu, const inl_weights *weights,
                                  const inl_slots *slots, const inl_lora_arena *arena,
                                  uint32_t context, inl_generator **out);
void inl_generator_destroy(inl_generator **generator);
uint32_t inl_generator_positions(uint32_t context);

void inl_generator_reset(inl_generator *generator);
uint32_t inl_generator_used(const inl_generator *generator); // tokens in the cache
// Appends `count` tokens (at least 1). `logits` gets the last one's, [vocab], valid until the next
// call.
inlay_result inl_generator_feed(inl_generator *generator, const int32_t *tokens, uint32_t count,
                                const float **logits);
// The same, with all tokens' logits into `all`, [count, vocab].
inlay_result inl_generator_feed_all(inl_generator *generator, const int32_t *tokens, uint32_t count,
                                    float *all);
// Draws a token; `draw` counts the draws made with this seed.
inlay_result inl_sample(const inl_env *env, const inl_sampling *sampling, const float *logits,
                        uint32_t vocab, uint32_t draw, int32_t *out);

#endif
