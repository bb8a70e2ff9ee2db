// SPDX-License-Identifier: MIT
// What there is to say of a device: `inlay devices`, and reports of runs on one.
#ifndef DEVICE_TEXT_H
#define DEVICE_TEXT_H

#include "json_out.h"

#include <inlay/device.h>
#include <stdio.h>

json_t *device_json(const inlay_device_info *device);
void device_print(FILE *out, const inlay_device_info *device);

#endif
