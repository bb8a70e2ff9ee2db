// SPDX-License-Identifier: MIT
#include "bench_record.h"

#include "cli.h"
#include "json_out.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DIGITS 7 // of numbers that were measured

const char *const bench_format_names[] = {"table", "csv", "jsonl", "sql", NULL};

const bench_field bench_fields[] = {
#define BENCH_ROW(name, kind) {#name, kind, offsetof(bench_record, name)},
#define BENCH_ROW_S(name) BENCH_ROW(name, BENCH_IS_TEXT)
#define BENCH_ROW_C(name) BENCH_ROW(name, BENCH_IS_COUNT)
#define BENCH_ROW_N(name) BENCH_ROW(name, BENCH_IS_NUMBER)
    BENCH_FIELDS(BENCH_ROW_S, BENCH_ROW_C, BENCH_ROW_N)};
const size_t bench_field_count = COUNT(bench_fields);

static const void *value_at(const bench_record *r, const bench_field *f)
{
    return (const char *)r + f->offset;
}

bench_record bench_record_empty(void)
{
    bench_record r;
    memset(&r, 0, sizeof(r));
    for (size_t i = 0; i < bench_field_count; i++)
        if (bench_fields[i].kind != BENCH_IS_TEXT)
            *(double *)((char *)&r + bench_fields[i].offset) = NAN;
    r.schema = BENCH_SCHEMA;
    return r;
}

// ---- text that grows

typedef struct text_out {
    char *text;
    size_t used, room;
} text_out;

static void put_bytes(text_out *o, const char *bytes, size_t size)
{
    if (o->used + size + 1 > o->room) {
        o->room = 2 * (o->used + size + 1);
        o->text = xrealloc(o->text, o->room, 1);
    }
    memcpy(o->text + o->used, bytes, size);
    o->used += size;
    o->text[o->used] = '\0';
}

static void put_text(text_out *o, const char *text)
{
    put_bytes(o, text, strlen(text));
}

// With every `quote` in it doubled, between two of them.
static void put_quoted(text_out *o, const char *text, char quote)
{
    put_bytes(o, &quote, 1);
    for (; *text; text++)
        put_bytes(o, *text == quote ? (char[]){quote, quote} : text, *text == quote ? 2 : 1);
    put_bytes(o, &quote, 1);
}

// `null` where there is no value.
static void put_number(text_out *o, const bench_field *f, double value, const char *null)
{
    char text[64];
    if (!isfinite(value)) {
        put_text(o, null);
        return;
    }
    if (f->kind == BENCH_IS_COUNT)
        snprintf(text, sizeof(text), "%.0f", value);
    else
        snprintf(text, sizeof(text), "%.*g", DIGITS, value);
    put_text(o, text);
}

// ---- formats

static void write_json(text_out *o, const bench_record *r)
{
    json_t *object = json_object();
    for (size_t i = 0; i < bench_field_count; i++) {
        const bench_field *f = &bench_fields[i];
        const void *at = value_at(r, f);
        double number = f->kind == BENCH_IS_TEXT ? 0.0 : *(const double *)at;
        json_t *value;
        if (f->kind == BENCH_IS_TEXT)
            value = *(const char *)at ? json_words(at) : json_null();
        else if (f->kind == BENCH_IS_COUNT)
            value = isfinite(number) ? json_count((uint64_t)number) : json_null();
        else
            value = json_number(number, DIGITS);
        json_put(object, f->name, value);
    }
    char *line = json_line(object);
    put_text(o, line);
    put_text(o, "\n");
    free(line);
    json_decref(object);
}

static void write_csv_header(text_out *o)
{
    for (size_t i = 0; i < bench_field_count; i++) {
        put_text(o, i ? "," : "");
        put_text(o, bench_fields[i].name);
    }
    put_text(o, "\n");
}

static void write_csv(text_out *o, const bench_record *r)
{
    for (size_t i = 0; i < bench_field_count; i++) {
        const bench_field *f = &bench_fields[i];
        put_text(o, i ? "," : "");
        if (f->kind != BENCH_IS_TEXT)
            put_number(o, f, *(const double *)value_at(r, f), "");
        else if (*(const char *)value_at(r, f))
            put_quoted(o, value_at(r, f), '"');
    }
    put_text(o, "\n");
}

static void write_sql_header(text_out *o)
{
    static const char *const types[] = {"TEXT", "INTEGER", "REAL"};
    put_text(o, "CREATE TABLE IF NOT EXISTS inlay_bench (");
    for (size_t i = 0; i < bench_field_count; i++) {
        put_text(o, i ? ",\n  " : "\n  ");
        put_quoted(o, bench_fields[i].name, '"');
        put_text(o, " ");
        put_text(o, types[bench_fields[i].kind]);
    }
    put_text(o, "\n);\n");
}

static void write_sql(text_out *o, const bench_record *r)
{
    put_text(o, "INSERT INTO inlay_bench VALUES (");
    for (size_t i = 0; i < bench_field_count; i++) {
        const bench_field *f = &bench_fields[i];
        put_text(o, i ? ", " : "");
        if (f->kind != BENCH_IS_TEXT)
            put_number(o, f, *(const double *)value_at(r, f), "NULL");
        else if (*(const char *)value_at(r, f))
            put_quoted(o, value_at(r, f), '\'');
        else
            put_text(o, "NULL");
    }
    put_text(o, ");\n");
}

char *bench_write(bench_format format, const bench_record *records, size_t count)
{
    text_out o = {0};
    put_text(&o, "");
    if (format == BENCH_CSV)
        write_csv_header(&o);
    if (format == BENCH_SQL)
        write_sql_header(&o);
    for (size_t i = 0; i < count; i++)
        switch (format) {
        case BENCH_CSV: write_csv(&o, &records[i]); break;
        case BENCH_SQL: write_sql(&o, &records[i]); break;
        default: write_json(&o, &records[i]); break;
        }
    return o.text;
}
