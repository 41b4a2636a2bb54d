/* Laneway for microcontrollers; laneway.h says how to use it, docs/SERIAL.md what travels. "Section" means one of that
 * text. */
#include "laneway.h"

#include "laneway_session.h"

/* Topics. */

/* The first filter that is subscribed to, or LW_TOPICS. */
static unsigned find_filter(const lw_device *device)
{
    for (unsigned i = 0; i < device->topics; i++)
        if (device->topic_bits[i] & FILTER && device->subscription[i]) return i;
    return LW_TOPICS;
}

/* Whether somebody wants it. */
static bool deliver(lw_device *device, lw_message *message)
{
    unsigned entry = message->topic - (unsigned)TOPIC_DEVICE;
    message->name = NULL;
    if (entry < device->topics) message->name = device->name[entry];
    if (!message->name || !device->subscription[entry]) entry = find_filter(device);
    if (entry == LW_TOPICS) return false;
    device->subscription[entry]->on_message(device, message);
    return true;
}

/* What arrives. */

/* A frame under way has arrived, and `proof` moves to the newest copy known to have. */
static uint8_t acknowledge(struct lw_slot *slot, uint8_t proof)
{
    bool proves = (slot->flags & (ONCE | ARRIVED)) == ONCE && (int8_t)(slot->order - proof) > 0;
    slot->flags = (uint8_t)((slot->flags & ~AGAIN) | ARRIVED);
    return proves ? slot->order : proof;
}

/* Everything under way that has not arrived, and was sent last before `proof`, goes again. */
static void repeat(struct lw_lane *lane, uint8_t proof)
{
    for (unsigned place = 0; place < lane->sent; place++) {
        struct lw_slot *slot = &lane->slot[slot_of(lane, place)];
        if (!(slot->flags & ARRIVED) && (int8_t)(proof - slot->order) > 0) slot->flags |= AGAIN;
    }
}

/* Section 5.3. */
static void on_ack_entry(lw_device *device, struct lw_lane *lane, uint16_t next, uint16_t map)
{
    uint16_t moved = (uint16_t)(next - lane->oldest);
    uint8_t proof = (uint8_t)(lane->ordinal - 0x7F);
    if (moved > lane->sent) return;
    if (moved) {
        lane->backoff = 0;
        lane->since = device->now;
        lane->recovering = moved < lane->recovering ? (uint8_t)(lane->recovering - moved) : 0;
    } else if (!(lane->bits & SELECTIVE) && lane->sent > 1 && !lane->recovering) {
        lane->recovering = lane->sent;
        proof = lane->ordinal;
    }
    for (; moved && device->state == OPEN; moved--) {
        proof = acknowledge(oldest_slot(lane), proof);
        lane->sent--;
        lane->oldest++;
        if (!lane->number) {
            if (device->control_tag == TAG_TOPIC) device->topic_bits[device->control_index] |= BOUND;
            device->control_tag = 0;
        }
        finish_oldest(device, lane, LW_ACKED);
    }
    for (unsigned place = 1; place < lane->sent; place++, map >>= 1)
        if (map & 1) proof = acknowledge(&lane->slot[slot_of(lane, place)], proof);
    repeat(lane, proof);
}

static bool on_ack(lw_device *device, const uint8_t *at, unsigned n)
{
    if (!n || at[0] < 1 || at[0] > 8 || n != 1 + 5u * at[0]) return false;
    for (unsigned left = *at++; left; left--, at += 5) {
        struct lw_lane *lane = find_lane(device, at[0]);
        if (lane && is_reliable(lane)) on_ack_entry(device, lane, get16(at + 1), get16(at + 3));
    }
    return true;
}

static bool on_time(lw_device *device, const uint8_t *at, unsigned n)
{
    if (n == 4) {
        device->asked = get32(at);
        device->asked_at = device->now;
        device->due |= DUE_ANSWER;
    }
    return n == 0 || n == 4 || n == 12;
}

