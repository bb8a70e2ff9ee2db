// SPDX-License-Identifier: MIT
#include "io/pretokenizer.h"

#include "io/pretokenizer_names.h"
#include "io/regex.h"
#include "io/utf8.h"

#include <string.h>

#define MAX_STEPS 32

typedef enum step_kind { STEP_SPLIT, STEP_METASPACE, STEP_SYMBOLS, STEP_SPACE_BEFORE } step_kind;

typedef struct step {
    step_kind kind;
    inl_regex *regex; // STEP_SPLIT
    inl_split split;
    bool inverted;
    char *pattern; // STEP_SPLIT: as it was given
    inl_prefix prefix; // STEP_METASPACE
    char space[8];
    uint8_t space_size;
} step;

struct inl_pretokenizer {
    const inl_env *env;
    char *file;
    step steps[MAX_STEPS];
    uint32_t count;
    bool ignores_merges, adds_bos;
    bool gives_bytes; // the last step is byte-level, its symbols not written out
};

inlay_result inl_pretokenizer_create_empty(const inl_env *env, const char *file,
                                           inl_pretokenizer **out)
{
    inl_pretokenizer *p = *out = inl_alloc(env, 1, sizeof(*p));
    if (!p)
        return INLAY_ERROR_OUT_OF_MEMORY;
    p->env = env;
    p->file = inl_strdup(env, file);
    if (p->file)
        return INLAY_OK;
    inl_pretokenizer_destroy(out);
    return INLAY_ERROR_OUT_OF_MEMORY;
}

