// SPDX-License-Identifier: MIT
#define _POSIX_C_SOURCE 200809L
#include "tensorboard.h"

#include "cli.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RECORD_ROOM 1024
#define HEADER 12 // u64 length, u32 checksum of it
#define SESSION_START 1

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };
enum { EVENT_TIME = 1, EVENT_STEP = 2, EVENT_VERSION = 3, EVENT_SUMMARY = 5, EVENT_SESSION = 7 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, SESSION_STATUS = 1 };

uint32_t tensorboard_crc32c(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) // reflected 0x1edc6f41
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

uint32_t tensorboard_mask(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

// A message under construction; too long a one is marked by `full`.
typedef struct message {
    uint8_t bytes[RECORD_ROOM];
    size_t size;
    bool full;
} message;

static void put(message *m, const void *data, size_t size)
{
    m->full = m->full || size > sizeof(m->bytes) - m->size;
    if (m->full)
        return;
    memcpy(m->bytes + m->size, data, size);
    m->size += size;
}

static void put_le(message *m, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(value >> 8 * i);
        put(m, &byte, 1);
    }
}

static void put_varint(message *m, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_le(m, value | 0x80, 1);
    put_le(m, value, 1);
}

static void put_key(message *m, unsigned field, unsigned wire)
{
    put_varint(m, field << 3 | wire);
}

static void put_bytes(message *m, unsigned field, const void *data, size_t size)
{
    put_key(m, field, WIRE_BYTES);
    put_varint(m, size);
    put(m, data, size);
}

static void put_float(message *m, unsigned field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_key(m, field, WIRE_32);
    put_le(m, bits, 4);
}

static void begin_event(message *m, double time, uint32_t step)
{
    uint64_t bits;
    memcpy(&bits, &time, sizeof(bits));
    *m = (message){0};
    put_key(m, EVENT_TIME, WIRE_64);
    put_le(m, bits, 8);
    if (step > 0) { // zero is what a field that is not there means
        put_key(m, EVENT_STEP, WIRE_VARINT);
        put_varint(m, step);
    }
}

static size_t frame(const message *event, uint8_t *out, size_t room)
{
    message m = {0};
    put_le(&m, event->size, 8);
    put_le(&m, tensorboard_mask(tensorboard_crc32c(m.bytes, 8)), 4);
    put(&m, event->bytes, event->size);
    put_le(&m, tensorboard_mask(tensorboard_crc32c(event->bytes, event->size)), 4);
    if (event->full || m.full || m.size > room)
        return 0;
    memcpy(out, m.bytes, m.size);
    return m.size;
}

size_t tensorboard_record(uint8_t *out, size_t room, double time, uint32_t step,
                          const tensorboard_value *values, size_t count)
{
    message event, summary = {0};
    begin_event(&event, time, step);
    for (size_t i = 0; i < count; i++) {
        message value = {0};
        put_bytes(&value, VALUE_TAG, values[i].tag, strlen(values[i].tag));
        put_float(&value, VALUE_SIMPLE, (float)values[i].value);
        put_bytes(&summary, SUMMARY_VALUE, value.bytes, value.size);
    }
    put_bytes(&event, EVENT_SUMMARY, summary.bytes, summary.size);
    return frame(&event, out, room);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool write_event(tensorboard *tb, const message *event)
{
    uint8_t record[RECORD_ROOM];
    size_t size = frame(event, record, sizeof(record));
    return append_write(&tb->file, record, size);
}

bool tensorboard_open(tensorboard *tb, const char *folder, uint32_t first_step)
{
    static const char version[] = "brain.Event:2";
    char host[128] = "localhost";
    message event, session = {0};
    if (gethostname(host, sizeof(host) - 1) != 0 || strchr(host, '/'))
        snprintf(host, sizeof(host), "localhost");
    host[sizeof(host) - 1] = '\0';
    double time = now();
    // With the process: a run that is resumed within the second must not write over its first part.
    char *name = xprintf("events.out.tfevents.%010lld.%s.%ld", (long long)time, host,
                         (long)getpid());
    char *path = path_join(folder, name);
    bool done = append_open(&tb->file, path, true);
    free(path);
    free(name);
    begin_event(&event, time, 0);
    put_bytes(&event, EVENT_VERSION, version, sizeof(version) - 1);
    done = done && write_event(tb, &event);
    put_key(&session, SESSION_STATUS, WIRE_VARINT);
    put_varint(&session, SESSION_START);
    begin_event(&event, time, first_step);
    put_bytes(&event, EVENT_SESSION, session.bytes, session.size);
    return done && write_event(tb, &event);
}

bool tensorboard_add(tensorboard *tb, uint32_t step, const tensorboard_value *values, size_t count)
{
    uint8_t record[RECORD_ROOM];
    size_t size = tensorboard_record(record, sizeof(record), now(), step, values, count);
    return append_write(&tb->file, record, size);
}

void tensorboard_close(tensorboard *tb)
{
    append_close(&tb->file);
}