static bool on_credit(lw_device *device, const uint8_t *at, unsigned n)
{
    if (n < 1 || n < 1 + 3u * at[0]) return false;
    for (unsigned left = *at++; left; left--, at += 3) {
        struct lw_lane *lane = find_lane(device, at[0]);
        if (lane && after16(get16(at + 1), lane->credit)) lane->credit = get16(at + 1);
    }
    return true;
}

/* Section 6. */
static bool on_control(lw_device *device, const lw_message *message)
{
    const uint8_t *at = message->bytes;
    unsigned n = message->count;
    if (!n || (at[0] != TAG_LOST && (message->lane || message->topic))) return false;
    switch (at[0]) {
    case TAG_TOPIC:
        if (n < 4 || get16(at + 2) < TOPIC_HOST) return false;
        tell_more(device, LW_NAMED, get16(at + 2), n - 4, at + 4);
        return true;
    case TAG_CREDIT:
        return on_credit(device, at + 1, n - 1);
    case TAG_LOST:
        if (n < 8 || (message->lane && message->lane != at[1])) return false;
        tell_more(device, EVENT(LW_LOST, at[1], at[2]), message->topic, get32(at + 4), NULL);
        return true;
    case TAG_RESULT:
        if (n < 3) return false;
        tell_more(device, EVENT(LW_RESULT, 0, at[2]), at[1] ? TOPIC_DEVICE + at[1] - 1u : 0, n - 3, at + 3);
        return true;
    default:
        return true;
    }
}

/* Whether the lane takes number `seq` now; section 5.2, and section 4 for unreliable lanes. */
static bool takes(lw_device *device, struct lw_lane *lane, uint16_t seq, uint16_t *missed)
{
    if (is_reliable(lane)) {
        if (lane->bits & LIMITED && after16(seq, lane->granted)) return false;
        lane->bits |= OWES_ACK;
        if (seq != lane->next) return false;
        lane->next++;
        return true;
    }
    if (lane->bits & SEEN) {
        if (!after16(seq, lane->next)) return false;
        *missed = (uint16_t)(seq - lane->next - 1);
    }
    lane->bits |= SEEN;
    lane->next = seq;
    lane->since = device->now;
    return true;
}

/* A numbered frame of `n` bytes without its CRC. Requests and responses are taken, and nobody serves them. */
static bool on_numbered(lw_device *device, const uint8_t *frame, unsigned n)
{
    lw_message message;
    unsigned kind = frame[0] >> 5, at = HEADER_BYTES;
    struct lw_lane *lane;
    message.lane = frame[0] & 7;
    message.topic = get16(frame + 3);
    message.missed = 0;
    message.has_time = frame[0] & HEAD_TS;
    if (message.has_time) at += 4;
    if (at > n || n - at > device->mtu || (kind != KIND_CTRL && (!message.topic || !message.lane))) return false;
    lane = find_lane(device, message.lane);
    if (lane && lane->bits & EXISTS) {
        /* No lane of this device describes room for fragments. */
        if (frame[0] & HEAD_FRAG || (kind == KIND_CTRL && !is_reliable(lane))) return false;
        if (takes(device, lane, get16(frame + 1), &message.missed)) {
            if (message.has_time) message.time = get32(frame + HEADER_BYTES);
            message.bytes = frame + at;
            message.count = (uint16_t)(n - at);
            if (kind == KIND_CTRL) return on_control(device, &message);
            if (kind == KIND_PUB && deliver(device, &message)) return true;
        }
    }
    device->counters.dropped++;
    return true;
}

#if LW_HALF_DUPLEX
/* Section 8: with a turn of its own the device knows what did not arrive in its last one. */
static bool on_poll(lw_device *device, const uint8_t *at, unsigned n)
{
    if (n != 5 || at[0] != POLL_YOURS) return false;
    begin_turn(device, TURN_OURS);
    device->turn_end = device->now + get32(at + 1);
    for (struct lw_lane *lane = device->lane; lane < device->lane + LW_LANES; lane++) repeat(lane, lane->ordinal);
    return true;
}
#endif

