/* Whatever arrives, and whatever the application does meanwhile: nothing is read or written where it must not be, and
 * what a device may expect of itself holds. Built with -fsanitize=fuzzer it is libFuzzer's; with -DFUZZ_SEED=... it
 * makes up FUZZ_INPUTS inputs of its own. */
#include <stdio.h>
#include <stdlib.h>

#include "../laneway.c"

static const uint8_t *input;
static size_t input_left;
static unsigned depth;

static unsigned next_byte(void)
{
    if (!input_left) return 0;
    input_left--;
    return *input++;
}

static void must(bool holds, const char *what)
{
    if (holds) return;
    printf("broken: %s\n", what);
    abort();
}

static void act(lw_device *device);

static size_t on_write(void *user, const uint8_t *bytes, size_t count)
{
    size_t taken = count;
    (void)user;
    must(count > 0, "nothing is written");
    for (size_t i = 0; i + 1 < count; i++)
        must(i < 2 || bytes[i] || !bytes[i + 1], "zeros only at the ends of a frame");
    if (next_byte() > 250) taken = next_byte() % (count + 1);
    return taken;
}

static void on_event(lw_device *device, const lw_event *event)
{
    unsigned sum = 0;
    if (event->text)
        for (uint32_t i = 0; i < event->count; i++) sum += (uint8_t)event->text[i];
    must(event->kind <= LW_NAMED && sum < UINT32_MAX, "an event");
    if (next_byte() > 200) act(device);
}

static void on_message(lw_device *device, const lw_message *message)
{
    unsigned sum = 0;
    for (unsigned i = 0; i < message->count; i++) sum += message->bytes[i];
    must(message->lane && message->topic && message->count <= LW_MTU && sum < UINT32_MAX, "a message");
    if (next_byte() > 200) act(device);
}

static const lw_config config = {
    .write = on_write, .on_event = on_event, .name = "fuzz", .node_id = {1}, .baud = 115200, .address = 5};
static const lw_subscription subscription = {on_message, 3, 1, 2, 3, 4};
static const char *const names[] = {
    "a", "a/b", "#", "+/b",
    "a-name-that-is-so-long-that-some-hosts-with-small-frames-have-no-room-for-it-at-all/and-a-half"};

/* What an application may do at any time, callbacks included. */
static void act(lw_device *device)
{
    uint8_t bytes[LW_MTU + 2] = {0};
    unsigned what = next_byte(), which = next_byte();
    if (depth > 3) return;
    depth++;
    switch (what % 9) {
    case 0:
        lw_topic(device, names[which % 5], which & LW_RETAIN);
        break;
    case 1:
        lw_subscribe(device, names[which % 5], &subscription);
        break;
    case 2:
        lw_unsubscribe(device, (uint16_t)(0x4000 + which % 8));
        break;
    case 3:
        lw_grant(device, which % 8, 1);
        break;
    case 4:
        lw_disconnect(device, LW_SHUTDOWN);
        break;
    case 5:
        lw_connect(device, device->now);
        break;
    default:
        lw_publish_at(device, (uint16_t)(0x4000 + which % 6), (uint8_t)(which / 8 % 8), bytes,
                      next_byte() % sizeof bytes, which > 128 ? &device->now : NULL);
    }
    depth--;
}

static void check(lw_device *device)
{
    must(device->state <= OPEN && device->topics <= LW_TOPICS, "the state");
    must(device->transmit_at <= device->transmit_end && device->transmit_end <= sizeof device->transmit,
         "what is sent");
    must(device->received <= LW_RECEIVE_BYTES, "what is received");
    for (unsigned i = 0; i < LW_LANES; i++) {
        const struct lw_lane *lane = &device->lane[i];
        must(lane->head < LW_WINDOW && lane->sent <= LW_WINDOW, "a lane");
        must(!i || (lane->count <= LW_WINDOW && lane->sent <= lane->count), "its queue");
        must(device->state == OPEN || !lane->sent, "nothing is under way without a session");
    }
    must(device->nonces[4] | device->nonces[5] | device->nonces[6] | device->nonces[7], "the nonce");
}

static void put_input(lw_device *host, unsigned count)
{
    while (count--) put8(host, next_byte());
}

