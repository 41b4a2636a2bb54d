/* The golden vectors of docs/SERIAL.md, read from standard input as lines `NAME PRESET FRAME WIRE` in hexadecimal:
 * every one is encoded and decoded, and a device in the session they belong to says and understands those that it can.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../laneway.c"

struct vector {
    char name[40];
    uint32_t preset;
    uint8_t frame[256], wire[256];
    unsigned frame_bytes, wire_bytes;
};

static struct vector vectors[64];
static unsigned vectors_count, failed, checks;

static uint8_t written[4096];
static size_t written_bytes;
static lw_event last_event;
static char last_text[64];
static unsigned events[8], messages;

static void expect(bool good, const char *what)
{
    checks++;
    if (good) return;
    failed++;
    printf("FAILED: %s\n", what);
    for (size_t i = 0; i < written_bytes; i++) printf("%02x ", written[i]);
    printf("were written\n");
}

static const struct vector *named(const char *name)
{
    for (unsigned i = 0; i < vectors_count; i++)
        if (!strcmp(vectors[i].name, name)) return &vectors[i];
    printf("no vector %s\n", name);
    exit(1);
}

static size_t on_write(void *user, const uint8_t *bytes, size_t count)
{
    (void)user;
    if (written_bytes + count > sizeof written) exit(1);
    memcpy(written + written_bytes, bytes, count);
    written_bytes += count;
    return count;
}

static void on_event(lw_device *device, const lw_event *event)
{
    (void)device;
    last_event = *event;
    events[event->kind]++;
    snprintf(last_text, sizeof last_text, "%.*s", event->text ? (int)event->count : 0, event->text ? event->text : "");
}

static void on_message(lw_device *device, const lw_message *message)
{
    (void)device;
    messages += message->count == 4 && !memcmp(message->bytes, "21.5", 4);
}

static const lw_config config = {
    .write = on_write, .on_event = on_event, .name = "probe", .node_id = {1, 2, 3, 4, 5, 6, 7, 8}, .dead_ms = 1500};
static const lw_subscription wanted = {on_message, LW_RETAINED | LW_NO_ECHO, 4, 4, 50, 300};
static const lw_subscription plain = {on_message, 0, 0, 0, 0, 0};

/* Whether exactly this was written since the last question, behind so many zeros. */
static bool wrote(const uint8_t *wire, unsigned count, unsigned zeros)
{
    bool same = written_bytes == zeros + count && !memcmp(written + zeros, wire, count);
    for (unsigned i = 0; i < zeros && same; i++) same = !written[i];
    if (same) written_bytes = 0;
    return same;
}

static bool wrote_vector(const char *name, unsigned zeros)
{
    return wrote(named(name)->wire, named(name)->wire_bytes, zeros);
}

static void hear(lw_device *device, uint32_t now, const char *name)
{
    lw_receive(device, now, named(name)->wire, named(name)->wire_bytes);
}

/* The host says: everything that the device has under way on lane 0 and 1 has arrived. */
static void acknowledge_all(lw_device *device, uint32_t now)
{
    lw_device host = *device;
    begin_frame(&host, KIND_ACK << 5, 0);
    put8(&host, 2);
    for (unsigned i = 0; i < 2; i++) {
        put8(&host, i);
        put16(&host, (unsigned)device->lane[i].oldest + device->lane[i].sent);
        put16(&host, 0);
    }
    end_frame(&host, device->preset, 0);
    lw_receive(device, now, host.transmit, host.transmit_end);
}

static void check_codec(void)
{
    for (unsigned i = 0; i < vectors_count; i++) {
        const struct vector *vector = &vectors[i];
        lw_device device;
        lw_init(&device, &config, 1);
        device.transmit_end = LW_GAP_BYTES;
        put_bytes(&device, vector->frame, vector->frame_bytes - CRC_BYTES);
        end_frame(&device, vector->preset, 0);
        expect(device.transmit_end == vector->wire_bytes && !memcmp(device.transmit, vector->wire, vector->wire_bytes),
               vector->name);
        /* All but the last zero: the frame stays in the buffer. */
        lw_receive(&device, 0, vector->wire, vector->wire_bytes - 1);
        expect(device.received == vector->frame_bytes && !memcmp(device.receive, vector->frame, vector->frame_bytes),
               vector->name);
        expect(!device.run_left && !device.run_bad, vector->name);
    }
}

