// SPDX-License-Identifier: MIT
// The records of a data file, one after the other, as JSON objects: lines of JSON, a JSON array (or
// values in a row), rows of CSV. No more than a record is held in memory.
#ifndef INL_IO_FEED_H
#define INL_IO_FEED_H

#include "io/dataset.h"
#include "io/input.h"

#include <jansson.h>

typedef struct inl_feed {
    inl_input input;
    inl_data_kind kind;
    uint64_t line;   // where the record starts, from 1; not counted in .json
    uint64_t record; // from 1
    uint64_t lines_read;
    char place[40]; // of the record last read, for messages: "line 3", "record 2"
    // .json: what comes next. .csv: the names of the columns.
    enum { FEED_START, FEED_ITEM, FEED_BEHIND_ITEM, FEED_END, FEED_VALUES } state;
    json_t *columns;
    char *field;
    size_t field_cap;
} inl_feed;

// `data` must outlive the source.
inlay_result inl_feed_open(const inl_env *env, const char *name, const char *data, uint64_t size,
                           inl_data_kind kind, inl_feed *out);
void inl_feed_close(inl_feed *source);
// The next record, an object the caller releases; NULL at the end. `place` is set also on failure.
inlay_result inl_feed_next(inl_feed *source, json_t **record);
// An error about the record last read: "FILE PLACE: what".
inlay_result inl_feed_fail(const inl_feed *source, inlay_result result, const char *fmt, ...)
    INL_PRINTF(3, 4);

#endif
