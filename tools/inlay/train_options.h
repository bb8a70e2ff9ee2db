// SPDX-License-Identifier: MIT
// The options of inlay train, from the command line and a configuration file, and what they say to
// the library.
#ifndef TRAIN_OPTIONS_H
#define TRAIN_OPTIONS_H

#include "cli.h"
#include "config.h"

typedef struct train_options {
    common_options common;
    config config; // owns strings that come from the file
    const char *config_path;
    const char *model, *data, *output, *adapter, *eval_data, *resume, *quantize;
    chat_options chat;
    uint32_t max_length;
    bool no_packing, no_eos, no_shuffle;
    double eval_split;
    uint32_t lora_r;
    double lora_alpha, lora_dropout;
    bool use_rslora, use_dora;
    const char *target_modules;
    struct init_option {
        inlay_init kind;
        uint32_t rounds; // of pissa_niter_N
    } init;
    double loraplus_lr_ratio;
    double learning_rate, warmup_ratio, weight_decay, max_grad_norm;
    double beta1, beta2, epsilon, epochs;
    int schedule;
    uint32_t warmup_steps, max_steps, batch_size, accumulation;
    int32_t checkpointing;
    uint32_t checkpoint_segment;
    uint32_t eval_steps, save_steps, save_total_limit, logging_steps, seed;
    bool overwrite, dry_run, json;
    bool no_steps; // --max-steps 0: only the initial adapter is written
} train_options;

// False: the command ends here with *code.
bool train_options_read(train_options *o, const command *self, int argc, char **argv, int *code);
void train_options_free(train_options *o);

inlay_model_params train_model_params(const train_options *o);
inlay_dataset_params train_dataset_params(const train_options *o);
inlay_adapter_params train_adapter_params(const train_options *o);
inlay_train_params train_train_params(const train_options *o);

#endif