static bool on_session_frame(lw_device *device, const uint8_t *frame, unsigned n)
{
    unsigned kind = frame[0] >> 5;
    bool bare = !(frame[0] & 0x1F) && !get16(frame + 1) && !get16(frame + 3);
    if (kind < KIND_ACK) return on_numbered(device, frame, n);
    if (!bare) return false;
    if (kind == KIND_ACK) return on_ack(device, frame + HEADER_BYTES, n - HEADER_BYTES);
#if LW_HALF_DUPLEX
    if (kind == KIND_POLL) return on_poll(device, frame + HEADER_BYTES, n - HEADER_BYTES);
#endif
    if (kind == KIND_TIME) return on_time(device, frame + HEADER_BYTES, n - HEADER_BYTES);
    return true;
}

static void on_frame(lw_device *device, unsigned n)
{
    const uint8_t *frame = device->receive + ADDRESS_BYTES;
    bool is_link = frame[0] >= KIND_LINK << 5;
    n -= CRC_BYTES + ADDRESS_BYTES;
#if LW_HALF_DUPLEX
    if (device->receive[0] != device->config->address) return;
#endif
    if (device->run_bad || (int)n < HEADER_BYTES ||
        (crc32(is_link ? 0 : device->preset, device->receive, n + ADDRESS_BYTES) != get32(frame + n) &&
         (is_link || device->state != SEEKING))) {
        device->counters.bad++;
        if (device->bad_in_a_row < BAD_FRAMES_MAX) device->bad_in_a_row++;
    } else if (is_link ? !on_link(device, frame, n) : device->state == SEEKING) {
        device->counters.stray++;
    } else if (!is_link) {
        device->counters.good++;
        if (device->state == HALF_OPEN) session_opened(device);
        device->heard = device->now;
        device->bad_in_a_row = 0;
        if (device->state == OPEN && !on_session_frame(device, frame, n)) end_session(device, LW_MALFORMED);
    }
}

static void append(lw_device *device, uint8_t byte)
{
    if (device->received == LW_RECEIVE_BYTES)
        device->run_bad = 1;
    else
        device->receive[device->received++] = byte;
}

/* COBS, a byte at a time; section 1. */
void lw_receive(lw_device *device, uint32_t now, const uint8_t *bytes, size_t count)
{
    device->now = now;
    for (; count; count--, bytes++) {
        if (!*bytes) {
            unsigned n = device->received;
            bool empty = !device->run_code;
            if (device->run_left) device->run_bad = 1;
            if (!empty && device->state != OFF) on_frame(device, n);
            device->received = 0;
            device->run_left = device->run_code = device->run_bad = 0;
        } else if (device->run_left) {
            device->run_left--;
            append(device, *bytes);
        } else {
            if (device->run_code && device->run_code != 0xFF) append(device, 0);
            device->run_code = *bytes;
            device->run_left = (uint8_t)(*bytes - 1);
        }
    }
}

/* What is sent. A frame is built behind a gap and encoded in place towards the front, which never overtakes its reader.
 */

static void put8(lw_device *device, unsigned byte) { device->transmit[device->transmit_end++] = (uint8_t)byte; }

static void put16(lw_device *device, unsigned value)
{
    put8(device, value);
    put8(device, value >> 8);
}

static void put32(lw_device *device, uint32_t value)
{
    put16(device, value & 0xFFFF);
    put16(device, value >> 16);
}

static void put_bytes(lw_device *device, const uint8_t *bytes, unsigned count)
{
    copy(device->transmit + device->transmit_end, bytes, count);
    device->transmit_end = (uint16_t)(device->transmit_end + count);
}

static void begin_frame(lw_device *device, unsigned first, uint32_t seq_and_topic)
{
    device->transmit_end = LW_GAP_BYTES;
#if LW_HALF_DUPLEX
    put8(device, device->config->address | 0x80u);
#endif
    put8(device, first);
    put32(device, seq_and_topic);
}

