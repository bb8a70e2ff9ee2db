// SPDX-License-Identifier: MIT
#include "answer.h"

#include "interrupt.h"
#include "progress.h"

#include <stdlib.h>
#include <string.h>

// No byte becomes more ids than this: a space may be spelled as three byte tokens.
#define IDS_PER_BYTE 3
#define SPECIAL_IDS 8 // and the space put in front

int32_t *answer_tokenize(const inlay_model *model, const char *text, size_t size,
                         const inlay_tokenize_params *params, size_t *count)
{
    *count = IDS_PER_BYTE * size + SPECIAL_IDS;
    int32_t *ids = xalloc(*count, sizeof(*ids));
    if (inlay_tokenize(model, text, size, params, ids, count) == INLAY_OK)
        return ids;
    free(ids);
    return NULL;
}

int32_t *answer_ids(const inlay_model *model, const char *text, bool parse_special, size_t *count)
{
    inlay_model_info info;
    inlay_model_get_info(model, &info);
    inlay_tokenize_params params = {.parse_special = parse_special};
    int32_t *ids = answer_tokenize(model, text, strlen(text), &params, count);
    if (!ids || !info.add_bos || info.bos < 0)
        return ids;
    ids = xrealloc(ids, *count + 1, sizeof(*ids));
    memmove(ids + 1, ids, *count * sizeof(*ids));
    ids[0] = info.bos;
    ++*count;
    return ids;
}

// Bytes that have come and not been handed on.
typedef struct stream {
    const inlay_model *model;
    answer_sink sink;
    void *user;
    bool first;
    answer_stats stats;
    char *held;
    size_t size, room;
} stream;

static bool hand_on(stream *s, size_t size)
{
    bool more = size == 0 || s->sink(s->user, s->held, size);
    memmove(s->held, s->held + size, s->size - size);
    s->size -= size;
    return more;
}

static bool take(void *user, int32_t id)
{
    stream *s = user;
    size_t size = 0;
    (void)inlay_detokenize(s->model, id, s->first, NULL, &size);
    if (s->size + size > s->room) {
        s->room = 2 * (s->size + size);
        s->held = xrealloc(s->held, s->room, 1);
    }
    if (size > 0 && inlay_detokenize(s->model, id, s->first, s->held + s->size, &size) == INLAY_OK)
        s->size += size;
    s->first = false;
    s->stats.last = clock_seconds();
    if (s->stats.tokens < 2)
        *(s->stats.tokens == 0 ? &s->stats.first : &s->stats.second) = s->stats.last;
    s->stats.tokens++;
    return hand_on(s, s->size - utf8_incomplete_tail(s->held, s->size)) && !interrupt_name();
}

inlay_result answer_stream(const inlay_model *model, inlay_generator *generator, const int32_t *ids,
                           size_t count, const answer_params *params, answer_sink sink, void *user,
                           answer_stats *stats)
{
    stream s = {.model = model,
                .sink = sink,
                .user = user,
                .first = params->at_start,
                .held = xalloc(64, 1),
                .room = 64};
    inlay_result result =
        inlay_generate(generator, ids, count, params->max_tokens, &params->sample, take, &s);
    hand_on(&s, s.size);
    free(s.held);
    *stats = s.stats;
    return result;
}

typedef struct text {
    char *bytes;
    size_t size;
} text;

static bool append(void *user, const char *bytes, size_t size)
{
    text *t = user;
    t->bytes = xrealloc(t->bytes, t->size + size + 1, 1);
    memcpy(t->bytes + t->size, bytes, size);
    t->size += size;
    t->bytes[t->size] = '\0';
    return true;
}

inlay_result answer_text(const inlay_model *model, inlay_generator *generator, const int32_t *ids,
                         size_t count, const answer_params *params, char **out)
{
    text t = {.bytes = xstrdup("")};
    answer_stats stats;
    inlay_result result = answer_stream(model, generator, ids, count, params, append, &t, &stats);
    *out = t.bytes;
    return result;
}
