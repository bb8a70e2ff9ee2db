// SPDX-License-Identifier: MIT
// SIGINT and SIGTERM ask for an orderly end; a second one ends the program at once.
#ifndef INTERRUPT_H
#define INTERRUPT_H

void interrupt_install(void);
const char *interrupt_name(void); // "SIGINT" or "SIGTERM" once one came, else NULL

#endif
