// SPDX-License-Identifier: MIT
// inlay bench --tune: how products are best divided among the device's threads, for later runs.
#include "bench_run.h"
#include "interrupt.h"

#include <stdlib.h>
#include <string.h>

static bool show(void *user, const inlay_tune_candidate *c)
{
    const char **what = user;
    if (!*what || strcmp(*what, c->what) != 0) {
        printf("%s\n", c->what);
        free((char *)*what);
        *what = xstrdup(c->what);
    }
    printf("  %-32s ", c->tiles);
    if (c->ratio > 0.0)
        printf("%7.3f%s\n", c->ratio, c->chosen ? "  <- chosen" : "");
    else
        printf("      -  %s\n", c->largest_error > 1e-9 ? "its results are wrong" : "not measured");
    return !bench_stopped();
}

int bench_tune(bench_run *run)
{
    const char *what = NULL;
    inlay_tune_params params = {.progress = show, .user = &what};
    cli_note("trying ways to divide products on %s, for a minute at most", run->info.name);
    printf("seconds by those of what the device had: below 1 is faster\n");
    inlay_result result = inlay_device_tune(run->device, &params);
    free((char *)what);
    if (result == INLAY_ERROR_INTERRUPTED)
        cli_error("stopped by %s: nothing has been changed", interrupt_name());
    return cli_exit_run(result);
}
