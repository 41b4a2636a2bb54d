/* Two boards that QEMU has, lm3s6965evb (Cortex-M3, PL011) and microbit (Cortex-M0, nRF51), and the RP2040 of a Pico
 * (Cortex-M0+, PL011), which rp2040js has. */
#include "board.h"

#define RING_BYTES 512u

static volatile uint8_t ring[RING_BYTES];
static volatile uint32_t ring_written, ring_read;

static void received(uint32_t byte)
{
    if (ring_written - ring_read == RING_BYTES) return; /* an overrun: the protocol repairs it */
    ring[ring_written % RING_BYTES] = (uint8_t)byte;
    ring_written++;
}

size_t board_read(uint8_t *to, size_t room)
{
    size_t count = 0;
    for (; count < room && ring_read != ring_written; count++) {
        to[count] = ring[ring_read % RING_BYTES];
        ring_read++;
    }
    return count;
}

#ifdef BOARD_RP2040
#define UART 0x40034000u
#define TIMER 0x40054000u
#define SURVIVES_RESET 0x20041FFCu

void tick_interrupt(void) {}
void uart_interrupt(void) {}

void board_start(void)
{
    REGISTER(UART + 0x24) = 8; /* 125 MHz / (16 * 8.477) is 921,600 baud */
    REGISTER(UART + 0x28) = 31;
    REGISTER(UART + 0x2C) = 0x70; /* 8n1, FIFO */
    REGISTER(UART + 0x30) = 0x301;
}

size_t board_write(const uint8_t *bytes, size_t count)
{
    size_t written = 0;
    while (written < count && !(REGISTER(UART + 0x18) & 0x20)) REGISTER(UART) = bytes[written++];
    return written;
}

uint32_t board_us(void) { return REGISTER(TIMER + 0x28); }

/* It polls: its receiver is emptied where the others read their ring. */
void board_idle(void)
{
    while (!(REGISTER(UART + 0x18) & 0x10) && ring_written - ring_read < RING_BYTES) received(REGISTER(UART));
}

uint32_t board_entropy(void) { return REGISTER(SURVIVES_RESET); }

#else
#define ENABLE_INTERRUPT(number) (REGISTER(0xE000E100) = 1u << (number))

#ifdef BOARD_LM3S
#define UART 0x4000C000u
#define TICKS_PER_MS 12000u /* the core runs at 12 MHz out of reset */

static volatile uint32_t milliseconds;

void tick_interrupt(void) { milliseconds++; }

void board_start(void)
{
    REGISTER(0x400FE108) = 1; /* port A */
    REGISTER(0x400FE104) = 1; /* UART0 */
    REGISTER(UART + 0x24) = 6;
    REGISTER(UART + 0x28) = 33;
    REGISTER(UART + 0x2C) = 0x70;                  /* 8n1, FIFO */
    REGISTER(UART + 0x38) = (1u << 4) | (1u << 6); /* received, and received long ago */
    REGISTER(UART + 0x30) = 0x301;
    ENABLE_INTERRUPT(5);
    REGISTER(0xE000E014) = TICKS_PER_MS - 1;
    REGISTER(0xE000E018) = 0;
    REGISTER(0xE000E010) = 7;
}

void uart_interrupt(void)
{
    REGISTER(UART + 0x44) = (1u << 4) | (1u << 6);
    while (!(REGISTER(UART + 0x18) & 0x10)) received(REGISTER(UART));
}

size_t board_write(const uint8_t *bytes, size_t count)
{
    size_t written = 0;
    while (written < count && !(REGISTER(UART + 0x18) & 0x20)) REGISTER(UART) = bytes[written++];
    return written;
}

uint32_t board_us(void)
{
    uint32_t before, ticks;
    do {
        before = milliseconds;
        ticks = TICKS_PER_MS - 1 - REGISTER(0xE000E018);
    } while (before != milliseconds);
    return before * 1000 + ticks / (TICKS_PER_MS / 1000);
}

void board_idle(void)
{
    __asm volatile("cpsid i" ::: "memory"); /* so that no byte comes between the question and the sleep */
    if (ring_read == ring_written) __asm volatile("wfi" ::: "memory");
    __asm volatile("cpsie i" ::: "memory");
}

uint32_t board_entropy(void) { return REGISTER(0xE000E018); }

#else
#define UART 0x40002000u
#define TIMER 0x40008000u
#define RANDOM 0x4000D000u

void tick_interrupt(void) {}

void board_start(void)
{
    REGISTER(UART + 0x500) = 4;
    REGISTER(UART + 0x524) = 0x01D7E000; /* 115,200 baud */
    REGISTER(UART + 0x50C) = 24;
    REGISTER(UART + 0x514) = 25;
    REGISTER(UART + 0x304) = 1u << 2; /* a byte was received */
    REGISTER(UART + 0x000) = 1;
    REGISTER(UART + 0x008) = 1;
    REGISTER(UART + 0x11C) = 1; /* the transmitter is free */
    REGISTER(TIMER + 0x504) = 0;
    REGISTER(TIMER + 0x508) = 3; /* 32 bits */
    REGISTER(TIMER + 0x510) = 4; /* 1 MHz */
    REGISTER(TIMER + 0x000) = 1;
    REGISTER(RANDOM + 0x000) = 1;
    ENABLE_INTERRUPT(2);
}

void uart_interrupt(void)
{
    while (REGISTER(UART + 0x108)) {
        REGISTER(UART + 0x108) = 0;
        received(REGISTER(UART + 0x518));
    }
}

size_t board_write(const uint8_t *bytes, size_t count)
{
    static uint32_t busy;
    size_t written = 0;
    for (; written < count; written++) {
        if (busy && !REGISTER(UART + 0x11C)) break;
        REGISTER(UART + 0x11C) = 0;
        REGISTER(UART + 0x51C) = bytes[written];
        busy = 1;
    }
    return written;
}

uint32_t board_us(void)
{
    REGISTER(TIMER + 0x040) = 1;
    return REGISTER(TIMER + 0x540);
}

/* Nothing wakes it for its timers: it polls. */
void board_idle(void) {}

uint32_t board_entropy(void)
{
    uint32_t value = 0;
    for (unsigned i = 0; i < 4; i++) {
        for (uint32_t patience = 100000; patience && !REGISTER(RANDOM + 0x100); patience--) {}
        REGISTER(RANDOM + 0x100) = 0;
        value = value << 8 | (REGISTER(RANDOM + 0x508) & 0xFF);
    }
    return value;
}
#endif
#endif