/* Appends the CRC and encodes the frame; returns its bytes on the line. */
static unsigned end_frame(lw_device *device, uint32_t preset, unsigned zeros)
{
    uint8_t *to = device->transmit;
    unsigned end, at = 0, code_at, code = 1;
    put32(device, crc32(preset, to + LW_GAP_BYTES, device->transmit_end - LW_GAP_BYTES));
    end = device->transmit_end;
    if (!zeros && device->now - device->said > IDLE_US) zeros = 1;
    while (zeros--) to[at++] = 0;
    code_at = at++;
    for (unsigned from = LW_GAP_BYTES; from < end; from++) {
        uint8_t byte = to[from];
        if (byte) {
            to[at++] = byte;
            code++;
        }
        if (!byte || (code == 0xFF && from + 1 < end)) {
            to[code_at] = (uint8_t)code;
            code_at = at++;
            code = 1;
        }
    }
    to[code_at] = (uint8_t)code;
    to[at++] = 0;
    device->transmit_at = 0;
    device->transmit_end = (uint16_t)at;
    if ((int32_t)(device->free_at - device->now) < 0) device->free_at = device->now;
    device->free_at += airtime(device, at);
    return at;
}

static void send_hello(lw_device *device)
{
    const lw_config *config = device->config;
    unsigned name = text_bytes(config->name);
    if (name > NAME_BYTES_MAX) name = NAME_BYTES_MAX;
    put8(device, LINK_HELLO);
    put16(device, 0x0101);
    put8(device, LW_HOST);
    put_bytes(device, device->nonces + 4, 4);
    put_bytes(device, config->node_id, 8);
    put16(device, device->mtu);
    put16(device, device->dead_ms);
    put32(device, config->baud);
    put32(device, 0);
    put8(device, LW_LANES);
    for (unsigned i = 0; i < LW_LANES; i++) {
        put16(device, lanes[i].kind << 4 | i | (lanes[i].kind >= LW_RU ? LW_WINDOW : 1u) << 8);
        put32(device, (uint32_t)lanes[i].credit << 16);
    }
    put8(device, name);
    put_bytes(device, (const uint8_t *)config->name, name);
    device->hello_at = device->now;
    device->refused = 0;
}

static void send_link(lw_device *device)
{
    begin_frame(device, KIND_LINK << 5, 0);
    if (device->due & DUE_RESET) {
        device->due &= (uint8_t)~DUE_RESET;
        put8(device, LINK_RESET);
        put_bytes(device, device->reset, 9);
    } else if (device->due & DUE_HELLO) {
        device->due &= (uint8_t)~DUE_HELLO;
        send_hello(device);
    } else {
        device->due &= (uint8_t)~DUE_WELCOME;
        put8(device, LINK_WELCOME);
        put_bytes(device, device->nonces, 8);
        put8(device, 0);
    }
    end_frame(device, 0, 2);
}

static bool send_ack(lw_device *device)
{
    unsigned n = 0;
    for (struct lw_lane *lane = device->lane; lane < device->lane + LW_LANES; lane++) {
        if (!(lane->bits & OWES_ACK)) continue;
        lane->bits &= (uint8_t)~OWES_ACK;
        if (!n) {
            begin_frame(device, KIND_ACK << 5, 0);
            put8(device, 0);
        }
        put8(device, lane->number);
        put16(device, lane->next);
        put16(device, 0);
        device->transmit[LW_GAP_BYTES + ADDRESS_BYTES + HEADER_BYTES] = (uint8_t)++n;
    }
    if (n) end_frame(device, device->preset, 0);
    return n;
}

static bool send_time(lw_device *device)
{
    bool answers = device->due & DUE_ANSWER;
    if (LW_HALF_DUPLEX && !answers) return false;
    if (!answers && !expired(device, device->said, device->peer_dead_ms * (MILLISECOND / 3))) return false;
    begin_frame(device, KIND_TIME << 5, 0);
    if (answers) {
        device->due &= (uint8_t)~DUE_ANSWER;
        put32(device, device->asked);
        put32(device, device->asked_at);
        put32(device, device->now);
    }
    end_frame(device, device->preset, 0);
    return true;
}

/* Control messages are not stored: they are written from what they declare, each time they are sent. */

/* The bytes of a name that a frame has room for, or none if it is too long, behind `fixed` bytes of a control message.
 */
