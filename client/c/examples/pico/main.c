/* Raspberry Pi Pico: publishes the chip's temperature twice a second and switches the LED, over UART0 (GPIO 0 and 1) at
 * 115,200 baud. Receives into a ring from an interrupt, sends what the FIFO takes. */
#include <stdio.h>

#include "hardware/adc.h"
#include "hardware/irq.h"
#include "hardware/uart.h"
#include "pico/rand.h"
#include "pico/stdlib.h"
#include "pico/unique_id.h"

#include "laneway.h"

#define RING 256u /* a power of two: 22 ms of line */

static volatile uint8_t ring[RING];
static volatile uint32_t written, taken;

static void on_uart(void)
{
    while (uart_is_readable(uart0)) {
        uint8_t byte = (uint8_t)uart_getc(uart0);
        if (written - taken < RING) {
            ring[written % RING] = byte;
            written++;
        }
    }
}

static size_t on_write(void *user, const uint8_t *bytes, size_t count)
{
    size_t done = 0;
    (void)user;
    while (done < count && uart_is_writable(uart0)) uart_get_hw(uart0)->dr = bytes[done++];
    return done;
}

static void on_led(lw_device *device, const lw_message *message)
{
    (void)device;
    gpio_put(PICO_DEFAULT_LED_PIN, message->count && message->bytes[0] == '1');
}

int main(void)
{
    static lw_device device;
    static lw_config config = {.write = on_write, .name = "pico", .baud = 115200};
    static const lw_subscription led = {.on_message = on_led, .flags = LW_RETAINED};
    pico_unique_board_id_t id;
    uint32_t next = 0;

    gpio_init(PICO_DEFAULT_LED_PIN);
    gpio_set_dir(PICO_DEFAULT_LED_PIN, GPIO_OUT);
    adc_init();
    adc_set_temp_sensor_enabled(true);
    adc_select_input(4);
    uart_init(uart0, config.baud);
    gpio_set_function(0, GPIO_FUNC_UART);
    gpio_set_function(1, GPIO_FUNC_UART);
    irq_set_exclusive_handler(UART0_IRQ, on_uart);
    irq_set_enabled(UART0_IRQ, true);
    uart_set_irq_enables(uart0, true, false);

    pico_get_unique_board_id(&id);
    for (unsigned i = 0; i < 8; i++) config.node_id[i] = id.id[i];
    lw_init(&device, &config, get_rand_32());
    uint16_t temperature = lw_topic(&device, "pico/temperature", LW_RETAIN);
    lw_subscribe(&device, "pico/led", &led);
    lw_connect(&device, time_us_32());

    for (;;) {
        uint8_t bytes[32];
        size_t count = 0;
        for (; count < sizeof bytes && taken != written; count++) {
            bytes[count] = ring[taken % RING];
            taken++;
        }
        lw_receive(&device, time_us_32(), bytes, count);
        if ((int32_t)(time_us_32() - next) >= 0) {
            char text[16];
            float volts = (float)adc_read() * 3.3f / 4096;
            int length = snprintf(text, sizeof text, "%.1f", (double)(27 - (volts - 0.706f) / 0.001721f));
            lw_publish(&device, temperature, LW_STATE, text, (size_t)length);
            next = time_us_32() + 500000;
        }
        uint32_t sleep = lw_poll(&device, time_us_32());
        if (!count) best_effort_wfe_or_timeout(make_timeout_time_us(sleep < 1000 ? sleep : 1000));
    }
}
