// SPDX-License-Identifier: MIT
// Training an adapter, and the loss of a model on a dataset.
#ifndef INLAY_TRAIN_H
#define INLAY_TRAIN_H

#include <inlay/adapter.h>
#include <inlay/dataset.h>

INLAY_BEGIN

// One training run. One thread at a time. Holds the weights on the device while it lives.
typedef struct inlay_trainer inlay_trainer;

typedef enum inlay_schedule {
    INLAY_SCHEDULE_LINEAR = 0,
    INLAY_SCHEDULE_COSINE = 1,
    INLAY_SCHEDULE_CONSTANT = 2,
    INLAY_SCHEDULE_CONSTANT_WITH_WARMUP = 3,
} inlay_schedule;

#define INLAY_CHECKPOINT_NONE 0
#define INLAY_CHECKPOINT_ALL (-1)
#define INLAY_CHECKPOINT_AUTO (-2)

typedef struct inlay_train_params {
    uint32_t batch_size;                  // rows in a micro-batch; 0: 1
    uint32_t gradient_accumulation_steps; // micro-batches in a step; 0: 1
    uint32_t max_steps;                   // 0: as many as the epochs have
    double num_train_epochs;              // 0: 1; a fraction is allowed; max_steps goes before it
    float learning_rate;                  // 0: 2e-4
    float loraplus_lr_ratio; // LoRA+: times learning_rate for B's and DoRA's magnitudes; 0: 1
    inlay_schedule lr_scheduler;
    uint32_t warmup_steps; // goes before warmup_ratio
    double warmup_ratio;   // of all steps, rounded up
    float weight_decay;
    float max_grad_norm;           // 0: no clipping
    float adam_beta1, adam_beta2;  // 0: 0.9, 0.999
    float adam_epsilon;            // 0: 1e-8
    // Layers whose activations are computed again in the backward pass: NONE, ALL, AUTO (as few as
    // fit the memory), or the number of layers.
    int32_t gradient_checkpointing;
    // Of those layers every so many keep their input: less memory, for up to one more forward pass.
    uint32_t checkpoint_segment; // 0: with AUTO as few as fit, where all layers at 1 do not; else 1
    bool no_shuffle;
    uint32_t seed; // of the shuffle and of dropout
} inlay_train_params;

// What a run will use, known before anything is allocated on the device.
typedef struct inlay_train_plan {
    uint64_t trainable_parameters, total_parameters;
    uint64_t weights_bytes, adapter_bytes, optimizer_bytes, activations_bytes, scratch_bytes;
    uint64_t total_bytes;
    uint64_t device_budget_bytes; // of the device's, what was not taken when the plan was made
    bool fits;
    uint64_t flops_per_step;
    uint32_t tokens_per_step; // rows times row length times accumulation
    uint32_t total_steps, steps_per_epoch;
    uint32_t checkpointed_layers, checkpoint_segment;
    uint32_t dispatches; // of one micro-batch, forward and backward
} inlay_train_plan;

typedef struct inlay_step_stats {
    uint32_t step; // 1 after the first
    double epoch;
    double loss; // mean over the step's supervised tokens, nats
    double grad_norm; // before clipping
    double learning_rate;
    uint64_t tokens;            // of this step, without padding
    uint64_t supervised_tokens; // of this step
    double seconds;      // wall clock of the step
    double host_seconds; // of it, time this process spent preparing and submitting
    uint64_t peak_device_bytes;
} inlay_step_stats;

// What the run would need, without touching the device's memory. `device` may be NULL: then
// device_budget_bytes is 0 and fits is true.
INLAY_API inlay_result inlay_train_plan_run(inlay_train_plan *out, const inlay_env *env,
                                            inlay_device *device, const inlay_model *model,
                                            const inlay_adapter *adapter,
                                            const inlay_dataset *dataset,
                                            const inlay_train_params *params);

