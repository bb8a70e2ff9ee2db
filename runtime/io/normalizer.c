// SPDX-License-Identifier: MIT
#include "io/normalizer.h"

#include "io/regex.h"
#include "io/unicode_late.h"
#include "io/utf8.h"

#include <string.h>
#include <utf8proc.h>

#define MAX_STEPS 32
#define MAX_DECOMPOSITION 32 // code points one may become; Unicode's longest is 18
#define SHORT_RUN 32

typedef enum step_kind {
    STEP_FORM,
    STEP_LOWERCASE,
    STEP_STRIP_ACCENTS,
    STEP_STRIP,
    STEP_PREPEND,
    STEP_REPLACE,
    STEP_REPLACE_REGEX,
} step_kind;

typedef struct step {
    step_kind kind;
    inl_normal_form form;
    bool left, right; // STEP_STRIP
    char *from, *to;  // copies
    size_t from_size, to_size;
    inl_regex *regex;
} step;

struct inl_normalizer {
    const inl_env *env;
    char *file;
    step steps[MAX_STEPS];
    uint32_t count;
};

// ---- making one

inlay_result inl_normalizer_create(const inl_env *env, const char *file, inl_normalizer **out)
{
    inl_normalizer *n = *out = inl_alloc(env, 1, sizeof(*n));
    if (!n)
        return INLAY_ERROR_OUT_OF_MEMORY;
    n->env = env;
    n->file = inl_strdup(env, file);
    if (n->file)
        return INLAY_OK;
    inl_normalizer_destroy(out);
    return INLAY_ERROR_OUT_OF_MEMORY;
}

void inl_normalizer_destroy(inl_normalizer **normalizer)
{
    inl_normalizer *n = *normalizer;
    *normalizer = NULL;
    if (!n)
        return;
    for (uint32_t i = 0; i < n->count; i++) {
        inl_free(n->env, n->steps[i].from);
        inl_free(n->env, n->steps[i].to);
        inl_regex_destroy(&n->steps[i].regex);
    }
    inl_free(n->env, n->file);
    inl_free(n->env, n);
}

bool inl_normalizer_is_empty(const inl_normalizer *n)
{
    return n->count == 0;
}

static inlay_result next_step(inl_normalizer *n, step_kind kind, step **out)
{
    if (n->count == MAX_STEPS)
        return inl_fail(n->env, INLAY_ERROR_UNSUPPORTED,
                        "%s: the normalizer has more than %d steps", n->file, MAX_STEPS);
    *out = &n->steps[n->count++];
    (*out)->kind = kind;
    return INLAY_OK;
}

static inlay_result keep(const inl_normalizer *n, inl_slice text, char **out, size_t *size)
{
    *out = inl_strndup(n->env, text.data, text.size);
    *size = text.size;
    return *out ? INLAY_OK : INLAY_ERROR_OUT_OF_MEMORY;
}

inlay_result inl_normalizer_add_form(inl_normalizer *n, inl_normal_form form)
{
    step *s = NULL;
    INL_TRY(next_step(n, STEP_FORM, &s));
    s->form = form;
    return INLAY_OK;
}

inlay_result inl_normalizer_add_lowercase(inl_normalizer *n)
{
    step *s = NULL;
    return next_step(n, STEP_LOWERCASE, &s);
}

inlay_result inl_normalizer_add_strip_accents(inl_normalizer *n)
{
    step *s = NULL;
    return next_step(n, STEP_STRIP_ACCENTS, &s);
}

inlay_result inl_normalizer_add_strip(inl_normalizer *n, bool left, bool right)
{
    step *s = NULL;
    INL_TRY(next_step(n, STEP_STRIP, &s));
    s->left = left;
    s->right = right;
    return INLAY_OK;
}

inlay_result inl_normalizer_add_prepend(inl_normalizer *n, inl_slice text)
{
    step *s = NULL;
    INL_TRY(next_step(n, STEP_PREPEND, &s));
    return keep(n, text, &s->to, &s->to_size);
}

inlay_result inl_normalizer_add_replace(inl_normalizer *n, inl_slice from, inl_slice to)
{
    step *s = NULL;
    INL_TRY(next_step(n, STEP_REPLACE, &s));
    INL_TRY(keep(n, from, &s->from, &s->from_size));
    return keep(n, to, &s->to, &s->to_size);
}

