/* Laneway for microcontrollers: one device at the end of a serial line, as docs/SERIAL.md describes it.
 *
 * C99, freestanding: no heap, no globals, no operating system; of libc at most memcpy and memset, which compilers call
 * on their own. Everything happens in the caller's calls: bytes that arrived go into lw_receive(), lw_poll() sends what
 * is due through the caller's write function and says when it wants to be called again. Callbacks run inside these two.
 * The calls of one device must not overlap: an interrupt handler puts its bytes into a ring, the main loop takes them
 * out.
 *
 * Times are microseconds of a clock of 32 bits that wraps. */
#ifndef LANEWAY_H
#define LANEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Sizes, to be set for the whole program (laneway.c and its users) by the compiler's -D. */

/** Payload bytes of a frame, 32 to 1,024. At 115,200 baud 96 occupy the line for 10 ms. */
#ifndef LW_MTU
#define LW_MTU 96
#endif
/** Messages that a lane holds until they are acknowledged, and frames under way towards the device, 1 to 16. */
#ifndef LW_WINDOW
#define LW_WINDOW 2
#endif
/** Topics and filters, 1 to 255. */
#ifndef LW_TOPICS
#define LW_TOPICS 16
#endif
/** 1: half-duplex lines (RS-485). The device has an address in its configuration and sends only when the host says so:
 * call lw_poll() right after each lw_receive(). */
#ifndef LW_HALF_DUPLEX
#define LW_HALF_DUPLEX 0
#endif
/** 1: plays the host, as far as tests of device libraries need one; it subscribes to nothing and answers nothing. */
#ifndef LW_HOST
#define LW_HOST 0
#endif
/** The lanes, from number 0 (control) on: kind, class (smaller ones go first), and messages that the host may send
 * before lw_grant() allows more (0: as many as it likes). */
#ifndef LW_LANE_TABLE
#define LW_LANES 5
/* clang-format off */
#define LW_LANE_TABLE {{LW_RO, 0, 0}, {LW_RO, 1, 0}, {LW_RU, 2, 0}, {LW_US, 2, 0}, {LW_UU, 3, 0}}
/* clang-format on */
#endif

/** What a lane promises: unreliable or reliable, unordered, sequenced or ordered. */
enum lw_kind { LW_UU = 0, LW_US = 1, LW_RU = 2, LW_RO = 3 };

/** Lanes that exist unless both ends are configured otherwise. */
enum { LW_COMMAND = 1, LW_EVENT = 2, LW_STATE = 3, LW_STREAM = 4, LW_BULK = 5 };

/** Flags of lw_topic(): the broker keeps the last value for later subscribers. */
enum { LW_RETAIN = 1 };

/** Flags of a subscription: send the kept value first; send nothing that this device has published. */
enum { LW_RETAINED = 1, LW_NO_ECHO = 2 };

/** What a call did. */
typedef enum {
    LW_OK = 0,
    LW_FULL,      /**< the lane holds as many messages as it can: try again after LW_ACKED */
    LW_TOO_LARGE, /**< more bytes than a frame of this link carries */
    LW_NO_LANE,   /**< there is no such lane, here or at the host */
    LW_NO_TOPIC,  /**< no topic of this device, or one that cannot be declared */
    LW_NOT_OPEN   /**< no session: nothing would wait for it (stream lanes) */
} lw_status;

/** Codes of LW_CLOSED and LW_RESULT; docs/PROTOCOL.md section 8 has them all. */
enum {
    LW_NORMAL = 0,
    LW_SHUTDOWN = 1,
    LW_MALFORMED = 2,
    LW_TIMEOUT = 4,
    LW_VERSION = 5,
    LW_LIMIT = 8,
    LW_RESTARTED = 255
};

typedef struct lw_device lw_device;

