/* The application of the test images. It publishes numbered messages on `board/up` for as long as there is room, and
 * checks the numbers of what it gets on `board/down`; each of its messages says what it has seen so far:
 *
 *   u32 own number, u32 messages of `board/down`, u32 of these with a wrong number, u32 sessions */
#include "../../../client/c/laneway.h"
#include "board.h"

#ifndef BOARD_BAUD
#define BOARD_BAUD 921600
#endif

static lw_device device;
static uint16_t up;
static uint32_t own, seen, wrong, sessions;

static size_t on_write(void *user, const uint8_t *bytes, size_t count)
{
    (void)user;
    return board_write(bytes, count);
}

static void on_message(lw_device *from, const lw_message *message)
{
    uint32_t number = 0;
    (void)from;
    for (unsigned i = 0; i < 4 && i < message->count; i++) number |= (uint32_t)message->bytes[i] << 8 * i;
    if (number != seen) wrong++;
    seen++;
}

static void on_event(lw_device *from, const lw_event *event)
{
    (void)from;
    if (event->kind == LW_OPENED) sessions++;
}

static void publish_next(void)
{
    uint32_t words[4] = {own, seen, wrong, sessions};
    if (lw_is_open(&device) && lw_publish(&device, up, LW_COMMAND, words, sizeof words) == LW_OK) own++;
}

int main(void)
{
    static const lw_config config = {.write = on_write,
                                     .on_event = on_event,
                                     .name = BOARD_NAME,
                                     .node_id = BOARD_NAME,
                                     .baud = BOARD_BAUD,
                                     .dead_ms = 5000};
    static const lw_subscription down = {.on_message = on_message};
    board_start();
    lw_init(&device, &config, board_entropy());
    up = lw_topic(&device, "board/up", 0);
    lw_subscribe(&device, "board/down", &down);
    lw_connect(&device, board_us());
    for (;;) {
        uint8_t bytes[32];
        size_t count = board_read(bytes, sizeof bytes);
        lw_receive(&device, board_us(), bytes, count);
        lw_poll(&device, board_us());
        publish_next();
        if (!count) board_idle();
    }
}
