// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 200809L
#include "interrupt.h"

#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#define MESSAGE(name) "inlay: error: stopped by " name "\n"

static const struct {
    int number;
    const char *name, *message;
} signals[] = {{SIGINT, "SIGINT", MESSAGE("SIGINT")},
               {SIGTERM, "SIGTERM", MESSAGE("SIGTERM")},
               {SIGHUP, "SIGHUP", MESSAGE("SIGHUP")}};

static const size_t signal_count = sizeof(signals) / sizeof(signals[0]);
static volatile sig_atomic_t received;

static void remember(int number)
{
    received = number;
}

// Calls nothing but what a signal handler may call.
static void end(int number)
{
    for (size_t i = 0; i < signal_count; i++)
        if (signals[i].number == number &&
            write(STDERR_FILENO, signals[i].message, strlen(signals[i].message)) < 0)
            break;
    _exit(1);
}

// What the caller had ignored (nohup, a shell's background job) stays ignored.
static void install(void (*handler)(int))
{
    struct sigaction action, old;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = (int)SA_RESETHAND | SA_RESTART;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < signal_count; i++)
        if (sigaction(signals[i].number, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i].number, &action, NULL);
}

void interrupt_end_at_once(void)
{
    install(end);
}

void interrupt_remember(void)
{
    install(remember);
}

const char *interrupt_name(void)
{
    for (size_t i = 0; i < signal_count; i++)
        if (signals[i].number == received)
            return signals[i].name;
    return NULL;
}
