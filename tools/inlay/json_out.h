// SPDX-License-Identifier: MIT
// JSON results: jansson with numbers that are always valid and no longer than they are meant.
#ifndef JSON_OUT_H
#define JSON_OUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

// Rounded to `digits` significant digits; null for NaN and infinity.
json_t *json_number(double value, int digits);
json_t *json_count(uint64_t value);
// Any bytes: what is not UTF-8 becomes U+FFFD.
json_t *json_bytes(const char *bytes, size_t size);
json_t *json_words(const char *text);
void json_put(json_t *object, const char *key, json_t *value); // takes `value`
// A line without its newline, allocated.
char *json_line(const json_t *value);
// To stdout, with line breaks; takes `value`.
void json_print(json_t *value);

#endif
