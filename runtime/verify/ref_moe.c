// SPDX-License-Identifier: MIT
#include "verify/ref.h"

#include <math.h>
#include <stddef.h>

static void softmax(const double *z, uint32_t count, double *p)
{
    double most = z[0], sum = 0.0;
    for (uint32_t i = 1; i < count; i++)
        most = fmax(most, z[i]);
    for (uint32_t i = 0; i < count; i++)
        sum += p[i] = exp(z[i] - most);
    for (uint32_t i = 0; i < count; i++)
        p[i] /= sum;
}

static bool is_among(const uint32_t *ids, uint32_t count, uint32_t id)
{
    for (uint32_t i = 0; i < count; i++)
        if (ids[i] == id)
            return true;
    return false;
}

static uint32_t best_of_rest(const double *p, uint32_t experts, const uint32_t *taken,
                             uint32_t count)
{
    uint32_t best = UINT32_MAX;
    for (uint32_t e = 0; e < experts; e++)
        if (!is_among(taken, count, e) && (best == UINT32_MAX || p[e] > p[best]))
            best = e;
    return best;
}

static double chosen_sum(const ref_router *r, const double *p, const uint32_t *ids)
{
    double sum = 0.0;
    for (uint32_t k = 0; k < r->used; k++)
        sum += p[ids[k]];
    return r->normalize ? sum : 1.0;
}

void ref_route(const ref_router *r, const double *logits, double *probs, uint32_t *ids,
               double *weights)
{
    for (uint32_t t = 0; t < r->rows;
         t++, logits += r->experts, probs += r->experts, ids += r->used, weights += r->used) {
        softmax(logits, r->experts, probs);
        for (uint32_t k = 0; k < r->used; k++)
            ids[k] = best_of_rest(probs, r->experts, ids, k);
        double sum = chosen_sum(r, probs, ids);
        for (uint32_t k = 0; k < r->used; k++)
            weights[k] = probs[ids[k]] / sum;
    }
}

// dp [experts]: weight k is p_k, or p_k / S with S the sum of the chosen.
static void probs_gradient(const ref_router *r, const double *p, const uint32_t *ids,
                           const double *dw, double *dp)
{
    double sum = chosen_sum(r, p, ids), along = 0.0;
    for (uint32_t e = 0; e < r->experts; e++)
        dp[e] = 0.0;
    for (uint32_t k = 0; k < r->used; k++)
        along += dw[k] * p[ids[k]] / (sum * sum);
    for (uint32_t k = 0; k < r->used; k++)
        dp[ids[k]] = dw[k] / sum - (r->normalize ? along : 0.0);
}

void ref_route_bwd(const ref_router *r, const double *probs, const uint32_t *ids,
                   const double *dweights, double *dlogits)
{
    for (uint32_t t = 0; t < r->rows; t++) {
        const double *p = probs + (size_t)t * r->experts;
        double *dz = dlogits + (size_t)t * r->experts, inner = 0.0; // holds dp first
        probs_gradient(r, p, ids + (size_t)t * r->used, dweights + (size_t)t * r->used, dz);
        for (uint32_t e = 0; e < r->experts; e++)
            inner += p[e] * dz[e];
        for (uint32_t e = 0; e < r->experts; e++)
            dz[e] = p[e] * (dz[e] - inner);
    }
}

uint32_t ref_moe_sort(const ref_router *r, const uint32_t *ids, uint32_t align, uint32_t *row_of,
                      uint32_t *assignment_of, uint32_t *first, uint32_t *count)
{
    uint32_t row = 0;
    for (uint32_t e = 0; e < r->experts; e++) {
        first[e] = row;
        for (uint32_t i = 0; i < r->rows * r->used; i++) {
            if (ids[i] != e)
                continue;
            row_of[i] = row;
            assignment_of[row++] = i;
        }
        count[e] = row - first[e];
        while (row % align != 0)
            assignment_of[row++] = UINT32_MAX;
    }
    return row;
}
