// SPDX-License-Identifier: MIT
// The records of a data file, one after the other, as JSON objects: lines of JSON, a JSON array (or
// values in a row), rows of CSV. No more than a record is held in memory.
#ifndef INL_IO_SOURCE_H
#define INL_IO_SOURCE_H

#include "io/dataset.h"
#include "io/input.h"

#include <jansson.h>

typedef struct inl_source {
    inl_input input;
    inl_data_kind kind;
    uint64_t line;   // where the record starts, from 1; not counted in .json
    uint64_t record; // from 1
    uint64_t lines_read;
    char place[40]; // of the record last read, for messages: "line 3", "record 2"
    // .json: what comes next. .csv: the names of the columns.
    enum { SOURCE_START, SOURCE_ITEM, SOURCE_BEHIND_ITEM, SOURCE_END, SOURCE_VALUES } state;
    json_t *columns;
    char *field;
    size_t field_cap;
} inl_source;

// `data` must outlive the source.
inlay_result inl_source_open(const inl_env *env, const char *name, const char *data, uint64_t size,
                             inl_data_kind kind, inl_source *out);
void inl_source_close(inl_source *source);
// The next record, an object the caller releases; NULL at the end. `place` is set also on failure.
inlay_result inl_source_next(inl_source *source, json_t **record);
// An error about the record last read: "FILE PLACE: what".
inlay_result inl_source_fail(const inl_source *source, inlay_result result, const char *fmt, ...)
    INL_PRINTF(3, 4);

#endif