/* A device whose session is that of the vectors, and which has said its HELLO and WELCOME. */
static void open_session(lw_device *device)
{
    static const uint8_t nonce[4] = {0xd4, 0xc3, 0xb2, 0xa1};
    lw_init(device, &config, 1);
    memcpy(device->nonces + 4, nonce, 4);
    lw_connect(device, 0);
    hear(device, 0, "hello-host");
    lw_poll(device, 0);
}

/* hello-device describes two lanes and a table of topics; this library's HELLO has its own lanes and none. */
static void check_handshake(void)
{
    static const uint8_t lanes_and_name[] = {
        5,    0x30, LW_WINDOW, 0, 0, 0, 0,    0x31, LW_WINDOW, 0, 0, 0, 0, 0x22, LW_WINDOW, 0,   0,   0,  0,
        0x13, 1,    0,         0, 0, 0, 0x04, 1,    0,         0, 0, 0, 5, 'p',  'r',       'o', 'b', 'e'};
    lw_device device;
    uint8_t frame[256];
    unsigned zeros = 2, bytes = HEADER_BYTES + 28;
    struct vector hello = *named("hello-device");
    memcpy(frame, hello.frame, bytes);
    frame[HEADER_BYTES + 16] = LW_MTU & 0xFF;
    frame[HEADER_BYTES + 17] = LW_MTU >> 8;
    memset(frame + HEADER_BYTES + 20, 0, 8); /* no rate: like USB; no table */
    memcpy(frame + bytes, lanes_and_name, sizeof lanes_and_name);
    bytes += (unsigned)sizeof lanes_and_name;
    open_session(&device);
    expect(!memcmp(device.nonces, "\x44\x33\x22\x11\xd4\xc3\xb2\xa1", 8) && device.preset == 0x0B67EF2D, "the preset");
    {
        lw_device other = device;
        other.transmit_end = LW_GAP_BYTES;
        put_bytes(&other, frame, bytes);
        end_frame(&other, 0, zeros);
        expect(written_bytes >= other.transmit_end && !memcmp(written, other.transmit, other.transmit_end), "HELLO");
        written_bytes -= other.transmit_end;
        memmove(written, written + other.transmit_end, written_bytes);
    }
    expect(wrote_vector("welcome-device", 2), "WELCOME");
    expect(!lw_is_open(&device), "half open");
    hear(&device, 0, "welcome-host");
    expect(lw_is_open(&device) && events[LW_OPENED] == 1, "open");
    hear(&device, 0, "hello-host");
    lw_poll(&device, 0);
    expect(lw_is_open(&device) && wrote_vector("welcome-device", 2), "a HELLO of the session is answered with WELCOME");
    hear(&device, 0, "reset");
    expect(!lw_is_open(&device) && last_event.kind == LW_CLOSED && last_event.code == LW_MALFORMED, "RESET");
    lw_poll(&device, 4999000);
    expect(!written_bytes, "a device that was refused is silent for five seconds");
    lw_poll(&device, 5000000);
    expect(written_bytes > 0, "and no longer");
    written_bytes = 0;
}