/** A message that arrived. Its pointers end with the callback. */
typedef struct {
    const char *name; /**< the topic's name as the device gave it; NULL: the host named it, see LW_NAMED */
    const uint8_t *bytes;
    uint16_t count;
    uint16_t topic;  /**< the link's id of the topic */
    uint16_t missed; /**< unreliable lanes: frames lost on the way since the last one */
    uint8_t lane;
    bool has_time;
    uint32_t time; /**< microseconds of the host's clock, if `has_time` */
} lw_message;

/** A subscription. It stays where it is (in flash, best) for as long as it is in use. */
typedef struct {
    void (*on_message)(lw_device *device, const lw_message *message);
    uint8_t flags;         /**< LW_RETAINED, LW_NO_ECHO */
    uint8_t lane_plus_one; /**< the lane to get it on, plus 1; 0: the publisher's */
    uint8_t policy;        /**< docs/PROTOCOL.md section 4.1; 0: the lane's */
    uint16_t max_rate_hz;  /**< messages of a topic per second at most; 0: all */
    uint32_t ttl_ms;       /**< older ones are dropped; 0: the lane's */
} lw_subscription;

/** What happened. */
enum lw_event_kind {
    LW_OPENED,  /**< a session is open; topics and subscriptions are being declared */
    LW_CLOSED,  /**< it is over (`code`); the device seeks the next one */
    LW_ACKED,   /**< the oldest message of reliable `lane`, of `topic`, has arrived at the host: there is room */
    LW_MAYBE,   /**< the session ended before that: it may have arrived */
    LW_DROPPED, /**< a message that was queued cannot be sent to this host: too large, or its lane or topic was refused
                 */
    LW_LOST,    /**< the host dropped `count` messages of `topic` (0: of several) on `lane` for the reason `code` */
    LW_RESULT,  /**< answer (`code`, 0: done) to the subscription of `topic`; `topic` 0: a name was refused, see `text`
                 */
    LW_NAMED    /**< the host uses `topic` for the name in `text` */
};

/** An event. `text` ends with the callback and has no terminating zero. */
typedef struct {
    enum lw_event_kind kind;
    uint8_t lane;
    uint8_t code;
    uint16_t topic;
    uint32_t count; /**< messages (LW_LOST), bytes of `text` (LW_RESULT, LW_NAMED) */
    const char *text;
} lw_event;

/** What a device is. It stays where it is for as long as the device is used. */
typedef struct {
    /** Takes up to `count` bytes for the line and says how many it took. 0: none now, lw_poll() asks again. */
    size_t (*write)(void *user, const uint8_t *bytes, size_t count);
    void (*on_event)(lw_device *device, const lw_event *event); /**< may be NULL */
    void *user;
    const char *name;   /**< for people, at most 24 bytes */
    uint8_t node_id[8]; /**< the chip's serial number */
    uint32_t baud;      /**< bits per second; 0: there is no such thing (USB) */
    uint16_t dead_ms;   /**< the session is given up after so many milliseconds of silence, at least 100; 0: 1,500 */
    uint8_t address;    /**< with LW_HALF_DUPLEX: 1 to 127 */
} lw_config;

/* The rest of this file's structures is the library's own; it is here so that the caller can reserve their memory. */

struct lw_slot {
    uint16_t bytes;
    uint8_t topic, flags, order;
};

struct lw_lane {
    uint8_t number, kind, rank, head, count, sent, window, backoff, ordinal, recovering, bits;
    uint16_t oldest, credit, next, granted, spent;
    uint32_t since;
    struct lw_slot slot[LW_WINDOW];
};

/** Frames since lw_init(); they only grow, and wrap. */
typedef struct {
    uint32_t good;     /**< of the session, with a right CRC */
    uint32_t bad;      /**< with a wrong encoding or CRC */
    uint32_t stray;    /**< while no session was open, and LINK frames that were ignored */
    uint32_t dropped;  /**< repeated, ahead, stale, without a lane, topic or subscription */
    uint32_t repeated; /**< sent again */
} lw_counters;

