/* From reset to main(), the vectors, and what compilers call on their own. */
#include "board.h"

extern uint32_t data_from, data_begin, data_end, bss_begin, bss_end, stack_top;
int main(void);
void reset(void);

static void trap(void)
{
    for (;;) {}
}

void reset(void)
{
    const uint32_t *from = &data_from;
    for (uint32_t *to = &data_begin; to < &data_end;) *to++ = *from++;
    for (uint32_t *to = &bss_begin; to < &bss_end;) *to++ = 0;
    main();
    trap();
}

typedef void (*vector)(void);
__attribute__((section(".vectors"), used)) static const vector vectors[16 + 32] = {
    [0] = (vector)&stack_top,  [1] = reset, [2] = trap, [3] = trap, [15] = tick_interrupt,
#ifdef BOARD_LM3S
    [16 + 5] = uart_interrupt,
#else
    [16 + 2] = uart_interrupt,
#endif
};

void *memset(void *to, int value, size_t count)
{
    uint8_t *at = to;
    while (count--) *at++ = (uint8_t)value;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t count)
{
    uint8_t *at = to;
    const uint8_t *source = from;
    while (count--) *at++ = *source++;
    return to;
}
