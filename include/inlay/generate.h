// SPDX-License-Identifier: MIT
// Continuing a text, with a key-value cache.
#ifndef INLAY_GENERATE_H
#define INLAY_GENERATE_H

#include <inlay/adapter.h>

INLAY_BEGIN

// The weights on a device and one cache. One thread at a time.
typedef struct inlay_generator inlay_generator;

typedef struct inlay_generator_params {
    uint32_t context_length; // tokens of prompt and answer together; 0: the model's, at most 4096
} inlay_generator_params;

typedef struct inlay_sample_params {
    float temperature; // 0: greedy
    uint32_t top_k;    // 0: all
    float top_p;       // 0 or 1: all
    uint32_t seed;
} inlay_sample_params;

// `adapter` NULL: the model alone; `params` NULL: defaults. All handles must outlive the generator.
// Errors: INVALID_ARGUMENT, the context is out of range, or the adapter another model's;
// OUT_OF_DEVICE_MEMORY.
INLAY_API inlay_result inlay_generator_create(inlay_generator **out, const inlay_env *env,
                                              inlay_device *device, const inlay_model *model,
                                              const inlay_adapter *adapter,
                                              const inlay_generator_params *params);
INLAY_API void inlay_generator_destroy(inlay_generator **generator);

// Called with each new token; false stops.
typedef bool (*inlay_token_callback)(void *user, int32_t id);

// Starts anew with the prompt's ids and samples up to `max_tokens` more. Stops at a token that ends
// a text or a turn (generation_config.json's eos_token_id, or the tokenizer's; it is not reported),
// when the callback says so, or when the context is full: a prompt that fills it gets no answer, a
// longer one is INVALID_ARGUMENT. An empty prompt starts from BOS. `sample` NULL: greedy. Errors:
// INVALID_ARGUMENT, also of an id that is not in the vocabulary; NOT_FINITE, the logits are not
// finite.
INLAY_API inlay_result inlay_generate(inlay_generator *generator, const int32_t *prompt,
                                      size_t prompt_count, uint32_t max_tokens,
                                      const inlay_sample_params *sample,
                                      inlay_token_callback callback, void *user);

// The logits of every given token's successor: `logits` has room for count * vocab floats. Starts
// anew. INVALID_ARGUMENT: there are more than the context holds, or one is not in the vocabulary.
INLAY_API inlay_result inlay_generator_logits(inlay_generator *generator, const int32_t *ids,
                                              size_t count, float *logits);

INLAY_END

#endif
