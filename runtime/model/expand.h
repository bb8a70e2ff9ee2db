// SPDX-License-Identifier: MIT
// NF4's scales as products read them, kept on the device: for generation, where a product of one
// row is shorter than decoding them before it.
#ifndef INL_MODEL_EXPAND_H
#define INL_MODEL_EXPAND_H

#include "model/weights.h"

// Takes an eighth of the NF4 matrices' memory; nothing where that is more than a quarter of what
// the device has left. Freed with the weights.
inlay_result inl_weights_expand(inl_weights *weights);

#endif
