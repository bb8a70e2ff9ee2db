// SPDX-License-Identifier: MIT
// One training run: the adapter's arenas on the device, the plan of a micro-batch, the plan of the
// update, and where in the data the run is. Everything about a step follows from its number and the
// seed, so a checkpoint is the arenas and a step number.
#ifndef INL_TRAIN_TRAINER_H
#define INL_TRAIN_TRAINER_H

#include "train/evaluate.h"
#include "train/history.h"
#include "train/schedule.h"

#define INL_CHECKPOINT_ALL (-1)
#define INL_CHECKPOINT_AUTO (-2)

#define INL_MAX_BATCH 4096
#define INL_NORM_BYTES 16

// Resolved: no zero stands for a default any more, except where zero means off.
typedef struct inl_train_params {
    uint32_t batch_size, accumulation, max_steps;
    double epochs;
    float learning_rate, loraplus_lr_ratio; // the ratio 0: none
    inl_schedule_kind schedule;
    uint32_t warmup_steps;
    double warmup_ratio;
    float weight_decay, max_grad_norm, beta1, beta2, epsilon;
    int32_t checkpointing; // layers, or INL_CHECKPOINT_*
    uint32_t checkpoint_segment; // 0: with INL_CHECKPOINT_AUTO what fits, else 1
    bool shuffle;
    uint32_t seed;
} inl_train_params;

typedef struct inl_train_plan {
    uint64_t trainable, weights, adapter, optimizer, activations, scratch, total, flops;
    uint64_t available; // on the device when the plan was made; UINT64_MAX without a device
    uint32_t total_steps, steps_per_epoch, checkpointed_layers, checkpoint_segment, dispatches;
} inl_train_plan;

typedef struct inl_trainer {
    inl_env env;
    inl_gpu *gpu;
    const inl_model *model;
    inl_lora *lora;
    const inl_dataset *dataset;
    inl_train_params params;
    inl_train_plan plan_info;
    inl_slots slots;
    inl_weights *weights;
    inl_buffer *arenas[4]; // weights, gradients, first and second moments
    inl_buffer *norm;      // f32, host-visible
    inl_buffer *rates;     // one f32 a vec4 of an arena, or NULL
    inl_buffer *norms;     // DoRA's, or NULL
    inl_lora_arena arena;
    inl_input_buffers inputs;
    inl_plan *micro, *update;
    inl_evaluator *evaluator; // made on first use
    inl_eval_watch watch;     // of evaluations
    inl_history history;
    uint32_t step;            // steps done
    uint32_t adjusted;        // times the plan was cut anew
    uint32_t *order;          // rows in the order of `order_epoch`
    uint32_t order_epoch;
    inl_row *rows; // of one micro-batch
} inl_trainer;

// What a run needs, without allocating. `gpu` NULL: no limits.
inlay_result inl_train_plan_make(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                 const inl_lora *lora, const inl_dataset *dataset,
                                 const inl_train_params *params, inl_train_plan *out);
// OUT_OF_DEVICE_MEMORY, saying what would fit, when the plan needs more than there was.
inlay_result inl_train_plan_check(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                  const inl_lora *lora, const inl_dataset *dataset,
                                  const inl_train_params *params, const inl_train_plan *plan);
// `max_grad_norm`'s and the other options' meaning: inlay/train.h.
inlay_result inl_trainer_create(const inl_env *env, inl_gpu *gpu, const inl_model *model,
                                inl_lora *lora, const inl_dataset *dataset,
                                const inl_train_params *params, inl_trainer **out);
void inl_trainer_destroy(inl_trainer **trainer);
inlay_result inl_trainer_step(inl_trainer *trainer, inl_step_stats *stats);
// Steps of warm-up, from the number of steps or the ratio.
uint32_t inl_trainer_warmup(const inl_trainer *trainer);
inlay_result inl_trainer_sync(inl_trainer *trainer);
inlay_result inl_trainer_evaluate(inl_trainer *trainer, const inl_dataset *dataset,
                                  inl_evaluation *out);
// The gradients of the next step's first micro-batch, as an arena image of slots.floats, without an
// update: for tests.
inlay_result inl_trainer_gradients(inl_trainer *trainer, float *arena);

// memory.c: bytes of the table of learning rates' factors, 0 where there is none.
uint64_t inl_rates_bytes(const inl_train_params *params, const inl_slots *slots);

// checkpoint.c
inlay_result inl_trainer_save(inl_trainer *trainer, const char *folder);
inlay_result inl_trainer_resume(inl_trainer *trainer, const char *folder);

#endif
