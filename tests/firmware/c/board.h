/* What a board is to the application: a clock, and a serial port whose receiver is a ring filled by interrupts. */
#ifndef BOARD_H
#define BOARD_H
#include <stddef.h>
#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t *)(address))

/** Starts clock, port and interrupts. */
void board_start(void);

/** Microseconds; wraps. */
uint32_t board_us(void);

/** 32 bits that are another number after each start, as far as the emulator has such a thing. */
uint32_t board_entropy(void);

/** Takes received bytes out of the ring, up to `room`. */
size_t board_read(uint8_t *to, size_t room);

/** Gives bytes to the transmitter, as many as it takes at once. */
size_t board_write(const uint8_t *bytes, size_t count);

/** Sleeps until an interrupt, or not at all. */
void board_idle(void);

void uart_interrupt(void);
void tick_interrupt(void);
#endif