inlay_result inl_normalizer_add_replace_regex(inl_normalizer *n, const char *place,
                                              inl_slice pattern, inl_slice to)
{
    step *s = NULL;
    INL_TRY(next_step(n, STEP_REPLACE_REGEX, &s));
    INL_TRY(keep(n, to, &s->to, &s->to_size));
    return inl_regex_create_ruby(n->env, n->file, place, pattern, &s->regex);
}

// ---- running one

// A text being built.
typedef struct builder {
    const inl_env *env;
    char **data;
    size_t *cap;
    size_t size;
} builder;

static inlay_result append(builder *b, const char *text, size_t size)
{
    INL_TRY(inl_grow(b->env, (void **)b->data, b->cap, b->size + size + 1, 1));
    if (size > 0)
        memcpy(*b->data + b->size, text, size);
    b->size += size;
    return INLAY_OK;
}

static inlay_result append_point(builder *b, int32_t point)
{
    char bytes[4];
    return append(b, bytes, inl_utf8_encode((uint32_t)point, bytes));
}

// The length of what no normal form changes from here on: ASCII, but for its last character where
// something follows that may combine with it.
static size_t inert_size(const char *text, size_t size)
{
    size_t i = 0;
    while (i < size && (uint8_t)text[i] < 0x80)
        i++;
    return i == size ? i : i - (i > 0);
}

static uint32_t mark_class(int32_t point)
{
    return (uint32_t)utf8proc_get_property(point)->combining_class & 0xff;
}

static utf8proc_option_t options_of(inl_normal_form form)
{
    switch (form) {
    case INL_NFC: return UTF8PROC_STABLE | UTF8PROC_COMPOSE;
    case INL_NFD: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE;
    case INL_NFKC: return UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT;
    default: return UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT;
    }
}

// Puts the marks of a run into canonical order: by class, equals as they were. A long run is sorted
// class by class, so that no text takes quadratic time.
static void order_marks(int32_t *points, size_t count, int32_t *scratch)
{
    if (count <= SHORT_RUN) {
        for (size_t i = 1; i < count; i++)
            for (size_t j = i; j > 0 && mark_class(points[j - 1]) > mark_class(points[j]); j--) {
                int32_t swapped = points[j];
                points[j] = points[j - 1];
                points[j - 1] = swapped;
            }
        return;
    }
    size_t starts[257] = {0};
    for (size_t i = 0; i < count; i++)
        starts[mark_class(points[i]) + 1]++;
    for (size_t class = 1; class < 257; class ++)
        starts[class] += starts[class - 1];
    for (size_t i = 0; i < count; i++)
        scratch[starts[mark_class(points[i])]++] = points[i];
    memcpy(points, scratch, count * sizeof(*points));
}

static void order_all_marks(int32_t *points, size_t count, int32_t *scratch)
{
    for (size_t i = 0; i < count; i++) {
        size_t start = i;
        while (i < count && mark_class(points[i]) > 0)
            i++;
        if (i - start > 1)
            order_marks(points + start, i - start, scratch);
    }
}

// Well-formed text into scratch->points.
static inlay_result decompose(const inl_env *env, inl_normal_text *scratch, const char *text,
                              size_t size, utf8proc_option_t options, size_t *count)
{
    *count = 0;
    for (size_t at = 0; at < size;) {
        INL_TRY(inl_grow(env, (void **)&scratch->points, &scratch->point_cap,
                         *count + MAX_DECOMPOSITION, sizeof(*scratch->points)));
        size_t length = inl_utf8_length(text + at, size - at);
        utf8proc_ssize_t added =
            utf8proc_decompose_char((int32_t)inl_utf8_decode(text + at, length),
                                    scratch->points + *count, MAX_DECOMPOSITION, options, NULL);
        if (added < 0 || added > MAX_DECOMPOSITION)
            return inl_fail(env, INLAY_ERROR_INTERNAL, "a character cannot be normalized");
        *count += (size_t)added;
        at += length;
    }
    return INLAY_OK;
}