#define LW_RECEIVE_BYTES (LW_HALF_DUPLEX + (LW_MTU + 18 > 128 ? LW_MTU + 18 : 128))
#define LW_FRAME_BYTES (LW_HALF_DUPLEX + (LW_MTU + 13 > 63 + 6 * LW_LANES ? LW_MTU + 13 : 63 + 6 * LW_LANES))
#define LW_GAP_BYTES (3 + LW_FRAME_BYTES / 254)

/* Small members first: instructions of 16 bits reach 32 bytes, 64 bytes or 128 bytes far, depending on the size. */
struct lw_device {
    uint8_t state, due, refused, bad_in_a_row;
    uint8_t run_left, run_code, run_bad;
    uint8_t control_tag, control_index, topics;
    uint16_t mtu, peer_mtu, peer_dead_ms, dead_ms, transmit_at, transmit_end, received;
    const lw_config *config;
    uint32_t now, sleep, heard, said, hello_at, free_at, byte_us16;
    uint32_t preset, asked, asked_at;
    uint8_t nonces[8], reset[9];
#if LW_HALF_DUPLEX
    uint32_t turn_at, turn_end;
    uint8_t turn, turn_began;
#endif
    lw_counters counters;
    uint8_t topic_bits[LW_TOPICS];
    const char *name[LW_TOPICS];
    const lw_subscription *subscription[LW_TOPICS];
    struct lw_lane lane[LW_LANES];
    uint8_t transmit[LW_GAP_BYTES + LW_FRAME_BYTES + 1];
    uint8_t receive[LW_RECEIVE_BYTES];
    uint8_t data[LW_LANES - 1][LW_WINDOW][LW_MTU + 4];
};

/** Prepares a device. `entropy` must differ from start to start: a hardware random number, or a counter in memory that
 * survives a reset. Nothing is sent before lw_connect(). */
void lw_init(lw_device *device, const lw_config *config, uint32_t entropy);

/** Begins to seek a host, and seeks a new session whenever one ends, until lw_disconnect(). */
void lw_connect(lw_device *device, uint32_t now);

/** Ends the session with `code` (LW_SHUTDOWN before sleep) and stays silent; lw_poll() sends the farewell. */
void lw_disconnect(lw_device *device, uint8_t code);

/** Whether a session is open. */
bool lw_is_open(const lw_device *device);

/** A topic to publish on. `name` stays where it is. Its id, or 0: there is no room, or the name is empty or a filter.
 * The same name gets the same id. */
uint16_t lw_topic(lw_device *device, const char *name, uint8_t flags);

/** Subscribes to a topic, or a filter with `+` and `#`, in this and every later session. The same name again replaces
 * the subscription. Its id, for lw_unsubscribe(), or 0: there is no room. Messages of topics that no subscription names
 * by themselves go to the first filter, whichever filter matched. */
uint16_t lw_subscribe(lw_device *device, const char *name, const lw_subscription *subscription);

/** Ends a subscription. */
void lw_unsubscribe(lw_device *device, uint16_t id);

/** Queues a message; its bytes are copied. On reliable lanes it waits for the host, through broken sessions, until it
 * is sent; of a state lane the newest message of each topic waits; on a stream lane nothing waits for a session. */
lw_status lw_publish(lw_device *device, uint16_t topic, uint8_t lane, const void *bytes, size_t count);

/** The same, with the time of the message on the device's clock, in microseconds. */
lw_status lw_publish_at(lw_device *device, uint16_t topic, uint8_t lane, const void *bytes, size_t count,
                        const uint32_t *time);

/** Lets the host send `count` more messages on a lane with credit. */
void lw_grant(lw_device *device, uint8_t lane, uint16_t count);

/** Takes bytes that came from the line. */
void lw_receive(lw_device *device, uint32_t now, const uint8_t *bytes, size_t count);

/** Does what is due and returns the microseconds after which it must be called again, if nothing is received or
 * published before; at most 100,000. */
uint32_t lw_poll(lw_device *device, uint32_t now);

#ifdef __cplusplus
}
#endif

#endif
