// SPDX-License-Identifier: MIT
// What is trained on, to look at: sequences with what is learned set apart, lengths as bars.
#ifndef DATA_VIEW_H
#define DATA_VIEW_H

#include "cli.h"
#include "json_out.h"

typedef struct data_view {
    const inlay_model *model;
    const inlay_dataset *data;
    inlay_dataset_info info;
    bool color; // what is learned is green, special tokens are bright; else [[ ]] is around it
    bool full;  // long sequences are not cut
} data_view;

void data_view_print(const data_view *v, uint64_t index);
json_t *data_view_json(const data_view *v, uint64_t index);

#define LENGTH_BINS 64
// Sequences by their tokens before anything was cut off. Bins are equally wide, or double from one
// to the next where the lengths lie far apart.
typedef struct lengths {
    uint64_t counts[LENGTH_BINS];
    uint64_t at_most[LENGTH_BINS]; // tokens; one more is the next bin's
    size_t bins;
    uint64_t shortest, median, longest;
} lengths;

void lengths_find(const data_view *v, lengths *out);
void lengths_print(const data_view *v, const lengths *l);
json_t *lengths_json(const lengths *l);

#endif