static void check_control(void)
{
    lw_device device;
    uint16_t id;
    open_session(&device);
    hear(&device, 0, "welcome-host");
    written_bytes = 0;
    id = lw_topic(&device, "a/b", 0);
    lw_topic(&device, "level", LW_RETAIN);
    lw_poll(&device, 0);
    expect(id == 0x4000 && wrote_vector("topic", 0), "TOPIC");
    lw_poll(&device, 90000);
    expect(!written_bytes, "one at a time, and not again yet");
    lw_poll(&device, 101000);
    expect(wrote_vector("topic", 1), "again after 100 ms, behind a zero as the line was idle");
    acknowledge_all(&device, 102000);
    lw_poll(&device, 102000);
    expect(wrote_vector("topic-retained", 0), "TOPIC that keeps its value");
    acknowledge_all(&device, 103000);

    /* Subscriptions of the vectors have other requests than a device with three topics would give them. */
    for (unsigned i = 6; i < 9; i++) {
        static const char *const names[] = {"a/#", "unused", "a/#"};
        device.name[i] = names[i - 6];
        device.topic_bits[i] = FILTER;
        device.subscription[i] = &plain;
    }
    device.control_tag = TAG_SUB;
    device.control_index = 6;
    begin_frame(&device, KIND_CTRL << 5, 3);
    put_control(&device);
    end_frame(&device, device.preset, 0);
    flush(&device);
    expect(wrote_vector("subscribe-filter", 0), "SUB to a filter");
    device.control_tag = TAG_UNSUB;
    device.control_index = 8;
    begin_frame(&device, KIND_CTRL << 5, 5);
    put_control(&device);
    end_frame(&device, device.preset, 0);
    flush(&device);
    expect(wrote_vector("unsubscribe", 0), "UNSUB");
    {
        struct vector vector = *named("subscribe-topic");
        lw_device other = device;
        vector.frame[HEADER_BYTES + 1] = 1; /* the request: here topic 0x4000 has the first */
        other.transmit_end = LW_GAP_BYTES;
        put_bytes(&other, vector.frame, vector.frame_bytes - CRC_BYTES);
        end_frame(&other, device.preset, 0);
        device.subscription[0] = &wanted;
        device.control_tag = TAG_SUB;
        device.control_index = 0;
        begin_frame(&device, KIND_CTRL << 5, 4);
        put_control(&device);
        end_frame(&device, device.preset, 0);
        flush(&device);
        expect(wrote(other.transmit, other.transmit_end, 0), "SUB to a topic");
    }
}

/* The host's control messages have numbers of their own sequence; each is made the next one. */
static void check_heard_control(void)
{
    lw_device device;
    open_session(&device);
    hear(&device, 0, "welcome-host");
    device.lane[0].next = 8;
    hear(&device, 0, "result-done");
    expect(last_event.kind == LW_RESULT && last_event.code == 0 && last_event.topic == 0x4006, "RESULT 0");
    hear(&device, 0, "result-refused");
    expect(last_event.kind == LW_RESULT && last_event.code == 7 && !strcmp(last_text, "no"), "RESULT 7");
    expect(device.lane[0].next == 10, "both were numbered");
    device.lane[0].next = 7;
    hear(&device, 0, "confirm");
    expect(device.lane[0].next == 8 && lw_is_open(&device), "CONFIRM is taken");
    device.lane[0].next = 6;
    hear(&device, 0, "credit");
    expect(device.lane[1].credit == 24 && device.lane[0].next == 7, "CREDIT");
    hear(&device, 0, "lost");
    expect(device.counters.dropped == 1, "a lane that is not there");
    hear(&device, 0, "request");
    hear(&device, 0, "time-ask");
    expect(lw_is_open(&device), "nothing of it is against the rules");
    hear(&device, 0, "topic");
    device.lane[0].next = 1;
    hear(&device, 0, "topic");
    expect(!lw_is_open(&device) && last_event.code == LW_MALFORMED, "a host binds no id of the device");
}

static void check_messages(void)
{
    lw_device device;
    uint16_t topic, other;
    uint32_t time = 1000000;
    open_session(&device);
    hear(&device, 0, "welcome-host");
    topic = lw_topic(&device, "a/b", 0);
    other = lw_topic(&device, "level", 0);
    lw_poll(&device, 0);
    acknowledge_all(&device, 0);
    lw_poll(&device, 0);
    acknowledge_all(&device, 0);
    written_bytes = 0;
    expect(lw_publish(&device, topic, LW_COMMAND, "21.5", 4) == LW_OK, "publish");
    lw_poll(&device, 0);
    expect(wrote_vector("publish", 0), "PUB");
    acknowledge_all(&device, 0);
    expect(last_event.kind == LW_ACKED && last_event.topic == topic, "its acknowledgement");
    device.lane[LW_STREAM].oldest = 65535;
    device.lane[LW_STREAM].bits |= EXISTS; /* the host of the vectors has no such lane */
    lw_publish(&device, other, LW_STREAM, "", 0);
    lw_poll(&device, 0);
    expect(wrote_vector("publish-empty", 0), "PUB of nothing");
    device.lane[LW_STATE].oldest = 7;
    lw_publish_at(&device, topic, LW_STATE, "\0", 2, &time);
    lw_poll(&device, 0);
    expect(wrote_vector("publish-ts", 0), "PUB with its time");

    lw_subscribe(&device, "a/b", &plain);
    lw_poll(&device, 0);
    acknowledge_all(&device, 0);
    written_bytes = 0;
    hear(&device, 0, "publish");
    expect(messages == 1, "a message arrives");
    lw_poll(&device, 0);
    expect(wrote_vector("ack", 0), "ACK");
    hear(&device, 0, "publish");
    lw_poll(&device, 0);
    expect(messages == 1 && wrote_vector("ack", 0), "a repeated one is acknowledged and not delivered");
    hear(&device, 0, "publish-other-preset");
    expect(device.counters.bad == 1 && lw_is_open(&device), "a frame of another session is a bad one");

    hear(&device, 0x80000000, "time-ask");
    device.heard = device.said = 0x80000000;
    lw_poll(&device, 0x800000c8);
    expect(wrote_vector("time-answer", 0), "TIME");
    lw_poll(&device, 0x800000c8 + 499500);
    expect(wrote_vector("heartbeat", 1), "a sign of life");
}