static bool name_fits(const lw_device *device, unsigned index)
{
    return text_bytes(device->name[index]) + (device->topic_bits[index] & FILTER ? 14u : 4u) <= device->peer_mtu;
}

/* Chooses the next control message, if the last one has arrived. */
static bool next_control(lw_device *device)
{
    unsigned tag = 0, index;
    if (device->control_tag) return true;
    for (index = 0; index < LW_LANES; index++)
        if (device->lane[index].bits & GRANT_CHANGED) {
            device->lane[index].bits &= (uint8_t)~GRANT_CHANGED;
            tag = TAG_CREDIT;
            break;
        }
    if (!tag) {
        for (index = 0;; index++) {
            unsigned bits;
            bool wanted;
            if (index >= device->topics) return false;
            bits = device->topic_bits[index];
            wanted = device->subscription[index];
            if (bits & UNUSABLE || (LW_HOST && bits & FILTER)) continue;
            tag = TAG_TOPIC;
            if (!(bits & (FILTER | BOUND))) break;
            tag = wanted ? TAG_SUB : TAG_UNSUB;
            if (wanted != !!(bits & DECLARED)) break;
        }
        if (!name_fits(device, index)) {
            device->topic_bits[index] |= UNUSABLE;
            tell(device, EVENT(LW_RESULT, 0, LW_LIMIT), TOPIC_DEVICE + index);
            return false;
        }
        if (tag != TAG_TOPIC) device->topic_bits[index] ^= DECLARED;
    }
    device->control_tag = (uint8_t)tag;
    device->control_index = (uint8_t)index;
    return true;
}

static void put_control(lw_device *device)
{
    unsigned tag = device->control_tag, index = device->control_index, bits;
    put8(device, tag);
    if (tag == TAG_CREDIT) {
        put16(device, 1 | index << 8);
        put16(device, device->lane[index].granted);
        return;
    }
    bits = device->topic_bits[index];
    put8(device, tag != TAG_TOPIC ? index + 1 : (bits & RETAIN) != 0);
    put16(device, bits & FILTER ? 0 : TOPIC_DEVICE + index);
    if (tag == TAG_SUB) {
        static const lw_subscription none;
        const lw_subscription *subscription = device->subscription[index] ? device->subscription[index] : &none;
        put16(device, subscription->flags | (unsigned)subscription->lane_plus_one << 8);
        put16(device, subscription->policy);
        put16(device, subscription->max_rate_hz);
        put32(device, subscription->ttl_ms);
    }
    if (tag == TAG_TOPIC || bits & FILTER)
        put_bytes(device, (const uint8_t *)device->name[index], text_bytes(device->name[index]));
}

/* The slot of the message that the lane may send now, or LW_WINDOW. */
static unsigned sendable(lw_device *device, struct lw_lane *lane)
{
    unsigned place = 0, slot;
    if (!(lane->bits & EXISTS)) return LW_WINDOW;
    for (;; place++) {
        slot = slot_of(lane, place);
        if (place == lane->sent) break;
        if (lane->slot[slot].flags & AGAIN) return slot;
    }
    /* The control lane has one message under way, which shows that a topic is bound before it is used. */
    if (!lane->number) return !place && next_control(device) ? slot : LW_WINDOW;
    if (place == lane->count) return LW_WINDOW;
    if (is_reliable(lane)) {
        bool is_allowed = !(lane->bits & HAS_CREDIT) || !after16((uint16_t)(lane->oldest + place), lane->credit);
        if (place >= lane->window || !is_allowed) return LW_WINDOW;
    }
    return device->topic_bits[lane->slot[slot].topic] & BOUND ? slot : LW_WINDOW;
}

