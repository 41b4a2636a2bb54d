/* What a session of Laneway is: what is owed, what is known of the peer, and how it begins and ends. A part of laneway.c,
 * which alone includes it. "Section" means one of docs/SERIAL.md. */
#ifndef LANEWAY_SESSION_H
#define LANEWAY_SESSION_H

#include "laneway.h"

enum { KIND_PUB, KIND_REQ, KIND_RSP, KIND_CTRL, KIND_ACK, KIND_TIME, KIND_POLL, KIND_LINK };
enum { HEAD_FRAG = 0x10, HEAD_TS = 0x08 };
enum { LINK_HELLO = 1, LINK_WELCOME, LINK_RESET };
enum { TAG_TOPIC = 1, TAG_SUB, TAG_UNSUB, TAG_CREDIT, TAG_LOST, TAG_CONFIRM, TAG_RESULT };
enum {
    ADDRESS_BYTES = LW_HALF_DUPLEX,
    HEADER_BYTES = 5,
    CRC_BYTES = 4,
    LINK_BYTES_MAX = 128,
    NAME_BYTES_MAX = 24,
    HELLO_BYTES = 29
};
/* The first id of this side, and of the other. */
enum { TOPIC_DEVICE = LW_HOST ? 0x8000 : 0x4000, TOPIC_HOST = LW_HOST ? 0x4000 : 0x8000 };

#define MILLISECOND UINT32_C(1000)
#define HELLO_US (250 * MILLISECOND)
#define REFUSED_US (5000 * MILLISECOND)
#define IDLE_US (10 * MILLISECOND)
#define STALE_US (1000 * MILLISECOND)
#define RTO_US (100 * MILLISECOND)
#define RTO_US_MAX (1000 * MILLISECOND)
#define LEAD_US (2 * MILLISECOND)
#define BUSY_US 500
#define TURN_US (5 * MILLISECOND)
#define SLEEP_US_MAX RTO_US /* what was just sent may have to go again then */
#define BAD_FRAMES_MAX 10

/* A device that is off says nothing; the other states are those of section 3.1. */
enum { OFF, SEEKING, HALF_OPEN, OPEN };
/* Half-duplex: whose turn it is. In a turn of the second kind only LINK frames were asked for. */
enum { TURN_THEIRS, TURN_LINK, TURN_OURS };
enum { POLL_YOURS, POLL_DONE, POLL_MORE, POLL_WIRE_BYTES = 17 };
/* LINK and TIME frames that are owed. */
enum { DUE_RESET = 1, DUE_HELLO = 2, DUE_WELCOME = 4, DUE_ANSWER = 8 };
/* Of a lane; SELECTIVE where HELLO has it. */
enum { EXISTS = 1, HAS_CREDIT = 2, OWES_ACK = 4, SELECTIVE = 8, SEEN = 16, GRANT_CHANGED = 32, LIMITED = 64 };
/* Of a queued message, besides HEAD_TS. */
enum { AGAIN = 1, ARRIVED = 2, ONCE = 4 };
/* Of a topic; BOUND, DECLARED and UNUSABLE end with the session. */
enum { BOUND = 1, DECLARED = 2, UNUSABLE = 4, FILTER = 8, RETAIN = 16 };

static const struct {
    uint8_t kind, rank, credit;
} lanes[LW_LANES] = LW_LANE_TABLE;

/* Sizes that cannot be: the compiler refuses an array of -1 elements. */
typedef char sizes_are_possible[LW_MTU >= 32 && LW_MTU <= 1024 && LW_WINDOW >= 1 && LW_WINDOW <= 16 && LW_TOPICS >= 1 &&
                                        LW_TOPICS <= 255 && LW_LANES >= 2 && LW_LANES <= 8
                                    ? 1
                                    : -1];

/* Small things. */

static uint16_t get16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

static uint32_t get32(const uint8_t *at) { return get16(at) | (uint32_t)get16(at + 2) << 16; }

/* `a` comes after `b`, both counting around. */
static bool after16(uint16_t a, uint16_t b) { return (uint16_t)(b - a) >= 0x8000; }

static bool is_reliable(const struct lw_lane *lane) { return lane->kind >= LW_RU; }

/* The slot of the message that is `place` behind the oldest. */
static unsigned slot_of(const struct lw_lane *lane, unsigned place) { return (lane->head + place) % LW_WINDOW; }

static struct lw_slot *oldest_slot(struct lw_lane *lane) { return &lane->slot[lane->head]; }

static struct lw_lane *find_lane(lw_device *device, unsigned number)
{
    return number < LW_LANES ? &device->lane[number] : NULL;
}

