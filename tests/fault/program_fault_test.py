"""Damaged files, refused kernels, full disks and kills: an error, never a crash or other text."""
import ctypes
import json
import os
import random
import resource
import signal
import struct
import subprocess
import time
import unittest

import program
from program import PROGRAM, PROMPT, ProgramTest, TALES, run

SYS_IO_URING_SETUP = 425


def deny_io_uring():
    """A seccomp filter under which io_uring_setup fails with EPERM, as in most containers."""
    rules = [(0x20, 0, 0, 0), (0x15, 0, 1, SYS_IO_URING_SETUP), (0x06, 0, 0, 0x00050001),
             (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
    filter_program = ctypes.create_string_buffer(
        struct.pack("HxxxxxxQ", len(rules), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(filter_program), 0, 0):
        os._exit(99)


def catches(pid, number):
    """Whether the process has a handler for this signal yet."""
    try:
        with open(f"/proc/{pid}/status") as f:
            caught = next(int(l.split()[1], 16) for l in f if l.startswith("SigCgt"))
    except (OSError, StopIteration):
        return False
    return bool(caught >> (number - 1) & 1)


class Faults(ProgramTest):
    def test_io_uring_refused(self):
        usual = self.text("--dram-budget", "20M")
        blocked = self.text("--dram-budget", "20M", preexec=deny_io_uring)
        self.assertEqual(blocked["text"], usual["text"])
        self.assertEqual(blocked["stats"]["engine"], "pread")
        self.assertIn("EPERM", blocked["stats"]["engine_reason"])
        line = self.fails("generate", self.model, "--prompt", "x", "--engine", "uring",
                          preexec=deny_io_uring)
        self.assertIn("io_uring", line)

    def test_flipped_bits(self):
        with open(self.model, "rb") as f:
            whole = f.read()
        good, bad, rng = self.text()["text"], self.path("bad.flash"), random.Random(7)
        spots = [rng.randrange(4096) for _ in range(10)]
        spots += [rng.randrange(len(whole)) for _ in range(30)]
        refused = 0
        for spot in spots:
            data = bytearray(whole)
            data[spot] ^= 1 << rng.randrange(8)
            with open(bad, "wb") as f:
                f.write(data)
            done = run("generate", bad, "--prompt", PROMPT, "--max-tokens", 24, "--json")
            self.assertIn(done.returncode, (0, 1), f"byte {spot}")
            refused += done.returncode
            if done.returncode == 0:
                self.assertEqual(json.loads(done.stdout)["text"], good, f"byte {spot}")
            verify = run("verify", bad)
            self.assertEqual(verify.returncode, 1, f"verify passes byte {spot}")
        self.assertGreater(refused, 20)

    def test_a_record_names_layer_and_neurons(self):
        layers = self.json("inspect", self.model)["layers"]
        bad = self.path("bad.flash")
        with open(self.model, "rb") as f:
            data = bytearray(f.read())
        data[layers[3]["offset"] + 5 * 4096 + 17] ^= 4
        with open(bad, "wb") as f:
            f.write(data)
        line = self.fails("generate", bad, "--prompt", "x", "--mode", "dense")
        self.assertIn("layer 3", line)
        self.assertIn("neurons 20", line)
        self.assertIn("bad.flash", line)

    def test_truncated(self):
        with open(self.model, "rb") as f:
            whole = f.read()
        bad = self.path("cut.flash")
        for size in (0, 1, 8, 4095, 4096, len(whole) // 2, len(whole) - 1):
            with open(bad, "wb") as f:
                f.write(whole[:size])
            self.fails("generate", bad, "--prompt", "x")
            self.fails("verify", bad)

    def test_budget_too_small(self):
        floor = self.json("plan", self.model, "--dram-budget", "1G")["floor_bytes"]
        line = self.fails("generate", self.model, "--prompt", "x", "--dram-budget", floor - 1)
        self.assertIn(str(floor), line)

    def test_killed_converts_leave_nothing_finished(self):
        out = self.path("out.flash")
        start = time.time()
        self.json("convert", TALES, out)
        whole = time.time() - start
        os.remove(out)
        for i in range(25):
            child = subprocess.Popen([PROGRAM, "convert", TALES, out], stdout=subprocess.DEVNULL,
                                     stderr=subprocess.DEVNULL)
            time.sleep(whole * i / 22)
            child.send_signal(signal.SIGKILL)
            child.wait()
            if os.path.exists(out):
                self.assertEqual(run("verify", out).returncode, 0)
                os.remove(out)
        # The next run cleans up after the killed ones.
        self.json("convert", TALES, out)
        self.assertEqual(os.listdir(self.folder), ["out.flash"])

    def test_file_size_limit(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        self.fails("convert", TALES, self.path("out.flash"), preexec=limit)
        self.assertEqual(os.listdir(self.folder), [])

    def test_odd_paths(self):
        os.mkfifo(self.path("fifo"))
        for path in (self.path("fifo"), self.folder, "/dev/zero"):
            self.fails("generate", path, "--prompt", "x")

    def test_interrupt_reports_what_there_is(self):
        child = subprocess.Popen([PROGRAM, "generate", self.model, "--prompt", PROMPT,
                                  "--max-tokens", "500", "--temperature", "0.9", "--seed", "5",
                                  "--mode", "dense", "--dram-budget", "20M", "--json"],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not catches(child.pid, signal.SIGINT) and child.poll() is None:
            time.sleep(.0005)
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=60)
        self.assertEqual(child.returncode, 0)
        answer = json.loads(out)
        self.assertEqual(answer["finish_reason"], "cancelled")
        self.assertLess(len(answer["tokens"]), 500)

    def test_interrupted_converts_leave_nothing(self):
        child = subprocess.Popen([PROGRAM, "convert", TALES, self.path("out.flash"),
                                  "--calibration", os.path.join(TALES, "held-out.txt")],
                                 stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while not catches(child.pid, signal.SIGINT) and child.poll() is None:
            time.sleep(.0005)
        time.sleep(.2)
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=60)
        self.assertEqual(child.returncode, 1)
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    program.main()
