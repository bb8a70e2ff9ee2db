// SPDX-License-Identifier: MIT
#include "data_view.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN_HEAD 400 // tokens of a long sequence that are shown
#define SHOWN_TAIL 100
#define BAR 40      // columns
#define MOST_BARS 12 // about

// ---- tokens as text

typedef struct token_text {
    const char *bytes;
    size_t size;
    bool special; // stands for no text: shown as the vocabulary spells it
    char room[256];
} token_text;

static void find_text(const data_view *v, int32_t id, bool first, token_text *out)
{
    size_t size = 0;
    out->special = false;
    if (inlay_detokenize(v->model, id, first, NULL, &size) == INLAY_OK && size > 0 &&
        size <= sizeof(out->room) &&
        inlay_detokenize(v->model, id, first, out->room, &size) == INLAY_OK) {
        out->bytes = out->room;
        out->size = size;
        return;
    }
    out->bytes = inlay_model_get_token(v->model, id, &out->size);
    out->special = true;
}

// Tokens in a row that look alike.
typedef struct run {
    bool learned, special;
    char *bytes;
    size_t size, room;
} run;

static void add_bytes(run *r, const char *bytes, size_t size)
{
    if (r->size + size > r->room) {
        r->room = 2 * (r->size + size) + 64;
        r->bytes = xrealloc(r->bytes, r->room, 1);
    }
    if (size > 0)
        memcpy(r->bytes + r->size, bytes, size);
    r->size += size;
}

static bool is_learned(const inlay_sequence *s, uint32_t i)
{
    return i > 0 && s->supervised[i];
}

// ---- on the screen

static const char *style_of(const run *r)
{
    if (r->learned)
        return r->special ? "\033[1;32m" : "\033[32m";
    return r->special ? "\033[2m" : "";
}

// Nothing in the data moves the cursor or changes colours.
static void put_visible(const data_view *v, const char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            fputs(v->color ? "\033[2m\xe2\x86\xb5\033[22m\n  " : "\n  ", stdout);
        else if ((c < 32 && c != '\t') || c == 127)
            printf("\\x%02x", c);
        else if (c == 0xc2 && i + 1 < size && (unsigned char)text[i + 1] < 0xa0) // C1 controls
            printf("\\u00%02x", (unsigned char)text[++i]);
        else
            putchar(c);
    }
}

static void put_run(const data_view *v, run *r)
{
    size_t size;
    if (r->size == 0)
        return;
    char *text = utf8_clean(r->bytes, r->size, &size);
    const char *style = v->color ? style_of(r) : "";
    fputs(style, stdout);
    put_visible(v, text, size);
    fputs(*style ? "\033[0m" : "", stdout);
    free(text);
    r->size = 0;
}

static void put_bracket(const data_view *v, bool opens)
{
    if (!v->color)
        fputs(opens ? "[[" : "]]", stdout);
}

void data_view_print(const data_view *v, uint64_t index)
{
    inlay_sequence s;
    run r = {0};
    uint32_t learned = 0;
    if (inlay_dataset_get_sequence(v->data, index, &s) != INLAY_OK)
        return;
    fputs("  ", stdout);
    for (uint32_t i = 0; i < s.count; i++) {
        token_text t;
        bool skips = !v->full && s.count > SHOWN_HEAD + SHOWN_TAIL && i == SHOWN_HEAD;
        find_text(v, s.tokens[i], i == 0, &t);
        learned += is_learned(&s, i);
        if (skips || is_learned(&s, i) != r.learned || (v->color && t.special != r.special))
            put_run(v, &r);
        if (is_learned(&s, i) != r.learned)
            put_bracket(v, !r.learned);
        if (skips) {
            uint32_t left_out = s.count - SHOWN_HEAD - SHOWN_TAIL;
            printf("\n  ... %u tokens that --full shows ...\n  ", left_out);
            for (uint32_t k = 0; k < left_out; k++, i++)
                learned += k > 0 && is_learned(&s, i);
            find_text(v, s.tokens[i], false, &t);
            learned += is_learned(&s, i);
            if (is_learned(&s, i) != is_learned(&s, SHOWN_HEAD))
                put_bracket(v, is_learned(&s, i));
        }
        r.learned = is_learned(&s, i);
        r.special = t.special;
        add_bytes(&r, t.bytes, t.size);
    }
    put_run(v, &r);
    if (r.learned)
        put_bracket(v, false);
    printf("\n  %s%u tokens, %u learned%s", v->color ? "\033[2m" : "-- ", s.count, learned,
           v->color ? "\033[0m" : "");
    if (s.cut > 0)
        printf("%s, %llu cut off%s", v->color ? "\033[33m" : "", (unsigned long long)s.cut,
               v->color ? "\033[0m" : "");
    puts("\n");
    free(r.bytes);
}

// ---- as JSON