static void build_link(const lw_device *device, lw_device *host)
{
    static const uint8_t offers[] = {0x38, 4, 0,    1, 0, 0, 0x31, 4, 0, 1, 3, 0, 0x22, 2, 0, 0,
                                     0,    0, 0x13, 1, 0, 0, 0,    0, 4, 1, 0, 0, 0,    0, 0};
    unsigned tag = 1 + next_byte() % 3;
    begin_frame(host, KIND_LINK << 5, 0);
    put8(host, tag);
    if (tag != LINK_HELLO) {
        put_bytes(host, device->nonces + 4, 4);
        put_bytes(host, device->nonces, 4);
        put8(host, next_byte());
        return;
    }
    put16(host, next_byte() > 250 ? 0x0302 : 0x0101);
    put8(host, 1);
    put32(host, 1 + next_byte() % 2);
    put32(host, 0);
    put32(host, 0);
    put16(host, next_byte() & 1 ? 96 : 32);
    put16(host, 100 + next_byte());
    put32(host, 115200);
    put32(host, 0);
    put8(host, 5);
    put_bytes(host, offers, sizeof offers);
}

/* Frames as hosts send them, more or less: random ones get nowhere. */
static void build_frame(const lw_device *device, lw_device *host)
{
    unsigned what = next_byte(), number = 1 + next_byte() % (LW_LANES - 1);
    const struct lw_lane *lane = &device->lane[number];
    switch (what % 7) {
    case 6:
        begin_frame(host, KIND_POLL << 5, 0);
        put8(host, next_byte() % 8 == 0);
        put32(host, next_byte() * 128u);
        break;
    case 0:
        begin_frame(host, KIND_CTRL << 5, device->lane[0].next);
        put8(host, 1 + next_byte() % 8);
        if (next_byte() & 1) put8(host, next_byte() % 3), put16(host, 0x8000 + next_byte());
        put_input(host, next_byte() % 20);
        break;
    case 1:
        begin_frame(host, KIND_TIME << 5, 0);
        put_input(host, next_byte() % 4 * 4);
        break;
    case 2:
    case 3:
        lane = &device->lane[next_byte() % LW_LANES];
        begin_frame(host, KIND_ACK << 5, 0);
        put16(host, 1 | (unsigned)lane->number << 8);
        put16(host, lane->oldest + next_byte() % 3u);
        put16(host, next_byte() & 3);
        break;
    case 4:
        begin_frame(host, number | (what & HEAD_TS),
                    (uint16_t)(lane->next + next_byte() % 4) | (uint32_t)(next_byte() & 1 ? 0x4000 : 0x8000) << 16);
        put_input(host, next_byte() % 40);
        break;
    default:
        host->transmit_end = LW_GAP_BYTES;
        put_input(host, next_byte() % (LW_FRAME_BYTES - 4));
    }
}

static void hear(lw_device *device, bool is_link)
{
    static lw_device host;
    lw_init(&host, &config, 1);
    if (is_link)
        build_link(device, &host);
    else
        build_frame(device, &host);
    if (LW_HALF_DUPLEX) host.transmit[LW_GAP_BYTES] &= 0x7F;
    end_frame(&host, is_link ? 0 : device->preset, 1);
    lw_receive(device, device->now, host.transmit, host.transmit_end);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    static lw_device device;
    uint32_t now = 0xFFF00000;
    input = bytes;
    input_left = count;
    lw_init(&device, &config, 7);
    lw_connect(&device, now);
    for (unsigned i = 0; i < 5; i++) lw_subscribe(&device, names[i], &subscription);
    while (input_left) {
        unsigned what = next_byte();
        switch (what % 8) {
        case 0: {
            unsigned raw = next_byte();
            if (raw > input_left) raw = (unsigned)input_left;
            lw_receive(&device, now, input, raw);
            input += raw;
            input_left -= raw;
            break;
        }
        case 1:
            hear(&device, true);
            break;
        case 2:
        case 3:
            hear(&device, false);
            break;
        case 4:
            now += next_byte() * 4096u;
            break;
        case 5:
            act(&device);
            break;
        default:
            must(lw_poll(&device, now) <= 100000, "it comes back");
            now += 1000;
        }
        check(&device);
    }
    return 0;
}

#ifdef FUZZ_SEED
int main(void)
{
    static uint8_t bytes[2048];
    uint64_t state = UINT64_C(0x9E3779B97F4A7C15) * (FUZZ_SEED | 1);
    unsigned long opened = 0;
    for (unsigned i = 0; i < FUZZ_INPUTS; i++) {
        size_t count = 0;
        do {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            bytes[count++] = (uint8_t)(state * UINT64_C(0x2545F4914F6CDD1D) >> 56);
        } while (count < sizeof bytes && state >> 40 & 0x3FF);
        opened += LLVMFuzzerTestOneInput(bytes, count) == 0;
    }
    printf("%lu inputs of seed %d\n", opened, FUZZ_SEED);
    return 0;
}
#endif
