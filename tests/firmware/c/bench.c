/* How many instructions a message of 64 bytes costs, when each takes a nanosecond (QEMU's -icount shift=0): prints
 * `MESSAGES PUBLISHED_US ACKNOWLEDGED_US`, the time of lw_publish() with lw_poll(), and that of lw_receive() with what the
 * host answers. */
#include "../../../client/c/laneway.c"
#include "board.h"

enum { MESSAGES = 200, ACK_BYTES = 20 };

static lw_device device, host;
static uint8_t acks[MESSAGES][ACK_BYTES], ack_bytes[MESSAGES];
static uint32_t sink;

static size_t on_write(void *user, const uint8_t *bytes, size_t count)
{
    (void)user;
    sink += bytes[0];
    return count;
}

static const lw_config config = {.write = on_write, .name = "bench"};

/* Hands over what was built as the host's. */
static void hear(uint32_t preset)
{
    end_frame(&host, preset, 0);
    lw_receive(&device, 0, host.transmit, host.transmit_end);
}

static void build_ack(unsigned lane, uint16_t next)
{
    begin_frame(&host, KIND_ACK << 5, 0);
    put16(&host, 1 | lane << 8);
    put16(&host, next);
    put16(&host, 0);
}

static void open_session(void)
{
    static const uint8_t offers[] = {0x38, 4, 0, 0, 0, 0, 0x39, 4, 0, 0, 0, 0};
    begin_frame(&host, KIND_LINK << 5, 0);
    put32(&host, 0x01010101); /* HELLO, versions, host */
    put32(&host, 1);
    put32(&host, 0);
    put32(&host, 0);
    put16(&host, 96);
    put16(&host, 1500);
    put32(&host, 0);
    put32(&host, 0);
    put8(&host, 2);
    put_bytes(&host, offers, sizeof offers);
    put8(&host, 0);
    hear(0);
    lw_poll(&device, 0);
    begin_frame(&host, KIND_LINK << 5, 0);
    put8(&host, LINK_WELCOME);
    put_bytes(&host, device.nonces + 4, 4);
    put_bytes(&host, device.nonces, 4);
    put8(&host, 0);
    hear(0);
}

static void print(uint32_t number)
{
    uint8_t text[12];
    unsigned at = sizeof text;
    text[--at] = ' ';
    do {
        text[--at] = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number);
    while (at < sizeof text) at += board_write(text + at, sizeof text - at);
}

int main(void)
{
    uint8_t payload[64];
    uint32_t published = 0, acknowledged = 0;
    uint16_t topic;
    for (unsigned i = 0; i < sizeof payload; i++) payload[i] = (uint8_t)(i * 37);
    board_start();
    lw_init(&device, &config, 1);
    lw_init(&host, &config, 2);
    topic = lw_topic(&device, "bench", 0);
    lw_connect(&device, 0);
    open_session();
    lw_poll(&device, 0);
    build_ack(0, 2);
    hear(device.preset);
    for (unsigned i = 0; i < MESSAGES; i++) {
        build_ack(1, (uint16_t)(i + 2));
        ack_bytes[i] = (uint8_t)end_frame(&host, device.preset, 0);
        for (unsigned j = 0; j < ack_bytes[i]; j++) acks[i][j] = host.transmit[j];
    }
    for (unsigned i = 0; i < MESSAGES; i++) {
        uint32_t start = board_us(), end;
        if (lw_publish(&device, topic, LW_COMMAND, payload, sizeof payload)) print(999999999);
        lw_poll(&device, 0);
        end = board_us();
        published += end - start;
        lw_receive(&device, 0, acks[i], ack_bytes[i]);
        acknowledged += board_us() - end;
    }
    print(device.lane[1].oldest - 1u);
    print(published);
    print(acknowledged);
    print(0); /* the end */
    for (;;) {
    }
}