static void end_piece(json_t *pieces, run *r)
{
    if (r->size == 0)
        return;
    json_t *piece = json_object();
    json_put(piece, "text", json_bytes(r->bytes, r->size));
    json_put(piece, "supervised", json_boolean(r->learned));
    json_array_append_new(pieces, piece);
    r->size = 0;
}

json_t *data_view_json(const data_view *v, uint64_t index)
{
    inlay_sequence s;
    run r = {0};
    if (inlay_dataset_get_sequence(v->data, index, &s) != INLAY_OK)
        return NULL;
    json_t *o = json_object();
    json_t *ids = json_array();
    json_t *supervised = json_array();
    json_t *pieces = json_array();
    for (uint32_t i = 0; i < s.count; i++) {
        token_text t;
        find_text(v, s.tokens[i], i == 0, &t);
        if (is_learned(&s, i) != r.learned)
            end_piece(pieces, &r);
        r.learned = is_learned(&s, i);
        add_bytes(&r, t.bytes, t.size);
        json_array_append_new(ids, json_integer(s.tokens[i]));
        json_array_append_new(supervised, json_integer(is_learned(&s, i)));
    }
    end_piece(pieces, &r);
    json_put(o, "record", json_count(s.record));
    json_put(o, "input_ids", ids);
    json_put(o, "supervised", supervised);
    json_put(o, "pieces", pieces);
    json_put(o, "truncated_tokens", json_count(s.cut));
    free(r.bytes);
    return o;
}

// ---- lengths

static int compare_counts(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

// The smallest of 1, 2, 5, 10, 20, ... of which few cover the range.
static uint64_t width_of(uint64_t range)
{
    for (uint64_t ten = 1;; ten *= 10)
        for (uint64_t k = 1; k <= 5; k += k == 1 ? 1 : 3)
            if (range / (k * ten) < MOST_BARS)
                return k * ten;
}

static void make_bins(lengths *l)
{
    bool doubles = l->longest > 8 * l->shortest;
    uint64_t width = width_of(l->longest - l->shortest);
    uint64_t edge = doubles ? 1 : (l->shortest + width - 1) / width * width;
    while (doubles && edge < l->shortest)
        edge *= 2;
    for (; l->bins < LENGTH_BINS; edge = doubles ? 2 * edge : edge + width) {
        l->at_most[l->bins++] = edge;
        if (edge >= l->longest)
            break;
    }
}

void lengths_find(const data_view *v, lengths *out)
{
    uint64_t count = v->info.sequences;
    uint64_t *all = xalloc(count + 1, sizeof(*all));
    *out = (lengths){0};
    for (uint64_t i = 0; i < count; i++) {
        inlay_sequence s;
        if (inlay_dataset_get_sequence(v->data, i, &s) == INLAY_OK)
            all[i] = s.count + s.cut;
    }
    qsort(all, count, sizeof(*all), compare_counts);
    out->shortest = all[0];
    out->median = all[count / 2];
    out->longest = all[count ? count - 1 : 0];
    make_bins(out);
    size_t bin = 0;
    for (uint64_t i = 0; i < count; i++) {
        while (bin + 1 < out->bins && all[i] > out->at_most[bin])
            bin++;
        out->counts[bin]++;
    }
    free(all);
}

void lengths_print(const data_view *v, const lengths *l)
{
    uint64_t most = 1;
    for (size_t i = 0; i < l->bins; i++)
        most = l->counts[i] > most ? l->counts[i] : most;
    printf("tokens in a sequence: %llu to %llu, half of them at most %llu\n",
           (unsigned long long)l->shortest, (unsigned long long)l->longest,
           (unsigned long long)l->median);
    for (size_t i = 0; i < l->bins; i++) {
        int width = (int)((l->counts[i] * BAR + most - 1) / most);
        bool cut = i > 0 && l->at_most[i - 1] >= v->info.max_length;
        printf("  at most %6llu  %s%-*.*s%s %llu%s\n", (unsigned long long)l->at_most[i],
               !v->color ? "" : cut ? "\033[33m" : "\033[36m", BAR, width,
               "########################################", v->color ? "\033[0m" : "",
               (unsigned long long)l->counts[i], cut && l->counts[i] ? "   cut off" : "");
    }
}

json_t *lengths_json(const lengths *l)
{
    json_t *o = json_object();
    json_t *bins = json_array();
    for (size_t i = 0; i < l->bins; i++) {
        json_t *bin = json_object();
        json_put(bin, "at_most", json_count(l->at_most[i]));
        json_put(bin, "sequences", json_count(l->counts[i]));
        json_array_append_new(bins, bin);
    }
    json_put(o, "shortest", json_count(l->shortest));
    json_put(o, "median", json_count(l->median));
    json_put(o, "longest", json_count(l->longest));
    json_put(o, "bins", bins);
    return o;
}