/* The first bytes of the frames written since the last question, in hexadecimal: kind and lane of each. */
static const char *heads_written(void)
{
    static char heads[64];
    unsigned at = 0;
    bool begins = true;
    for (size_t i = 0; i + 1 < written_bytes && at < 60; i++) {
        if (begins && written[i]) at += (unsigned)snprintf(heads + at, 4, "%02x ", written[i + 1]);
        begins = !written[i];
    }
    heads[at] = 0;
    written_bytes = 0;
    return heads;
}

/* A device with a bound topic, on a line of this rate, whose lanes all exist. */
static uint16_t open_with_topic(lw_device *device, const lw_config *with)
{
    lw_init(device, with, 1);
    memcpy(device->nonces + 4, "\xd4\xc3\xb2\xa1", 4);
    lw_connect(device, 0);
    hear(device, 0, "hello-host");
    hear(device, 0, "welcome-host");
    device->due = 0;
    lw_topic(device, "a/b", 0);
    lw_topic(device, "level", 0);
    device->topic_bits[0] = device->topic_bits[1] = BOUND;
    for (unsigned i = 1; i < LW_LANES; i++) device->lane[i].bits |= EXISTS, device->lane[i].window = 2;
    written_bytes = 0;
    return 0x4000;
}

static void hear_ack(lw_device *device, uint32_t now, unsigned lane, unsigned next, unsigned map)
{
    lw_device host = *device;
    begin_frame(&host, KIND_ACK << 5, 0);
    put16(&host, 1 | lane << 8);
    put16(&host, next);
    put16(&host, map);
    end_frame(&host, device->preset, 0);
    lw_receive(device, now, host.transmit, host.transmit_end);
}

static void check_repetition(void)
{
    for (unsigned selective = 0; selective < 2; selective++) {
        lw_device device;
        uint16_t topic = open_with_topic(&device, &config);
        device.lane[1].bits = (uint8_t)(EXISTS | (selective ? SELECTIVE : 0));
        lw_publish(&device, topic, LW_COMMAND, "1", 1);
        lw_publish(&device, topic, LW_COMMAND, "2", 1);
        lw_poll(&device, 0);
        expect(!strcmp(heads_written(), "01 01 "), "two are under way");
        hear_ack(&device, 1000, 1, 1, selective);
        lw_poll(&device, 1000);
        expect(!strcmp(heads_written(), selective ? "01 " : "01 01 "), "what is proved lost goes again");
        hear_ack(&device, 2000, 1, 1, selective);
        lw_poll(&device, 2000);
        expect(!written_bytes, "once");
        lw_poll(&device, 100900);
        expect(!written_bytes, "not yet");
        lw_poll(&device, 101000);
        expect(!strcmp(heads_written(), selective ? "01 " : "01 01 "), "and when the timer runs out");
        lw_poll(&device, 300000);
        expect(!written_bytes, "which then waits twice as long");
        lw_poll(&device, 303000);
        expect(written_bytes > 0, "and not longer");
        hear_ack(&device, 304000, 1, 3, 0);
        lw_poll(&device, 304000);
        written_bytes = 0;
        lw_poll(&device, 400000);
        expect(!device.lane[1].sent && !device.lane[1].count && !written_bytes, "both have arrived");
        lw_publish(&device, topic, LW_COMMAND, "3", 1);
        lw_publish(&device, topic, LW_COMMAND, "4", 1);
        lw_poll(&device, 400000);
        hear_ack(&device, 490000, 1, 4, 0);
        written_bytes = 0;
        lw_poll(&device, 589000);
        expect(device.lane[1].sent == 1 && !device.counters.bad && device.counters.repeated == (selective ? 3 : 6) &&
                   strcmp(heads_written(), "01 "),
               "an ACK that moves something gives the next one time");
    }
}

