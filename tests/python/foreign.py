"""What devices say, by the libraries that people use: made with `mavlink COUNT SEED` and `nmea COUNT`, read back with
`read-mavlink` and `read-nmea` from standard input. `extras` tells what pymavlink knows of each message's layout."""

import os
import random
import sys

os.environ["MAVLINK20"] = "1"


def dialect(version):
    import importlib

    return importlib.import_module(f"pymavlink.dialects.{version}.ardupilotmega")


def mavlink(count, seed):
    """A line for each frame: system, component, message, and the frame in hexadecimal digits."""
    rng = random.Random(seed)
    speakers = []
    for system, component, version, signed in [(1, 1, "v20", False), (1, 154, "v10", False), (255, 190, "v20", True)]:
        module = dialect(version)
        speaker = module.MAVLink(None, srcSystem=system, srcComponent=component)
        if signed:
            speaker.signing.secret_key = bytes(range(32))
            speaker.signing.sign_outgoing = True
            speaker.signing.link_id = 3
        speakers.append((module, speaker))
    for number in range(count):
        module, speaker = rng.choice(speakers)
        real = lambda: rng.uniform(-3.2, 3.2)
        message = rng.choice(
            [
                lambda: speaker.heartbeat_encode(2, 3, 81, number, 4),
                lambda: speaker.attitude_encode(number, real(), real(), real(), real(), real(), real()),
                lambda: speaker.statustext_encode(6, f"message {number}".encode()),
                lambda: speaker.command_long_encode(1, 1, 400, 0, real(), 0, 0, 0, 0, 0, real()),
                lambda: speaker.param_value_encode(b"RATE", real(), 9, 100, number % 100),
            ]
        )()
        frame = message.pack(speaker)
        speaker.seq = (speaker.seq + 1) % 256
        print(speaker.srcSystem, speaker.srcComponent, message.get_msgId(), bytes(frame).hex())


def read_mavlink():
    """How many messages there are, and how much that is none."""
    reader = dialect("v20").MAVLink(None)
    reader.robust_parsing = True
    messages = reader.parse_buffer(bytearray(sys.stdin.buffer.read())) or []
    bad = sum(message.get_type() == "BAD_DATA" for message in messages)
    print(len(messages) - bad, bad)


def nmea(count):
    """A line for each sentence: talker, type, and the sentence."""
    import pynmea2

    for number in range(count):
        minute = f"{number // 60 % 60:02}{number % 60:02}"
        fields = (f"12{minute}", "4807.038", "N", "01131.000", "E", "1", "08", "0.9", "545.4", "M", "46.9", "M", "", "")
        print("GP", "GGA", pynmea2.GGA("GP", "GGA", fields))
        fields = (f"12{minute}", "A", "4807.038", "N", "01131.000", "E", "022.4", "084.4", "230394", "003.1", "W")
        print("GN", "RMC", pynmea2.RMC("GN", "RMC", fields))


def read_nmea():
    import pynmea2

    lines = sys.stdin.buffer.read().decode().split("\r\n")
    print(sum(1 for line in lines if line and pynmea2.parse(line, check=True)), 0)


def extras():
    import importlib

    for number, message in sorted(importlib.import_module("pymavlink.dialects.v20.all").mavlink_map.items()):
        print(number, message.crc_extra)


what, *arguments = sys.argv[1:]
{
    "mavlink": mavlink,
    "read-mavlink": read_mavlink,
    "nmea": nmea,
    "read-nmea": read_nmea,
    "extras": extras,
}[what](*map(int, arguments))