// Well-formed text.
static inlay_result normalize_piece(builder *b, inl_normal_text *scratch, const char *text,
                                    size_t size, inl_normal_form form)
{
    utf8proc_option_t options = options_of(form);
    size_t count;
    INL_TRY(decompose(b->env, scratch, text, size, options, &count));
    INL_TRY(inl_grow(b->env, (void **)&scratch->points, &scratch->point_cap, 2 * count + 1,
                     sizeof(*scratch->points))); // the second half to sort in
    order_all_marks(scratch->points, count, scratch->points + count);
    utf8proc_ssize_t left =
        utf8proc_normalize_utf32(scratch->points, (utf8proc_ssize_t)count, options);
    if (left < 0)
        return inl_fail(b->env, INLAY_ERROR_INTERNAL, "a text cannot be normalized (%s)",
                        utf8proc_errmsg(left));
    for (utf8proc_ssize_t i = 0; i < left; i++)
        INL_TRY(append_point(b, scratch->points[i]));
    return INLAY_OK;
}

// Bytes from here on that are UTF-8 and end where ASCII begins again, which nothing combines with
// unless a mark follows it, or a character that normal forms leave alone. *late: one begins the
// text.
static size_t piece_size(const char *text, size_t size, size_t *late)
{
    size_t i = 0;
    *late = 0;
    bool ascii = true; // the first character may be ASCII
    while (i < size) {
        size_t length = inl_utf8_length(text + i, size - i);
        if (length == 0 || (length == 1 && !ascii))
            return i;
        if (length > 1 && inl_is_late_mark(inl_utf8_decode(text + i, length))) {
            *late = i == 0 ? length : 0;
            return i;
        }
        ascii = false;
        i += length;
    }
    return i;
}

static inlay_result normalize(builder *b, inl_normal_text *scratch, inl_slice text,
                              inl_normal_form form)
{
    for (size_t at = 0; at < text.size;) {
        size_t same = inert_size(text.data + at, text.size - at);
        INL_TRY(append(b, text.data + at, same));
        at += same;
        if (at == text.size)
            break;
        size_t late;
        size_t size = piece_size(text.data + at, text.size - at, &late);
        if (size == 0) { // no UTF-8, or not to be touched
            INL_TRY(append(b, text.data + at, INL_MAX(late, 1)));
            at += INL_MAX(late, 1);
            continue;
        }
        INL_TRY(normalize_piece(b, scratch, text.data + at, size, form));
        at += size;
    }
    return INLAY_OK;
}

// Each character by itself; the one whose lower case is two is U+0130.
static inlay_result lowercase(builder *b, inl_slice text)
{
    for (size_t at = 0; at < text.size;) {
        size_t length = inl_utf8_length(text.data + at, text.size - at);
        if (length == 0) {
            INL_TRY(append(b, text.data + at++, 1));
            continue;
        }
        uint32_t point = inl_utf8_decode(text.data + at, length);
        INL_TRY(append_point(b, point == 0x130 ? 'i' : utf8proc_tolower((int32_t)point)));
        if (point == 0x130)
            INL_TRY(append_point(b, 0x307));
        at += length;
    }
    return INLAY_OK;
}

static bool is_mark(const char *text, size_t length)
{
    if (length < 2)
        return false;
    utf8proc_category_t c = utf8proc_category((int32_t)inl_utf8_decode(text, length));
    return c == UTF8PROC_CATEGORY_MN || c == UTF8PROC_CATEGORY_MC || c == UTF8PROC_CATEGORY_ME;
}

static inlay_result strip_accents(builder *b, inl_slice text)
{
    for (size_t at = 0; at < text.size;) {
        size_t length = inl_utf8_length(text.data + at, text.size - at);
        if (!is_mark(text.data + at, length))
            INL_TRY(append(b, text.data + at, INL_MAX(length, 1)));
        at += INL_MAX(length, 1);
    }
    return INLAY_OK;
}

static inl_slice strip(inl_slice text, bool left, bool right)
{
    while (left && text.size > 0) {
        size_t length = inl_utf8_space(text.data, text.size);
        if (length == 0)
            break;
        text.data += length;
        text.size -= length;
    }
    while (right && text.size > 0) {
        size_t length = inl_utf8_space_before(text.data, text.size);
        if (length == 0)
            break;
        text.size -= length;
    }
    return text;
}