static void check_credit(void)
{
    lw_device device;
    uint16_t topic = open_with_topic(&device, &config);
    device.lane[1].bits |= HAS_CREDIT;
    device.lane[1].credit = 1;
    lw_publish(&device, topic, LW_COMMAND, "1", 1);
    lw_publish(&device, topic, LW_COMMAND, "2", 1);
    lw_poll(&device, 0);
    expect(!strcmp(heads_written(), "01 "), "the host takes one");
    device.lane[0].next = 6;
    hear(&device, 0, "credit");
    lw_poll(&device, 0);
    expect(!strcmp(heads_written(), "80 01 "), "and after its CREDIT the other");
    device.lane[1].bits |= LIMITED;
    device.lane[1].granted = 0;
    hear(&device, 0, "publish");
    lw_poll(&device, 0);
    expect(device.counters.dropped == 1 && !written_bytes, "what was not granted is dropped without ACK");
}

static void check_order(void)
{
    static const lw_config slow = {.write = on_write, .name = "", .baud = 115200, .dead_ms = 60000};
    static const uint8_t large[90];
    lw_device device;
    uint16_t topic = open_with_topic(&device, &slow);
    for (unsigned i = 0; i < 2; i++) lw_publish(&device, topic, LW_STREAM, large, sizeof large);
    lw_poll(&device, 0);
    expect(!strcmp(heads_written(), "04 "), "one frame fills the line for 9 ms");
    lw_publish(&device, topic, LW_COMMAND, large, 1);
    lw_poll(&device, 5000);
    expect(!written_bytes, "nothing is handed over that could not be overtaken");
    lw_poll(&device, 9000);
    expect(!strcmp(heads_written(), "01 04 "), "then the command, and the stream behind it");

    topic = open_with_topic(&device, &slow);
    device.lane[LW_EVENT].spent = 1000;
    lw_publish(&device, topic, LW_EVENT, large, sizeof large);
    lw_publish(&device, topic, LW_EVENT, large, sizeof large);
    lw_poll(&device, 0);
    lw_publish(&device, topic, LW_STATE, large, sizeof large);
    lw_publish(&device, topic + 1, LW_STATE, large, sizeof large);
    for (uint32_t now = 9000; now <= 36000; now += 9000) lw_poll(&device, now);
    expect(!strcmp(heads_written(), "02 03 02 03 "), "lanes of a class take turns, and an idle one saves nothing up");
}

static void check_silence(void)
{
    lw_device device;
    open_session(&device);
    hear(&device, 0, "welcome-host");
    device.lane[LW_STATE].bits |= SEEN;
    device.lane[LW_STATE].next = 9;
    hear(&device, 0, "publish-ts");
    expect(device.lane[LW_STATE].next == 9 && device.counters.dropped == 1, "number 7 is older than 9");
    device.lane[LW_STATE].since = 0;
    lw_poll(&device, 999000);
    hear(&device, 999000, "publish-ts");
    expect(device.lane[LW_STATE].next == 9, "and still is");
    lw_poll(&device, 1000000);
    hear(&device, 1000000, "publish-ts");
    expect(device.lane[LW_STATE].next == 7, "but not after a second");

    for (unsigned i = 0; i < 9; i++) hear(&device, 1000000, "publish-other-preset");
    lw_poll(&device, 1600000);
    expect(lw_is_open(&device), "nine bad frames are not enough");
    hear(&device, 1600000, "publish-other-preset");
    lw_poll(&device, 1600000);
    expect(!lw_is_open(&device) && last_event.code == LW_TIMEOUT, "ten, and none good for half a second");
    expect(memcmp(device.nonces + 4, "\xd4\xc3\xb2\xa1", 4), "another nonce");
    written_bytes = 0;

    open_session(&device);
    hear(&device, 0, "welcome-host");
    for (unsigned i = 0; i < 20; i++) hear(&device, 0, "publish-other-preset");
    lw_poll(&device, 400000);
    expect(lw_is_open(&device), "twenty, but not for half a second");
    hear(&device, 400000, "heartbeat");
    lw_poll(&device, 1000000);
    expect(lw_is_open(&device), "a good one forgives them");
    lw_poll(&device, 1899000);
    expect(lw_is_open(&device), "and is a sign of life");
    hear(&device, 1899000, "hello-host");
    lw_poll(&device, 1900000);
    expect(!lw_is_open(&device), "a HELLO is none");
    written_bytes = 0;
}