static void send_slot(lw_device *device, struct lw_lane *lane, unsigned index)
{
    struct lw_slot *slot = &lane->slot[index];
    unsigned place = (index + LW_WINDOW - lane->head) % LW_WINDOW;
    uint32_t seq = (uint16_t)(lane->oldest + place);
    if (lane->number) {
        begin_frame(device, lane->number | (slot->flags & HEAD_TS), seq | (uint32_t)(TOPIC_DEVICE + slot->topic) << 16);
        put_bytes(device, device->data[lane->number - 1][index], slot->bytes);
    } else {
        begin_frame(device, KIND_CTRL << 5, seq);
        put_control(device);
    }
    lane->spent = (uint16_t)(lane->spent + end_frame(device, device->preset, 0));
    if (!is_reliable(lane)) {
        forget_oldest(lane);
        lane->oldest++;
        return;
    }
    if (!place) lane->since = device->free_at;
    slot->order = lane->ordinal++;
    slot->flags &= HEAD_TS;
    if (place < lane->sent) {
        device->counters.repeated++;
    } else {
        slot->flags |= ONCE;
        lane->sent++;
    }
}

/* Sends for the lane whose turn it is: of the smallest class, and of its lanes the one that used the least airtime.
 * Lanes that had nothing to send have saved nothing up. */
static bool send_next_lane(lw_device *device)
{
    struct lw_lane *best = NULL;
    unsigned best_slot = 0;
    for (struct lw_lane *lane = device->lane; lane < device->lane + LW_LANES; lane++) {
        unsigned slot = sendable(device, lane);
        if (slot == LW_WINDOW ||
            (best && (lane->rank > best->rank || (lane->rank == best->rank && !after16(best->spent, lane->spent)))))
            continue;
        best = lane;
        best_slot = slot;
    }
    if (!best) return false;
#if LW_HALF_DUPLEX
    /* What is left of the turn must hold the frame and the POLL that ends it. */
    unsigned bytes = best->number ? best->slot[best_slot].bytes : device->peer_mtu;
    uint32_t start = (int32_t)(device->free_at - device->now) > 0 ? device->free_at : device->now;
    bytes += bytes / 254 + 14 + POLL_WIRE_BYTES;
    if ((int32_t)(device->turn_end - start - airtime(device, bytes)) < 0) {
        device->turn = TURN_THEIRS;
        return false;
    }
#endif
    for (struct lw_lane *lane = device->lane; lane < device->lane + LW_LANES; lane++)
        if (lane->rank == best->rank && after16(best->spent, lane->spent)) lane->spent = best->spent;
    send_slot(device, best, best_slot);
    return true;
}

/* Builds the next frame; section 9. */
static bool send_next(lw_device *device)
{
    if (device->due & (DUE_RESET | DUE_HELLO | DUE_WELCOME)) {
        send_link(device);
        return true;
    }
    return device->state == OPEN && (send_ack(device) || send_time(device) || send_next_lane(device));
}

#if LW_HALF_DUPLEX
/* The same in this device's turn; the last frame gives it back. */
static bool send_in_turn(lw_device *device)
{
    bool owes_link = device->due & (DUE_RESET | DUE_HELLO | DUE_WELCOME), ours = device->turn == TURN_OURS, more;
    if (device->turn == TURN_THEIRS) return false;
    if (!device->turn_began && device->now - device->turn_at > TURN_US) {
        device->turn = TURN_THEIRS; /* the host has gone on */
        return false;
    }
    device->turn_began = 1;
    if ((ours || owes_link) && send_next(device)) return true;
    more = ours && device->turn == TURN_THEIRS;
    device->turn = TURN_THEIRS;
    if (device->state != OPEN) return false; /* nobody could read a POLL */
    begin_frame(device, KIND_POLL << 5, 0);
    put8(device, more ? POLL_MORE : POLL_DONE);
    put32(device, 0);
    end_frame(device, device->preset, 0);
    return true;
}
#else
static bool send_in_turn(lw_device *device) { return send_next(device); }
#endif

/* Hands over what was built; whether nothing of it is left. */
static bool flush(lw_device *device)
{
    uint16_t left = (uint16_t)(device->transmit_end - device->transmit_at);
    if (!left) return true;
    size_t taken = device->config->write(device->config->user, device->transmit + device->transmit_at, left);
    device->transmit_at = (uint16_t)(device->transmit_at + (taken < left ? taken : left));
    if (taken) device->said = device->now;
    if (taken < left) {
        expired(device, device->now, BUSY_US);
        return false;
    }
    if ((int32_t)(device->free_at - device->now) < 0) device->free_at = device->now;
    return true;
}

