/* zmq_proxy FRONT BACK: what publishers send to tcp://127.0.0.1:FRONT goes to who subscribes at tcp://127.0.0.1:BACK.
 *
 * No bound on queues (ZMQ_*HWM 0): with the default of 1,000 messages a proxy drops as soon as a subscriber is a moment
 * late, and what is compared here is delivery of everything. */
#include <stdio.h>
#include <stdlib.h>
#include <zmq.h>

static void *bound(void *context, int type, const char *port) {
  char at[64];
  int no_bound = 0;
  void *socket = zmq_socket(context, type);
  if (socket == NULL) return NULL;
  zmq_setsockopt(socket, ZMQ_SNDHWM, &no_bound, sizeof no_bound);
  zmq_setsockopt(socket, ZMQ_RCVHWM, &no_bound, sizeof no_bound);
  snprintf(at, sizeof at, "tcp://127.0.0.1:%s", port);
  if (zmq_bind(socket, at) != 0) {
    fprintf(stderr, "zmq_proxy: %s: %s\n", at, zmq_strerror(zmq_errno()));
    return NULL;
  }
  return socket;
}

int main(int count, char **arguments) {
  int major, minor, patch;
  zmq_version(&major, &minor, &patch);
  if (count == 2) {
    printf("libzmq %d.%d.%d\n", major, minor, patch);
    return 0;
  }
  if (count != 3) {
    fprintf(stderr, "usage: zmq_proxy FRONT BACK, or zmq_proxy --version\n");
    return 2;
  }
  void *context = zmq_ctx_new();
  void *front = bound(context, ZMQ_XSUB, arguments[1]);
  void *back = bound(context, ZMQ_XPUB, arguments[2]);
  if (front == NULL || back == NULL) return 1;
  zmq_proxy(front, back, NULL);
  return 1;
}
