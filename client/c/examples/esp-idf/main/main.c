/* ESP32: a button as events on a reliable lane, and a relay that listens, over UART1 at 921,600 baud. The driver's own
 * interrupt and ring do the receiving; one task owns the device. */
#include "driver/gpio.h"
#include "driver/uart.h"
#include "esp_mac.h"
#include "esp_random.h"
#include "esp_timer.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

#include "laneway.h"

#define PORT UART_NUM_1
#define TX_PIN 17
#define RX_PIN 16
#define BUTTON_PIN GPIO_NUM_0
#define RELAY_PIN GPIO_NUM_2

/* Without a transmit ring the driver takes what its FIFO has room for, so that nothing waits where it cannot be
 * overtaken. */
static size_t on_write(void *user, const uint8_t *bytes, size_t count)
{
    int taken = uart_tx_chars(PORT, (const char *)bytes, count);
    (void)user;
    return taken < 0 ? 0 : (size_t)taken;
}

static void on_relay(lw_device *device, const lw_message *message)
{
    (void)device;
    gpio_set_level(RELAY_PIN, message->count && message->bytes[0] == '1');
}

static uint32_t now_us(void) { return (uint32_t)esp_timer_get_time(); }

static void laneway_task(void *unused)
{
    static lw_device device;
    static lw_config config = {.write = on_write, .name = "esp32", .baud = 921600};
    static const lw_subscription relay = {.on_message = on_relay, .flags = LW_RETAINED};
    int pressed = 0;
    (void)unused;
    esp_efuse_mac_get_default(config.node_id);
    lw_init(&device, &config, esp_random());
    uint16_t button = lw_topic(&device, "esp32/button", 0);
    lw_subscribe(&device, "esp32/relay", &relay);
    lw_connect(&device, now_us());
    for (;;) {
        uint8_t bytes[128];
        /* A tick at most; a byte wakes it earlier. */
        int count = uart_read_bytes(PORT, bytes, 1, 1);
        if (count > 0) {
            size_t more = 0;
            uart_get_buffered_data_len(PORT, &more);
            if (more > sizeof bytes - 1) more = sizeof bytes - 1;
            int rest = more ? uart_read_bytes(PORT, bytes + 1, more, 0) : 0;
            lw_receive(&device, now_us(), bytes, 1 + (size_t)(rest > 0 ? rest : 0));
        }
        int is_pressed = !gpio_get_level(BUTTON_PIN);
        if (is_pressed != pressed && lw_publish(&device, button, LW_EVENT, is_pressed ? "1" : "0", 1) == LW_OK)
            pressed = is_pressed;
        lw_poll(&device, now_us());
    }
}

void app_main(void)
{
    const uart_config_t uart = {.baud_rate = 921600,
                                .data_bits = UART_DATA_8_BITS,
                                .parity = UART_PARITY_DISABLE,
                                .stop_bits = UART_STOP_BITS_1,
                                .flow_ctrl = UART_HW_FLOWCTRL_DISABLE,
                                .source_clk = UART_SCLK_DEFAULT};
    ESP_ERROR_CHECK(uart_driver_install(PORT, 2048, 0, 0, NULL, 0));
    ESP_ERROR_CHECK(uart_param_config(PORT, &uart));
    ESP_ERROR_CHECK(uart_set_pin(PORT, TX_PIN, RX_PIN, UART_PIN_NO_CHANGE, UART_PIN_NO_CHANGE));
    gpio_set_direction(RELAY_PIN, GPIO_MODE_OUTPUT);
    gpio_set_direction(BUTTON_PIN, GPIO_MODE_INPUT);
    gpio_set_pull_mode(BUTTON_PIN, GPIO_PULLUP_ONLY);
    xTaskCreate(laneway_task, "laneway", 4096, NULL, 10, NULL);
}