/* Time. */

/* What has waited in a queue and does not fit this session. */
static void drop_unsendable(lw_device *device, struct lw_lane *lane)
{
    while (lane->count && !lane->sent) {
        const struct lw_slot *slot = oldest_slot(lane);
        unsigned payload = slot->bytes - (slot->flags & HEAD_TS) / 2u;
        if (lane->bits & EXISTS && payload <= device->peer_mtu && !(device->topic_bits[slot->topic] & UNUSABLE)) return;
        finish_oldest(device, lane, LW_DROPPED);
    }
}

static uint32_t frame_us(const lw_device *device) { return airtime(device, device->mtu + 17u); }

static void on_lane_time(lw_device *device, struct lw_lane *lane)
{
    if (!is_reliable(lane)) {
        if (lane->bits & SEEN && expired(device, lane->since, STALE_US)) lane->bits &= (uint8_t)~SEEN;
    } else if (!LW_HALF_DUPLEX && lane->sent && !(oldest_slot(lane)->flags & AGAIN)) {
        uint32_t first = RTO_US + 3 * frame_us(device), rto = first << lane->backoff;
        if (rto > RTO_US_MAX && lane->backoff) rto = first > RTO_US_MAX ? first : RTO_US_MAX;
        if (!expired(device, lane->since, rto)) return;
        if (rto < RTO_US_MAX) lane->backoff++;
        lane->recovering = 0;
        if (lane->bits & SELECTIVE)
            oldest_slot(lane)->flags |= AGAIN;
        else
            repeat(lane, lane->ordinal);
    }
    if (lane->number) drop_unsendable(device, lane);
}

static void on_session_time(lw_device *device)
{
    uint32_t dead = device->dead_ms * MILLISECOND;
    if (expired(device, device->heard, dead) || (device->bad_in_a_row == BAD_FRAMES_MAX &&
                                                 expired(device, device->heard, device->dead_ms * (MILLISECOND / 3)))) {
        end_session(device, LW_TIMEOUT);
        return;
    }
    for (unsigned i = 0; i < LW_LANES && device->state == OPEN; i++) on_lane_time(device, &device->lane[i]);
}

uint32_t lw_poll(lw_device *device, uint32_t now)
{
    device->now = now;
    device->sleep = SLEEP_US_MAX;
    if (device->state == OPEN)
        on_session_time(device);
    else if (device->state != OFF && expired(device, device->hello_at, device->refused ? REFUSED_US : HELLO_US))
        device->due |= DUE_HELLO;
    while (flush(device) && (!device->byte_us16 || expired(device, device->free_at - LEAD_US, 0)) &&
           send_in_turn(device)) {}
    return device->sleep;
}

/* What the application calls. */

void lw_init(lw_device *device, const lw_config *config, uint32_t entropy)
{
    uint8_t *bytes = (uint8_t *)device;
    uint32_t dead;
    for (size_t i = 0; i < sizeof *device; i++) bytes[i] = 0;
    for (unsigned i = 0; i < LW_LANES; i++) {
        struct lw_lane *lane = &device->lane[i];
        lane->number = (uint8_t)i;
        lane->kind = lanes[i].kind;
        lane->rank = lanes[i].rank;
    }
    device->config = config;
    device->mtu = LW_MTU;
    if (config->baud) {
        /* What fits into 10 ms; section 4. */
        int fits = (int)(config->baud / 1000) - 17;
        if (fits < 32) fits = 32;
        if (fits < LW_MTU) device->mtu = (uint16_t)(fits & ~7);
        device->byte_us16 = UINT32_C(160000000) / config->baud;
    }
    dead = frame_us(device) / (MILLISECOND / 30);
    if (dead < 1500) dead = 1500;
    device->dead_ms = config->dead_ms ? config->dead_ms : (uint16_t)dead;
    renew_nonce(device, entropy);
}

void lw_connect(lw_device *device, uint32_t now)
{
    if (device->state != OFF) return;
    device->now = device->free_at = device->hello_at = now;
    device->state = SEEKING;
    seek(device);
}