static void copy(uint8_t *to, const uint8_t *from, size_t count)
{
    while (count--) *to++ = *from++;
}

static void put_u32(uint8_t *to, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++, value >>= 8) *to++ = (uint8_t)value;
}

/* Bytes of a name, 255 at most: with that bound no compiler takes the loop for strlen, which may not be there. */
static unsigned text_bytes(const char *text)
{
    unsigned count = 0;
    while (count < 255 && text[count]) count++;
    return count;
}

static bool same32(const uint8_t *one, const uint8_t *other) { return get32(one) == get32(other); }

static bool expired(lw_device *device, uint32_t since, uint32_t wait)
{
    uint32_t left = since + wait - device->now;
    if ((int32_t)left <= 0) return true;
    if (left < device->sleep) device->sleep = left;
    return false;
}

static uint32_t airtime(const lw_device *device, unsigned bytes) { return bytes * device->byte_us16 >> 4; }

static uint32_t crc32(uint32_t crc, const uint8_t *bytes, unsigned count)
{
    static const uint32_t nibble[16] = {0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4,
                                        0x4DB26158, 0x5005713C, 0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
                                        0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    crc = ~crc;
    while (count--) {
        crc ^= *bytes++;
        crc = nibble[crc & 15] ^ crc >> 4;
        crc = nibble[crc & 15] ^ crc >> 4;
    }
    return ~crc;
}

#define EVENT(kind, lane, code) ((unsigned)(kind) | (unsigned)(lane) << 8 | (unsigned)(code) << 16)

static void tell_more(lw_device *device, unsigned what, unsigned topic, uint32_t count, const uint8_t *text)
{
    lw_event event = {what & 0xFF, (uint8_t)(what >> 8), (uint8_t)(what >> 16), (uint16_t)topic,
                      count,       (const char *)text};
    if (device->config->on_event) device->config->on_event(device, &event);
}

static void tell(lw_device *device, unsigned what, unsigned topic) { tell_more(device, what, topic, 0, NULL); }

/* Queues. */

/* Takes the oldest message off its queue. */
static void forget_oldest(struct lw_lane *lane)
{
    lane->head = (uint8_t)((lane->head + 1u) % LW_WINDOW);
    lane->count--;
}

static void finish_oldest(lw_device *device, struct lw_lane *lane, enum lw_event_kind kind)
{
    unsigned topic = TOPIC_DEVICE + oldest_slot(lane)->topic;
    forget_oldest(lane);
    if (lane->number) tell(device, EVENT(kind, lane->number, 0), topic);
}

/* Sessions. */

static void seek(lw_device *device)
{
    if (device->state == OFF) return;
    device->state = SEEKING;
    device->due = (uint8_t)((device->due & DUE_RESET) | DUE_HELLO);
    device->refused = 0;
}

/* The session is over: what was sent and not acknowledged may have arrived. */
static void session_ended(lw_device *device, unsigned code)
{
    bool was_open = device->state == OPEN;
    device->state = SEEKING;
    for (struct lw_lane *lane = device->lane; lane < device->lane + LW_LANES; lane++) {
        for (; lane->sent; lane->sent--) finish_oldest(device, lane, LW_MAYBE);
        lane->bits = 0;
    }
    if (was_open) tell(device, EVENT(LW_CLOSED, 0, code), 0);
}

/* Says that the session of these nonces, theirs and ours, is over. */
static void owe_reset(lw_device *device, const uint8_t *theirs, unsigned code)
{
    copy(device->reset, theirs, 4);
    copy(device->reset + 4, device->nonces + 4, 4);
    device->reset[8] = (uint8_t)code;
    device->due |= DUE_RESET;
}

static void renew_nonce(lw_device *device, uint32_t entropy)
{
    uint32_t nonce = crc32(get32(device->nonces + 4) ^ entropy, device->config->node_id, 8);
    put_u32(device->nonces + 4, nonce ? nonce : 1);
}

/* This side ends the session. */
static void end_session(lw_device *device, unsigned code)
{
    owe_reset(device, device->nonces, code);
    renew_nonce(device, device->now);
    session_ended(device, code);
    seek(device);
}

static void session_opened(lw_device *device)
{
    device->state = OPEN;
    device->heard = device->now;
    device->bad_in_a_row = 0;
    device->due &= (uint8_t)~DUE_HELLO;
    tell(device, LW_OPENED, 0);
}

/* Everything of lanes and topics begins anew, with what the peer's HELLO, from `at`, says of its lanes. */
static void begin_lanes(lw_device *device, const uint8_t *at, unsigned count)
{
    struct lw_lane *lane = device->lane;
    for (unsigned i = 0; i < LW_LANES; i++, lane++) {
        lane->oldest = lane->next = 1;
        lane->granted = lanes[i].credit;
        lane->bits = lanes[i].credit ? LIMITED : 0;
        lane->backoff = lane->recovering = 0;
    }
    for (; count; count--, at += 6) {
        lane = find_lane(device, at[0] & 7);
        if (!lane || (at[0] >> 4 & 3) != lane->kind) continue;
        lane->bits |= EXISTS | (at[0] & SELECTIVE);
        lane->window = at[1];
        lane->credit = get16(at + 4);
        if (lane->credit) lane->bits |= HAS_CREDIT;
    }
    for (unsigned i = 0; i < device->topics; i++) device->topic_bits[i] &= FILTER | RETAIN;
    device->control_tag = 0;
}

/* Whether a HELLO of `n` bytes keeps the rules. */
static bool hello_is_right(const uint8_t *at, unsigned n)
{
    unsigned seen = 0, left = at[28], bytes = HELLO_BYTES + 6 * left, mtu = get16(at + 16);
    if (n <= bytes || n <= bytes + at[bytes] || at[bytes] > NAME_BYTES_MAX) return false;
    if (!get32(at + 4) || get16(at + 18) < 100 || mtu < 32 || mtu > 1024) return false;
    for (at += HELLO_BYTES; left; left--, at += 6) {
        unsigned bit = 1u << (at[0] & 7);
        if (seen & bit || at[1] < 1 || at[1] > 16 || (bit == 1 && (at[0] & 0x30) != LW_RO << 4)) return false;
        seen |= bit;
    }
    return seen & 1;
}

static bool on_hello(lw_device *device, const uint8_t *at, unsigned n)
{
    unsigned mtu;
    if ((at[3] & 1) == LW_HOST || at[1] > at[2]) return false; /* an echo, or nonsense */
    if (at[1] > 1 || at[2] < 1) {
        owe_reset(device, at + 4, LW_VERSION);
        return true;
    }
    if (!hello_is_right(at, n)) return false;
    device->due |= DUE_WELCOME;
    if (device->state != SEEKING && same32(at + 4, device->nonces)) return true;
    session_ended(device, LW_RESTARTED);
    if (device->state == OFF) return true;
    device->state = HALF_OPEN;
    device->refused = 0;
    device->due |= DUE_HELLO;
    mtu = get16(at + 16);
    device->peer_mtu = (uint16_t)(mtu < device->mtu ? mtu : device->mtu);
    device->peer_dead_ms = get16(at + 18);
    copy(device->nonces, at + 4, 4);
#if LW_HOST
    device->preset = crc32(crc32(0, device->nonces + 4, 4), device->nonces, 4);
#else
    device->preset = crc32(0, device->nonces, 8);
#endif
    begin_lanes(device, at + HELLO_BYTES, at[28]);
    return true;
}

static void on_reset(lw_device *device, unsigned code)
{
    bool may_retry =
        code < 32 && (UINT32_C(1) << code & 0x2913); /* normal, shutdown, timeout, limit, slow_consumer, internal */
    session_ended(device, code);
    seek(device);
    if (may_retry || device->state == OFF) return;
    device->refused = 1;
    device->due &= (uint8_t)~DUE_HELLO;
    device->hello_at = device->now;
}

#if LW_HALF_DUPLEX
static void begin_turn(lw_device *device, unsigned turn)
{
    device->turn = (uint8_t)turn;
    device->turn_began = 0;
    device->turn_at = device->now;
}
#endif

/* Whether a LINK frame of `n` bytes without its CRC says anything. */
static bool on_link(lw_device *device, const uint8_t *frame, unsigned n)
{
    const uint8_t *at = frame + HEADER_BYTES;
    bool known = same32(at + 5, device->nonces);
    if (frame[0] != KIND_LINK << 5 || get32(frame + 1) || n > LINK_BYTES_MAX - CRC_BYTES || n < HEADER_BYTES + 10)
        return false;
#if LW_HALF_DUPLEX
    if (at[0] != LINK_RESET) {
        begin_turn(device, TURN_LINK);
        if (device->state != OPEN) device->due |= DUE_HELLO;
    }
#endif
    if (at[0] == LINK_HELLO) return on_hello(device, at, n - HEADER_BYTES);
    if (!same32(at + 1, device->nonces + 4)) return false;
    if (at[0] == LINK_WELCOME && known && device->state == HALF_OPEN)
        session_opened(device);
    else if (at[0] == LINK_RESET && (known || device->state == SEEKING))
        on_reset(device, at[9]);
    else
        return false;
    return true;
}

#endif