// The next step's place. After byte-level, symbols are written out for what follows.
static inlay_result next_step(inl_pretokenizer *p, step_kind kind, step **out)
{
    uint32_t need = p->gives_bytes ? 2 : 1;
    if (p->count + need > MAX_STEPS)
        return inl_fail(p->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the pre-tokenizer has more than %d steps", p->file, MAX_STEPS - 1);
    if (p->gives_bytes)
        p->steps[p->count++].kind = STEP_SYMBOLS;
    p->gives_bytes = false;
    *out = &p->steps[p->count++];
    (*out)->kind = kind;
    return INLAY_OK;
}

inlay_result inl_pretokenizer_add_known(inl_pretokenizer *p, const char *pattern, inl_split split,
                                        bool inverted)
{
    step *s = NULL;
    INL_TRY(next_step(p, STEP_SPLIT, &s));
    s->split = split;
    s->inverted = inverted;
    s->pattern = inl_strdup(p->env, pattern);
    return s->pattern ? inl_regex_create(p->env, pattern, &s->regex) : INLAY_ERROR_OUT_OF_MEMORY;
}

inlay_result inl_pretokenizer_add_split(inl_pretokenizer *p, const char *place, inl_slice pattern,
                                        inl_split split, bool inverted)
{
    step *s = NULL;
    INL_TRY(next_step(p, STEP_SPLIT, &s));
    s->split = split;
    s->inverted = inverted;
    s->pattern = inl_strndup(p->env, pattern.data, pattern.size);
    if (!s->pattern)
        return INLAY_ERROR_OUT_OF_MEMORY;
    return inl_regex_create_ruby(p->env, p->file, place, pattern, &s->regex);
}

inlay_result inl_pretokenizer_add_metaspace(inl_pretokenizer *p, const char *place,
                                            inl_slice replacement, inl_prefix prefix, bool cuts)
{
    step *s = NULL;
    char pattern[32] = "\\Q";
    if (replacement.size == 0 || replacement.size > sizeof(s->space) || replacement.data[0] == '\\')
        return inl_fail(p->env, INLAY_ERROR_UNSUPPORTED, "%s: %s.replacement is no character",
                        p->file, place);
    INL_TRY(next_step(p, STEP_METASPACE, &s));
    s->prefix = prefix;
    s->space_size = (uint8_t)replacement.size;
    memcpy(s->space, replacement.data, replacement.size);
    memcpy(pattern + 2, replacement.data, replacement.size);
    strcat(pattern, "\\E");
    return cuts ? inl_pretokenizer_add_known(p, pattern, INL_SPLIT_WITH_NEXT, false) : INLAY_OK;
}

inlay_result inl_pretokenizer_add_bytes(inl_pretokenizer *p, const char *place, bool space_prefix,
                                        bool cuts)
{
    step *s = NULL;
    (void)place;
    if (space_prefix)
        INL_TRY(next_step(p, STEP_SPACE_BEFORE, &s));
    if (cuts)
        INL_TRY(inl_pretokenizer_add_known(p, inl_pretokenizer_gpt2, INL_SPLIT_ISOLATED, false));
    if (p->gives_bytes) // twice byte-level
        INL_TRY(next_step(p, STEP_SYMBOLS, &s));
    p->gives_bytes = true;
    return INLAY_OK;
}

inlay_result inl_pretokenizer_create(const inl_env *env, const char *file, const char *name,
                                     inl_pretokenizer **out)
{
    *out = NULL;
    const inl_pretokenizer_family *family = inl_pretokenizer_find(name);
    if (!family)
        return inl_pretokenizer_fail_unknown(env, file, name);
    INL_TRY(inl_pretokenizer_create_empty(env, file, out));
    inlay_result result = INLAY_OK;
    for (size_t i = 0; i < INL_PRETOKENIZER_PASSES && family->passes[i] && result == INLAY_OK; i++)
        result = inl_pretokenizer_add_known(*out, family->passes[i], INL_SPLIT_ISOLATED, false);
    (*out)->ignores_merges = family->ignores_merges;
    (*out)->adds_bos = family->adds_bos;
    (*out)->gives_bytes = true;
    if (result != INLAY_OK)
        inl_pretokenizer_destroy(out);
    return result;
}

void inl_pretokenizer_destroy(inl_pretokenizer **pretokenizer)
{
    inl_pretokenizer *p = *pretokenizer;
    *pretokenizer = NULL;
    if (!p)
        return;
    for (uint32_t i = 0; i < p->count; i++) {
        inl_regex_destroy(&p->steps[i].regex);
        inl_free(p->env, p->steps[i].pattern);
    }
    inl_free(p->env, p->file);
    inl_free(p->env, p);
}

bool inl_pretokenizer_ignores_merges(const inl_pretokenizer *pretokenizer)
{
    return pretokenizer->ignores_merges;
}

bool inl_pretokenizer_adds_bos(const inl_pretokenizer *pretokenizer)
{
    return pretokenizer->adds_bos;
}

bool inl_pretokenizer_gives_bytes(const inl_pretokenizer *pretokenizer)
{
    return pretokenizer->gives_bytes;
}

const char *inl_pretokenizer_name(const inl_pretokenizer *p, bool ignores_merges)
{
    const char *patterns[MAX_STEPS];
    for (uint32_t i = 0; i < p->count; i++) {
        const step *s = &p->steps[i];
        if (s->kind != STEP_SPLIT || s->split != INL_SPLIT_ISOLATED || s->inverted)
            return NULL;
        patterns[i] = s->pattern;
    }
    return p->gives_bytes ? inl_pretokenizer_recognize(patterns, p->count, ignores_merges) : NULL;
}

// One call of inl_pretokenizer_split.
typedef struct splitter {
    const inl_env *env;
    const inl_pretokenizer *pretokenizer;
    inl_matcher matchers[MAX_STEPS];
    char *texts[MAX_STEPS]; // what a step made of the piece it is at
    size_t text_caps[MAX_STEPS];
    inl_piece_fn piece;
    void *piece_context;
} splitter;

static inlay_result run_step(splitter *s, uint32_t index, const char *text, size_t size,
                             bool at_start);

// A run of matches and gaps becoming pieces.
typedef struct cutter {
    splitter *splitter;
    uint32_t next; // the step that gets the pieces
    inl_split split;
    const char *text;
    bool at_start;
    size_t start, end; // a piece that may still grow
    bool held;         // there is one
    bool last_matched; // the last part given was a match
} cutter;

static inlay_result release(cutter *c)
{
    if (!c->held || c->end == c->start)
        return INLAY_OK;
    c->held = false;
    return run_step(c->splitter, c->next, c->text + c->start, c->end - c->start,
                    c->at_start && c->start == 0);
}

static bool joins(const cutter *c, bool match)
{
    if (!c->held)
        return false;
    switch (c->split) {
    case INL_SPLIT_WITH_PREVIOUS: return match && !c->last_matched;
    case INL_SPLIT_WITH_NEXT: return !match && c->last_matched;
    case INL_SPLIT_CONTIGUOUS: return match == c->last_matched;
    default: return false;
    }
}

static inlay_result give(cutter *c, size_t start, size_t end, bool match)
{
    if (match && c->split == INL_SPLIT_REMOVED) {
        INL_TRY(release(c));
        c->held = false;
        return INLAY_OK;
    }
    if (joins(c, match)) {
        c->end = end;
    } else {
        INL_TRY(release(c));
        c->start = start;
        c->end = end;
        c->held = true;
    }
    c->last_matched = match;
    return INLAY_OK;
}

// An empty match cuts where it stands, but not where the match before it ended.
static inlay_result split_step(splitter *s, uint32_t index, const char *text, size_t size,
                               bool at_start)
{
    const step *st = &s->pretokenizer->steps[index];
    cutter c = {
        .splitter = s, .next = index + 1, .split = st->split, .text = text, .at_start = at_start};
    size_t done = 0;
    for (size_t at = 0; at < size;) {
        size_t start, end;
        INL_TRY(inl_matcher_find(s->env, &s->matchers[index], text, size, at, &start, &end));
        bool empty = start == end;
        if (!empty || (start < size && (start > done || start == 0))) {
            if (start > done)
                INL_TRY(give(&c, done, start, st->inverted));
            INL_TRY(give(&c, start, end, !st->inverted));
            done = end;
        }
        at = end;
        if (empty && start < size)
            at += INL_MAX(inl_utf8_length(text + start, size - start), 1);
    }
    if (done < size)
        INL_TRY(give(&c, done, size, st->inverted));
    return release(&c);
}

static inlay_result metaspace_step(splitter *s, uint32_t index, const char *text, size_t size,
                                   bool at_start)
{
    const step *st = &s->pretokenizer->steps[index];
    size_t extra = st->space_size;
    bool prefixed = text[0] == ' ' || (size >= extra && memcmp(text, st->space, extra) == 0);
    bool prefix = !prefixed &&
                  (st->prefix == INL_PREFIX_ALWAYS || (st->prefix == INL_PREFIX_FIRST && at_start));
    size_t length = size + (prefix ? extra : 0);
    for (size_t i = 0; i < size; i++)
        length += text[i] == ' ' ? extra - 1 : 0;
    INL_TRY(inl_grow(s->env, (void **)&s->texts[index], &s->text_caps[index], length, 1));
    char *out = s->texts[index];
    if (prefix) {
        memcpy(out, st->space, extra);
        out += extra;
    }
    for (size_t i = 0; i < size; i++) {
        if (text[i] == ' ') {
            memcpy(out, st->space, extra);
            out += extra;
        } else {
            *out++ = text[i];
        }
    }
    return run_step(s, index + 1, s->texts[index], length, at_start);
}

static inlay_result symbols_step(splitter *s, uint32_t index, const char *text, size_t size,
                                 bool at_start)
{
    INL_TRY(inl_grow(s->env, (void **)&s->texts[index], &s->text_caps[index], size * 2, 1));
    size_t length = 0;
    for (size_t i = 0; i < size; i++)
        length +=
            inl_utf8_encode_short(inl_byte_to_symbol((uint8_t)text[i]), s->texts[index] + length);
    return run_step(s, index + 1, s->texts[index], length, at_start);
}

static inlay_result space_step(splitter *s, uint32_t index, const char *text, size_t size,
                               bool at_start)
{
    if (text[0] == ' ')
        return run_step(s, index + 1, text, size, at_start);
    INL_TRY(inl_grow(s->env, (void **)&s->texts[index], &s->text_caps[index], size + 1, 1));
    s->texts[index][0] = ' ';
    memcpy(s->texts[index] + 1, text, size);
    return run_step(s, index + 1, s->texts[index], size + 1, at_start);
}

// `text` is UTF-8, or the symbols of anything.
static inlay_result run_step(splitter *s, uint32_t index, const char *text, size_t size,
                             bool at_start)
{
    if (size == 0)
        return INLAY_OK;
    if (index == s->pretokenizer->count)
        return s->piece(s->piece_context, text, size);
    switch (s->pretokenizer->steps[index].kind) {
    case STEP_SPLIT: return split_step(s, index, text, size, at_start);
    case STEP_METASPACE: return metaspace_step(s, index, text, size, at_start);
    case STEP_SYMBOLS: return symbols_step(s, index, text, size, at_start);
    default: return space_step(s, index, text, size, at_start);
    }
}

// A byte that is no UTF-8 goes past the steps; written as a symbol where they write those.
static inlay_result stray_byte(splitter *s, const char *text)
{
    const inl_pretokenizer *p = s->pretokenizer;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->steps[i].kind == STEP_SYMBOLS) {
            char symbol[2];
            size_t size = inl_utf8_encode_short(inl_byte_to_symbol((uint8_t)*text), symbol);
            return s->piece(s->piece_context, symbol, size);
        }
    return s->piece(s->piece_context, text, 1);
}

