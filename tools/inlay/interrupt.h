// SPDX-License-Identifier: MIT
// SIGINT, SIGTERM and SIGHUP: a command with nothing to save ends at once with a sentence, one that
// has something ends in order, and then a second signal ends it at once.
#ifndef INTERRUPT_H
#define INTERRUPT_H

void interrupt_end_at_once(void);
void interrupt_remember(void);
const char *interrupt_name(void); // "SIGINT", once one came that was remembered, else NULL

#endif