static inlay_result replace(builder *b, const step *s, inl_slice text)
{
    size_t start = 0;
    for (size_t at = 0; s->from_size > 0 && at + s->from_size <= text.size;) {
        const char *found = memchr(text.data + at, s->from[0], text.size - s->from_size + 1 - at);
        if (!found)
            break;
        at = (size_t)(found - text.data);
        if (memcmp(found, s->from, s->from_size) != 0) {
            at++;
            continue;
        }
        INL_TRY(append(b, text.data + start, at - start));
        INL_TRY(append(b, s->to, s->to_size));
        start = at += s->from_size;
    }
    return append(b, text.data + start, text.size - start);
}

static inlay_result replace_matches(builder *b, const step *s, inl_matcher *matcher,
                                    const char *text, size_t size)
{
    size_t done = 0;
    for (size_t at = 0; at < size;) {
        size_t start, end;
        INL_TRY(inl_matcher_find(b->env, matcher, text, size, at, &start, &end));
        if (start == size)
            break;
        bool empty = start == end;
        if (!empty || start > done || start == 0) {
            INL_TRY(append(b, text + done, start - done));
            INL_TRY(append(b, s->to, s->to_size));
            done = end;
        }
        at = empty ? start + INL_MAX(inl_utf8_length(text + start, size - start), 1) : end;
    }
    return append(b, text + done, size - done);
}

// Well-formed stretches by the expression, other bytes as they are.
static inlay_result replace_regex(builder *b, const step *s, inl_slice text)
{
    inl_matcher matcher;
    inlay_result result = inl_matcher_open(b->env, s->regex, &matcher);
    for (size_t start = 0, at = 0; start < text.size && result == INLAY_OK;) {
        size_t length = at < text.size ? inl_utf8_length(text.data + at, text.size - at) : 0;
        if (length > 0) {
            at += length;
            continue;
        }
        result = replace_matches(b, s, &matcher, text.data + start, at - start);
        if (result == INLAY_OK && at < text.size)
            result = append(b, text.data + at, 1);
        start = ++at;
    }
    inl_matcher_close(&matcher);
    return result;
}

static inlay_result run_step(builder *b, const step *s, inl_normal_text *scratch, inl_slice *text)
{
    switch (s->kind) {
    case STEP_FORM: return normalize(b, scratch, *text, s->form);
    case STEP_LOWERCASE: return lowercase(b, *text);
    case STEP_STRIP_ACCENTS: return strip_accents(b, *text);
    case STEP_PREPEND:
        if (text->size > 0)
            INL_TRY(append(b, s->to, s->to_size));
        return append(b, text->data, text->size);
    case STEP_REPLACE: return replace(b, s, *text);
    case STEP_REPLACE_REGEX: return replace_regex(b, s, *text);
    default: return INLAY_OK;
    }
}

static bool is_ascii(inl_slice text)
{
    return inert_size(text.data, text.size) == text.size;
}

inlay_result inl_normalizer_run(const inl_env *env, const inl_normalizer *n, inl_slice text,
                                inl_normal_text *scratch, inl_slice *out)
{
    int side = 0;
    for (uint32_t i = 0; i < n->count && text.size > 0; i++) {
        const step *s = &n->steps[i];
        if (s->kind == STEP_STRIP) {
            text = strip(text, s->left, s->right);
            continue;
        }
        if ((s->kind == STEP_FORM || s->kind == STEP_STRIP_ACCENTS) && is_ascii(text))
            continue;
        builder b = {.env = env, .data = &scratch->data[side], .cap = &scratch->caps[side]};
        INL_TRY(run_step(&b, s, scratch, &text));
        text = (inl_slice){b.size ? *b.data : "", b.size};
        side = !side;
    }
    *out = text;
    return INLAY_OK;
}

void inl_normal_text_free(const inl_env *env, inl_normal_text *scratch)
{
    inl_free(env, scratch->data[0]);
    inl_free(env, scratch->data[1]);
    inl_free(env, scratch->points);
    *scratch = (inl_normal_text){0};
}
