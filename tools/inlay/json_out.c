// SPDX-License-Identifier: MIT
#include "json_out.h"

#include "cli.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

// jansson prints a double's digits, all of them: a value rounded to fewer than this shows no more.
#define PRECISION JSON_REAL_PRECISION(15)

json_t *json_number(double value, int digits)
{
    char text[64];
    if (!isfinite(value))
        return json_null();
    snprintf(text, sizeof(text), "%.*g", digits, value);
    return json_real(strtod(text, NULL));
}

json_t *json_count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

json_t *json_bytes(const char *bytes, size_t size)
{
    size_t clean_size;
    char *clean = utf8_clean(bytes, size, &clean_size);
    json_t *string = json_stringn(clean, clean_size);
    free(clean);
    return string;
}

json_t *json_words(const char *text)
{
    return json_bytes(text, strlen(text));
}

void json_put(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0) {
        cli_error("out of memory");
        exit(EXIT_FAILED);
    }
}

char *json_line(const json_t *value)
{
    char *line = json_dumps(value, JSON_COMPACT | PRECISION);
    if (!line) {
        cli_error("out of memory");
        exit(EXIT_FAILED);
    }
    return line;
}

void json_print(json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | PRECISION);
    if (text)
        puts(text);
    free(text);
    json_decref(value);
}