void lw_disconnect(lw_device *device, uint8_t code)
{
    if (device->state >= HALF_OPEN) {
        owe_reset(device, device->nonces, code);
        renew_nonce(device, device->now);
        session_ended(device, code);
    }
    device->state = OFF;
    device->due &= DUE_RESET;
}

bool lw_is_open(const lw_device *device) { return device->state == OPEN; }

/* The entry of this name, or a new one. */
static unsigned find_entry(lw_device *device, const char *name)
{
    unsigned i = 0;
    for (; i < device->topics; i++) {
        const char *known = device->name[i], *wanted = name;
        while (*known && *known == *wanted) known++, wanted++;
        if (*known == *wanted) return i;
    }
    if (i == LW_TOPICS || !*name) return LW_TOPICS;
    device->name[i] = name;
    for (; *name; name++)
        if (*name == '+' || *name == '#') device->topic_bits[i] = FILTER;
    device->topics++;
    return i;
}

uint16_t lw_topic(lw_device *device, const char *name, uint8_t flags)
{
    unsigned entry = find_entry(device, name);
    if (entry == LW_TOPICS || device->topic_bits[entry] & FILTER) return 0;
    if (flags & LW_RETAIN && !(device->topic_bits[entry] & RETAIN))
        device->topic_bits[entry] = RETAIN | (device->topic_bits[entry] & DECLARED);
    return (uint16_t)(TOPIC_DEVICE + entry);
}

uint16_t lw_subscribe(lw_device *device, const char *name, const lw_subscription *subscription)
{
    unsigned entry = find_entry(device, name);
    if (entry == LW_TOPICS) return 0;
    device->subscription[entry] = subscription;
    device->topic_bits[entry] &= (uint8_t)~DECLARED;
    return (uint16_t)(TOPIC_DEVICE + entry);
}

void lw_unsubscribe(lw_device *device, uint16_t id)
{
    unsigned entry = id - (unsigned)TOPIC_DEVICE;
    if (entry < device->topics) device->subscription[entry] = NULL;
}

lw_status lw_publish_at(lw_device *device, uint16_t topic, uint8_t number, const void *bytes, size_t count,
                        const uint32_t *time)
{
    unsigned entry = topic - (unsigned)TOPIC_DEVICE, place;
    struct lw_lane *lane = find_lane(device, number);
    bool is_open = device->state == OPEN;
    struct lw_slot *slot;
    uint8_t *to;
    if (entry >= device->topics || device->topic_bits[entry] & (FILTER | UNUSABLE)) return LW_NO_TOPIC;
    if (!number || !lane || (is_open && !(lane->bits & EXISTS))) return LW_NO_LANE;
    if (count > (is_open ? device->peer_mtu : device->mtu)) return LW_TOO_LARGE;
    if (!is_open && lane->kind == LW_UU) return LW_NOT_OPEN;
    for (place = 0; place < lane->count; place++)
        if (lane->kind == LW_US && lane->slot[slot_of(lane, place)].topic == entry) break;
    if (place == LW_WINDOW) return LW_FULL;
    if (place == lane->count) lane->count++;
    place = slot_of(lane, place);
    slot = &lane->slot[place];
    to = device->data[number - 1][place];
    slot->topic = (uint8_t)entry;
    slot->flags = 0;
    slot->bytes = (uint16_t)count;
    if (time) {
        slot->flags = HEAD_TS;
        slot->bytes = (uint16_t)(count + 4);
        put_u32(to, *time);
        to += 4;
    }
    copy(to, bytes, count);
    return LW_OK;
}

lw_status lw_publish(lw_device *device, uint16_t topic, uint8_t lane, const void *bytes, size_t count)
{
    return lw_publish_at(device, topic, lane, bytes, count, NULL);
}

void lw_grant(lw_device *device, uint8_t number, uint16_t count)
{
    struct lw_lane *lane = find_lane(device, number);
    if (!lane) return;
    lane->granted = (uint16_t)(lane->granted + count);
    lane->bits |= GRANT_CHANGED;
}