/* The vectors of half-duplex lines: device 5, whose session is open but for the WELCOME of the host. */
static void check_addressed(void)
{
#if LW_HALF_DUPLEX
    static const uint8_t nonces[8] = {0x44, 0x33, 0x22, 0x11, 0xd4, 0xc3, 0xb2, 0xa1};
    static const lw_config at_five = {.write = on_write, .name = "", .baud = 115200, .address = 5};
    static const uint8_t large[LW_MTU];
    lw_device device;
    uint16_t topic;
    lw_init(&device, &at_five, 1);
    memcpy(device.nonces, nonces, 8);
    lw_connect(&device, 0);
    device.state = HALF_OPEN;
    device.preset = 0x0B67EF2D;
    device.peer_mtu = LW_MTU;
    topic = lw_topic(&device, "a/b", 0);
    device.topic_bits[0] = BOUND;
    device.lane[1].bits = EXISTS;
    device.lane[1].oldest = 1;
    device.lane[1].window = 2;
    lw_poll(&device, 0);
    expect(!written_bytes, "silence before its turn");
    hear(&device, 0, "publish-addressed");
    expect(device.state == HALF_OPEN && !device.counters.bad && !device.counters.stray,
           "what devices say is not for it");
    hear(&device, 0, "welcome-addressed");
    expect(lw_is_open(&device), "WELCOME to device 5");
    lw_poll(&device, 0);
    expect(written_bytes && !device.turn, "its turn is for LINK frames; it owes none, and says that it is done");
    written_bytes = 0;
    lw_publish(&device, topic, LW_COMMAND, "21.5", 4);
    lw_publish(&device, topic, LW_COMMAND, large, sizeof large);
    lw_poll(&device, 3000);
    expect(!written_bytes, "silence between turns");
    hear(&device, 3000, "poll");
    lw_poll(&device, 3000);
    lw_poll(&device, 4000);
    {
        const struct vector *publish = named("publish-addressed"), *done = named("poll-done");
        uint8_t both[256];
        memcpy(both, publish->wire, publish->wire_bytes);
        memcpy(both + publish->wire_bytes, done->wire, done->wire_bytes);
        expect(wrote(both, publish->wire_bytes + done->wire_bytes, 0),
               "a message, and there is one more that does not fit into 10 ms");
    }
    lw_poll(&device, 5000);
    expect(!written_bytes, "silence again");
    hear(&device, 20000, "poll");
    lw_poll(&device, 26000);
    expect(!written_bytes, "a turn that was not begun in time is over");
#endif
}

static unsigned get_hex(const char *text, uint8_t *bytes)
{
    unsigned count = 0, byte;
    while (count < 256 && sscanf(text + 2 * count, "%2x", &byte) == 1) bytes[count++] = (uint8_t)byte;
    return count;
}

int main(void)
{
    static char line[2048], frame[1024], wire[1024];
    while (fgets(line, sizeof line, stdin) && vectors_count < 64) {
        struct vector *vector = &vectors[vectors_count];
        unsigned long preset;
        if (sscanf(line, "%39s %lx %1023s %1023s", vector->name, &preset, frame, wire) != 4) continue;
        vector->preset = (uint32_t)preset;
        vector->frame_bytes = get_hex(frame, vector->frame);
        vector->wire_bytes = get_hex(wire, vector->wire);
        vectors_count++;
    }
    check_codec();
    if (LW_HALF_DUPLEX) {
        check_addressed();
    } else {
        check_handshake();
        check_control();
        check_heard_control();
        check_messages();
        check_silence();
        check_repetition();
        check_credit();
        check_order();
    }
    printf("%u vectors, %u checks, %u failed\n", vectors_count, checks, failed);
    return failed || vectors_count < 30;
}
