/* A device as a process: somebody else is its clock, its line and its application, and talks to it in lines of text.
 *
 *   to it                     back
 *   i ENTROPY BAUD ADDRESS    lw_init
 *   x NOW HEX                 bytes arrive (- for none), then lw_poll
 *   p LANE TOPIC HEX          lw_publish: its status
 *   t NAME                    lw_topic: its id
 *   s NAME FLAGS              lw_subscribe: its id
 *   u ID                      lw_unsubscribe
 *   g LANE COUNT              lw_grant
 *   d CODE                    lw_disconnect
 *   c NOW                     lw_connect
 *
 * Before the answer, which begins with `=`, stand lines for what happened: `w HEX` is written to the line, `m LANE
 * TOPIC MISSED HEX` is a message, `e KIND LANE CODE TOPIC COUNT TEXT` an event. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../laneway.h"

static lw_device device;
static lw_config config;

static void put_hex(const uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) printf("%02x", bytes[i]);
    printf("\n");
}

static size_t get_hex(const char *text, uint8_t *bytes, size_t most)
{
    size_t count = 0;
    unsigned byte;
    while (count < most && sscanf(text + 2 * count, "%2x", &byte) == 1) bytes[count++] = (uint8_t)byte;
    return count;
}

static size_t on_write(void *user, const uint8_t *bytes, size_t count)
{
    (void)user;
    printf("w ");
    put_hex(bytes, count);
    return count;
}

static void on_event(lw_device *from, const lw_event *event)
{
    (void)from;
    printf("e %d %d %d %d %lu ", event->kind, event->lane, event->code, event->topic, (unsigned long)event->count);
    if (event->text) fwrite(event->text, 1, event->count, stdout);
    printf("\n");
}

static void on_message(lw_device *from, const lw_message *message)
{
    (void)from;
    printf("m %d %d %d ", message->lane, message->topic, message->missed);
    put_hex(message->bytes, message->count);
}

static const lw_subscription plain = {on_message, 0, 0, 0, 0, 0};
static const lw_subscription retained = {on_message, LW_RETAINED, 0, 0, 0, 0};

/* Names stay where they are, as the library wants them. */
static const char *keep(const char *name)
{
    static char names[64][80];
    static unsigned used;
    if (used == 64) used = 0;
    snprintf(names[used], sizeof names[used], "%s", name);
    return names[used++];
}

static void start(uint32_t entropy, uint32_t baud, unsigned long address)
{
    config.address = (uint8_t)address;
    config.write = on_write;
    config.on_event = on_event;
    config.name = "c-device";
    config.baud = baud;
    memcpy(config.node_id, "c-device", 8);
    lw_init(&device, &config, entropy);
    printf("=%d\n", device.mtu);
}

int main(void)
{
    static char line[1 << 16], text[1 << 16];
    static uint8_t bytes[1 << 15];
    unsigned long one, two, three;
    while (fgets(line, sizeof line, stdin)) {
        text[0] = 0;
        if (sscanf(line, "i %lu %lu %lu", &one, &two, &three) == 3) {
            start((uint32_t)one, (uint32_t)two, three);
        } else if (sscanf(line, "x %lu %65535s", &one, text) == 2) {
            lw_receive(&device, (uint32_t)one, bytes, get_hex(text, bytes, sizeof bytes));
            printf("=%lu\n", (unsigned long)lw_poll(&device, (uint32_t)one));
        } else if (sscanf(line, "p %lu %lu %65535s", &one, &two, text) >= 2) {
            size_t count = get_hex(text, bytes, sizeof bytes);
            printf("=%d\n", lw_publish(&device, (uint16_t)two, (uint8_t)one, bytes, count));
        } else if (sscanf(line, "t %79s", text) == 1) {
            printf("=%d\n", lw_topic(&device, keep(text), 0));
        } else if (sscanf(line, "s %79s %lu", text, &one) == 2) {
            printf("=%d\n", lw_subscribe(&device, keep(text), one ? &retained : &plain));
        } else if (sscanf(line, "u %lu", &one) == 1) {
            lw_unsubscribe(&device, (uint16_t)one);
            printf("=0\n");
        } else if (sscanf(line, "g %lu %lu", &one, &two) == 2) {
            lw_grant(&device, (uint8_t)one, (uint16_t)two);
            printf("=0\n");
        } else if (sscanf(line, "d %lu", &one) == 1) {
            lw_disconnect(&device, (uint8_t)one);
            printf("=0\n");
        } else if (sscanf(line, "c %lu", &one) == 1) {
            lw_connect(&device, (uint32_t)one);
            printf("=0\n");
        } else {
            printf("=?\n");
        }
        fflush(stdout);
    }
    return 0;
}