// `adapter` is trained in place: its values are brought up to date by inlay_trainer_sync and
// inlay_trainer_destroy does not touch them. All handles must outlive the trainer.
// Errors: OUT_OF_DEVICE_MEMORY says how much is needed, there is, and what would fit.
INLAY_API inlay_result inlay_trainer_create(inlay_trainer **out, const inlay_env *env,
                                            inlay_device *device, const inlay_model *model,
                                            inlay_adapter *adapter, const inlay_dataset *dataset,
                                            const inlay_train_params *params);
INLAY_API void inlay_trainer_destroy(inlay_trainer **trainer);
INLAY_API void inlay_trainer_get_plan(const inlay_trainer *trainer, inlay_train_plan *plan);

INLAY_API uint32_t inlay_trainer_get_step(const inlay_trainer *trainer); // steps done

// One optimizer step; past total_steps the schedule's last rate stays. NOT_FINITE: a loss or
// gradient is NaN or infinite; the log names the layer, the tensor and the step, and the adapter is
// as it was before the step.
INLAY_API inlay_result inlay_trainer_step(inlay_trainer *trainer, inlay_step_stats *stats);
// The newest steps, at most 256 and `room`, oldest first; returns how many. They are kept in a
// checkpoint: after a resume those before it are there, with times of 0.
INLAY_API uint32_t inlay_trainer_get_history(const inlay_trainer *trainer, inlay_step_stats *stats,
                                             uint32_t room);
// Copies the trained values from the device into the adapter. NOT_FINITE: one is NaN or infinite,
// and the adapter is left as it is.
INLAY_API inlay_result inlay_trainer_sync(inlay_trainer *trainer);
// Adapter, moments, position in the data and random state into a folder that appears whole or not
// at all, in the place of an older checkpoint or an empty folder alone; the adapter files in it are
// PEFT's. A process killed meanwhile leaves FOLDER.tmp-PID beside it. Resuming gives the unbroken
// run bit for bit on the same device and driver. Errors of resume: MISMATCH when the run's options,
// model or data differ; they leave the run as it was. Another number of steps is allowed: where the
// rate depends on it, a warning says so.
INLAY_API inlay_result inlay_trainer_save_checkpoint(inlay_trainer *trainer, const char *folder);
INLAY_API inlay_result inlay_trainer_resume(inlay_trainer *trainer, const char *folder);

typedef struct inlay_eval_result {
    double loss;       // mean negative log-likelihood over the scored tokens, nats
    double perplexity; // exp(loss)
    uint64_t tokens;   // scored: the supervised ones
} inlay_eval_result;

// The loss of the trainer's current adapter on `dataset`, dropout off. Takes no device memory
// beside the run's. MISMATCH when the rows are longer than the training data's; BAD_FILE when no
// token is supervised; NOT_FINITE when the loss is not.
INLAY_API inlay_result inlay_trainer_evaluate(inlay_trainer *trainer, const inlay_dataset *dataset,
                                              inlay_eval_result *result);
// Asked between the submissions of an evaluation, on its thread: what is not INLAY_OK, such as
// INLAY_ERROR_INTERRUPTED, ends it with that result; the trainer is as it was before.
typedef inlay_result (*inlay_eval_callback)(void *user, uint64_t rows_done, uint64_t rows);
INLAY_API void inlay_trainer_watch_evaluation(inlay_trainer *trainer, inlay_eval_callback callback,
                                              void *user); // NULL: nobody is asked
// The loss of `model` with `adapter` (NULL: none) on `dataset`; the weights are on the device while
// it runs. Errors: OUT_OF_DEVICE_MEMORY; INVALID_ARGUMENT, the adapter is another model's;
// BAD_FILE, no token is supervised; NOT_FINITE, the loss is not finite.
INLAY_API inlay_result inlay_evaluate(const inlay_env *env, inlay_device *device,
                                      const inlay_model *model, const inlay_adapter *adapter,
                                      const inlay_dataset *dataset, inlay_eval_result *result);

INLAY_END

#endif
