// SPDX-License-Identifier: MIT
// The inlay command: its subcommands by name.
#define _POSIX_C_SOURCE 200809L
#include "cli.h"
#include "interrupt.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const command *const commands[] = {&command_train,   &command_eval,  &command_generate,
                                          &command_data,    &command_convert, &command_merge,
                                          &command_tokenize, &command_info,  &command_devices,
                                          &command_verify,   &command_bench};

static void print_help(void)
{
    printf("usage: inlay COMMAND [options]\n\n"
           "Fine-tunes language models with LoRA and QLoRA on any Vulkan device.\n\n");
    for (size_t i = 0; i < COUNT(commands); i++)
        printf("  %-10s %s\n", commands[i]->name, commands[i]->summary);
    printf("\n  inlay COMMAND --help lists a command's options, inlay --version says the version.\n"
           "  Results go to stdout, everything else to stderr. Exit codes: 0 success, 1 failure,\n"
           "  2 bad usage or bad input.\n");
}

static int unknown(const char *name)
{
    const char *names[COUNT(commands)];
    for (size_t i = 0; i < COUNT(commands); i++)
        names[i] = commands[i]->name;
    const char *near = args_nearest_word(name, names, COUNT(names));
    if (near)
        cli_error("there is no command \"%s\"; did you mean \"%s\"?", name, near);
    else
        cli_error("there is no command \"%s\"; inlay --help lists them", name);
    return EXIT_BAD_INPUT;
}

// A standard stream that the caller closed gets a file that fails when it is used; else the next
// file to be opened would get its number, and our output would go into it.
static void fill_closed_streams(void)
{
    static const int modes[] = {O_WRONLY, O_RDONLY, O_WRONLY};
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", modes[fd]) < 0)
            exit(EXIT_FAILED);
}

int main(int argc, char **argv)
{
    fill_closed_streams();
    interrupt_end_at_once();
    signal(SIGPIPE, SIG_IGN); // a reader that went away is a write error like others
    if (argc < 2) {
        cli_error("a command is missing; inlay --help lists them");
        return EXIT_BAD_INPUT;
    }
    const char *name = argv[1];
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        print_help();
        return cli_finish_stdout(EXIT_OK);
    }
    if (strcmp(name, "--version") == 0) {
        printf("inlay %s (API %u)\n", inlay_version(), inlay_api_version());
        return cli_finish_stdout(EXIT_OK);
    }
    for (size_t i = 0; i < COUNT(commands); i++)
        if (strcmp(name, commands[i]->name) == 0)
            return cli_finish_stdout(commands[i]->run(commands[i], argc - 2, argv + 2));
    return unknown(name);
}