// Well-formed stretches go through the steps, other bytes past them.
static inlay_result split_text(splitter *s, const char *text, size_t size, bool at_start)
{
    size_t start = 0;
    for (size_t at = 0; at < size;) {
        size_t length = inl_utf8_length(text + at, size - at);
        if (length == 0) {
            INL_TRY(run_step(s, 0, text + start, at - start, at_start && start == 0));
            INL_TRY(stray_byte(s, text + at));
            start = at + 1;
            length = 1;
        }
        at += length;
    }
    return run_step(s, 0, text + start, size - start, at_start && start == 0);
}

static inlay_result start_splitter(splitter *s)
{
    const inl_pretokenizer *p = s->pretokenizer;
    for (uint32_t i = 0; i < p->count; i++)
        if (p->steps[i].regex)
            INL_TRY(inl_matcher_open(s->env, p->steps[i].regex, &s->matchers[i]));
    return INLAY_OK;
}

inlay_result inl_pretokenizer_split(const inl_env *env, const inl_pretokenizer *pretokenizer,
                                    const char *text, size_t size, bool at_start,
                                    inl_piece_fn piece, void *context)
{
    splitter s = {
        .env = env, .pretokenizer = pretokenizer, .piece = piece, .piece_context = context};
    inlay_result result = start_splitter(&s);
    if (result == INLAY_OK)
        result = split_text(&s, text, size, at_start);
    for (uint32_t i = 0; i < pretokenizer->count; i++) {
        if (s.matchers[i].regex)
            inl_matcher_close(&s.matchers[i]);
        inl_free(env, s.texts[i]);
    }
    return result;
}
