"""Runs a component until it is caught up and prints its events:

    python embed.py COMPONENT STATE_DIR < settings.json

The settings are the JSON object that the component gets. docs/embedding.md has the rules that this
program follows, and the one that it cannot: the package `wasmtime` has no hook for outgoing requests and
asks no proxy, so there is no allow-list. Run this only where the network lets the process reach no more
than the origins of `describe` (a network policy, a firewall with a transparent proxy); the page says how.
"""

import base64
import json
import os
import re
import sys
import time

from wasmtime import Config, Engine, Store, WasiConfig
from wasmtime.component import Component, Linker, Record, Variant

MEMORY_BYTES_MAX = 256 * 1024 * 1024
EXIT_CODES = {"unauthorized": 77, "settings": 78}


class PollError(Exception):
    """What `poll` returned in place of a batch. It contains no secret."""

    def __init__(self, error):
        super().__init__(f"{error.tag}: {printable(getattr(error.payload, 'detail', error.payload))}")
        self.tag = error.tag


class Source:
    """An instance of the component. It reads no files and no environment variables."""

    def __init__(self, path):
        config = Config()
        config.cache = True
        engine = Engine(config)
        component = Component.from_file(engine, path)
        with Linker(engine) as linker:
            linker.add_wasip2()
            linker.add_wasi_http()
            self.store = Store(engine)
            self.store.set_limits(memory_size=MEMORY_BYTES_MAX)
            wasi = WasiConfig()
            wasi.inherit_stderr()
            self.store.set_wasi(wasi)
            self.store.set_wasi_http()
            self.instance = linker.instantiate(self.store, component)

    def call(self, name, *arguments):
        interface = self.instance.get_export_index(self.store, "pipeline:source/source@0.2.0")
        index = self.instance.get_export_index(self.store, name, interface)
        function = self.instance.get_func(self.store, index)
        result = function(self.store, *arguments)
        function.post_return(self.store)
        if isinstance(result, Variant):
            raise PollError(result)
        return result


def record(**members):
    """Makes a WIT record, whose field names have hyphens."""
    created = Record()
    for name, value in members.items():
        setattr(created, name.replace("_", "-"), value)
    return created


LIMITS = record(max_events=1000, max_bytes=4_000_000, max_requests=100)


def collect(source, settings, state_dir):
    path = os.path.join(state_dir, "checkpoint")
    checkpoint = read_if_exists(path)
    session = None  # a secret: only in memory, never stored, logged or shown
    while True:
        batch = source.call("poll", settings, checkpoint, session, LIMITS)
        for stats in batch.stats:
            if stats.received != stats.events + stats.rejected + stats.duplicates:
                raise RuntimeError(f"{stats.stream}: records are missing from the counts of the component")
        for notice in batch.notices:
            print(f"{notice.stream}: {notice.kind}: {printable(notice.detail)}", file=sys.stderr)
        # Everything is delivered before the checkpoint is stored. Killed in between, the
        # next run delivers the batch again, with the same ids.
        append_rejected(os.path.join(state_dir, "rejected.ndjson"), batch.rejected)
        sys.stdout.buffer.write(batch.events.encode())
        sys.stdout.buffer.flush()
        if batch.checkpoint != checkpoint:
            checkpoint = batch.checkpoint
            replace_durably(path, checkpoint)
        session = batch.session
        next_poll = batch.next
        if next_poll.tag == "caught-up":
            return
        if next_poll.tag != "now":
            print(f"{next_poll.tag}: the next poll is in {next_poll.payload} ms", file=sys.stderr)
            time.sleep(next_poll.payload / 1000)


def printable(text):
    """Replaces control characters, so that untrusted text cannot control a terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", str(text))


def read_if_exists(path):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def open_private(path, flags):
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | flags, 0o600), "w", encoding="utf-8")


def replace_durably(path, text):
    """Replaces a file atomically: after a crash there is the old one or the new one."""
    with open_private(path + ".new", os.O_TRUNC) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(path + ".new", path)
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)


def append_rejected(path, rejected):
    if not rejected:
        return
    with open_private(path, os.O_APPEND) as file:
        for entry in rejected:
            line = {
                "stream": entry.stream,
                "locator": entry.locator,
                "reason": entry.reason,
                "original": base64.b64encode(bytes(entry.original)).decode("ascii"),
            }
            file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: python embed.py COMPONENT STATE_DIR < settings.json")
    component, state_dir = sys.argv[1:]
    os.makedirs(state_dir, exist_ok=True)
    settings = json.load(sys.stdin)
    # The contract: the host names the source where the settings do not.
    settings.setdefault("tenant", "embedded")
    try:
        collect(Source(component), json.dumps(settings), os.path.abspath(state_dir))
    except PollError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(EXIT_CODES.get(error.tag, 1))


main()
