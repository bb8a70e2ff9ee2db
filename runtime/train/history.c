// SPDX-License-Identifier: MIT
#include "train/history.h"

void inl_history_add(inl_history *h, const inl_step_stats *stats)
{
    h->steps[h->added++ % INL_HISTORY_STEPS] = *stats;
}

uint32_t inl_history_count(const inl_history *h)
{
    return (uint32_t)INL_MIN(h->added, INL_HISTORY_STEPS);
}

const inl_step_stats *inl_history_at(const inl_history *h, uint32_t index)
{
    return &h->steps[(h->added - inl_history_count(h) + index) % INL_HISTORY_STEPS];
}

json_t *inl_history_write(const inl_history *h)
{
    json_t *list = json_array();
    for (uint32_t i = 0; list && i < inl_history_count(h); i++) {
        const inl_step_stats *s = inl_history_at(h, i);
        json_t *o = json_pack("{s:I, s:f, s:f, s:f, s:f, s:I, s:I}", "step", (json_int_t)s->step,
                              "epoch", s->epoch, "loss", s->loss, "grad_norm", s->grad_norm,
                              "learning_rate", s->learning_rate, "tokens", (json_int_t)s->tokens,
                              "supervised_tokens", (json_int_t)s->supervised);
        if (json_array_append_new(list, o) == 0)
            continue;
        json_decref(list);
        list = NULL;
    }
    return list;
}

bool inl_history_read(const json_t *list, uint32_t step, inl_history *out)
{
    size_t index;
    json_t *o;
    *out = (inl_history){0};
    if (!json_is_array(list) || json_array_size(list) > INL_HISTORY_STEPS)
        return false;
    json_array_foreach(list, index, o) {
        inl_step_stats s = {0};
        json_int_t number, tokens, supervised;
        if (json_unpack(o, "{s:I, s:F, s:F, s:F, s:F, s:I, s:I}", "step", &number, "epoch",
                        &s.epoch, "loss", &s.loss, "grad_norm", &s.grad_norm, "learning_rate",
                        &s.learning_rate, "tokens", &tokens, "supervised_tokens",
                        &supervised) != 0)
            return false;
        json_int_t before = index ? (json_int_t)out->steps[index - 1].step : 0;
        if (number <= before || number > (json_int_t)step || tokens < 0 || supervised < 0)
            return false;
        s.step = (uint32_t)number;
        s.tokens = (uint64_t)tokens;
        s.supervised = (uint64_t)supervised;
        inl_history_add(out, &s);
    }
    return true;
}
