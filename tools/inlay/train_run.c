// SPDX-License-Identifier: MIT
#include "train_run.h"

#include "checkpoints.h"
#include "interrupt.h"
#include "progress.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void describe(const train_run *run, double since, progress_state *out)
{
    const inlay_step_stats *s = &run->last;
    *out = (progress_state){.unit = "step",
                            .done = s->step,
                            .total = run->plan.total_steps,
                            .start = run->first_step,
                            .seconds = clock_seconds() - since,
                            .loss = s->loss,
                            .per_second = run->seconds > 0 ? (double)run->tokens / run->seconds : 0,
                            .memory_bytes = s->peak_device_bytes,
                            .learning_rate = s->learning_rate,
                            .grad_norm = s->grad_norm};
}

static inlay_result ask(void *user, uint64_t rows_done, uint64_t rows)
{
    (void)user, (void)rows_done, (void)rows;
    return interrupt_name() ? INLAY_ERROR_INTERRUPTED : INLAY_OK;
}

static inlay_result evaluate(train_run *run, bool *written)
{
    inlay_trainer_watch_evaluation(run->trainer, ask, NULL);
    inlay_result result = inlay_trainer_evaluate(run->trainer, run->eval_data, &run->eval);
    *written = true;
    if (result != INLAY_OK)
        return result;
    uint32_t step = inlay_trainer_get_step(run->trainer);
    *written = train_log_eval(&run->log, step, run->last.epoch, &run->eval);
    cli_note("step %u/%u  eval_loss %.4f  perplexity %.4g", step, run->plan.total_steps,
             run->eval.loss, run->eval.perplexity);
    return result;
}

static inlay_result save_checkpoint(train_run *run)
{
    const train_options *o = run->options;
    uint32_t step = inlay_trainer_get_step(run->trainer);
    if (step == run->saved_step)
        return INLAY_OK;
    char *path = checkpoints_path(o->output, step);
    inlay_result result = inlay_trainer_save_checkpoint(run->trainer, path);
    free(path);
    if (result != INLAY_OK)
        return result;
    run->saved_step = step;
    if (!checkpoints_prune(o->output, step, o->save_total_limit))
        return INLAY_ERROR_IO;
    return INLAY_OK;
}

static bool is_due(uint32_t step, uint32_t every)
{
    return every > 0 && step % every == 0;
}

// What follows a step: report, evaluation, checkpoint.
static inlay_result follow_up(train_run *run, progress_state *progress)
{
    const train_options *o = run->options;
    uint32_t step = run->last.step;
    bool last = step == run->plan.total_steps, written = true;
    if (is_due(step, o->logging_steps) || last) {
        written = train_log_report(&run->log, &run->last);
        progress->loss = run->log.loss;
        progress_report(progress);
    }
    inlay_result result = INLAY_OK;
    if (written && run->eval_data && (is_due(step, o->eval_steps) || last))
        result = evaluate(run, &written);
    if (result == INLAY_OK && written && is_due(step, o->save_steps))
        result = save_checkpoint(run);
    return result == INLAY_OK && !written ? INLAY_ERROR_IO : result;
}

// The device's state is that of the last good step, also after a step that failed.
static void keep_last_good(train_run *run)
{
    uint32_t step = inlay_trainer_get_step(run->trainer);
    if (step == 0)
        return;
    if (step > run->first_step && save_checkpoint(run) != INLAY_OK)
        return;
    char *path = checkpoints_path(run->options->output, step);
    cli_note("step %u is kept in %s; --resume-from-checkpoint auto goes on from it", step, path);
    free(path);
}

static int stop_on_signal(train_run *run)
{
    progress_end();
    (void)train_log_report(&run->log, &run->last);
    inlay_result result = save_checkpoint(run);
    if (result == INLAY_OK)
        cli_error("stopped by %s after step %u of %u: checkpoint-%u in %s holds the run, "
                  "--resume-from-checkpoint auto goes on",
                  interrupt_name(), run->last.step, run->plan.total_steps, run->last.step,
                  run->options->output);
    (void)train_log_picture(&run->log);
    return EXIT_FAILED;
}

static int stop_on_failure(train_run *run, inlay_result result)
{
    progress_end();
    if (result == INLAY_ERROR_NOT_FINITE)
        keep_last_good(run);
    return cli_exit_run(result);
}

int train_run_steps(train_run *run)
{
    double since = clock_seconds();
    inlay_result result = INLAY_OK;
    interrupt_remember();
    progress_begin();
    uint32_t step = run->first_step;
    while (result == INLAY_OK && step < run->plan.total_steps) {
        result = inlay_trainer_step(run->trainer, &run->last);
        if (result != INLAY_OK)
            break;
        progress_state progress;
        step = run->last.step;
        run->tokens += run->last.tokens;
        run->seconds += run->last.seconds;
        train_log_step(&run->log, &run->last);
        describe(run, since, &progress);
        progress_draw(&progress);
        result = follow_up(run, &progress);
        if (result == INLAY_OK && interrupt_name() && step < run->plan.total_steps)
            return stop_on_signal(run);
    }
    if (result == INLAY_ERROR_INTERRUPTED)
        return stop_on_signal(run);
    if (result != INLAY_OK)
        return stop_on_failure(run, result);
    progress_end();
    return EXIT_OK;
}

int train_run_save(train_run *run)
{
    const char *folder = run->options->output;
    inlay_result result = run->trainer ? inlay_trainer_sync(run->trainer) : INLAY_OK;
    if (result == INLAY_OK)
        result = inlay_adapter_save_peft(run->adapter, folder);
    inlay_adapter_info info;
    inlay_adapter_get_info(run->adapter, &info);
    char *path = path_join(folder, "adapter.gguf");
    if (result == INLAY_OK && (info.use_dora || info.on_tied_head)) {
        (void)remove(path); // an earlier run's
        cli_note("no adapter.gguf: GGUF has no place for %s; inlay merge writes a whole model",
                 info.use_dora ? "DoRA's magnitudes" : "a head that shares the embedding's matrix");
    } else if (result == INLAY_OK)
        result = inlay_adapter_save_gguf(run->adapter, path);
    free(path);
    if (result != INLAY_OK)
        return cli_exit_run(result);
    return train_log_picture(&run->log) ? EXIT_OK : EXIT_FAILED;
}
