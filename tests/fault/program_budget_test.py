"""A memory budget is a promise, and what does not fit comes from the disk. Seen from outside."""
import os
import subprocess
import time
import unittest

import program
from program import PROGRAM, ProgramTest, random_checkpoint

SLACK = 32 << 20


def watch(args):
    """Runs the program; returns its exit status, VmHWM and the bytes it had from storage."""
    child = subprocess.Popen([PROGRAM, *map(str, args)], stdout=subprocess.DEVNULL,
                             stderr=subprocess.PIPE)
    peak = read = 0
    while child.poll() is None:
        try:
            if os.path.realpath(f"/proc/{child.pid}/exe") == os.path.realpath(PROGRAM):
                with open(f"/proc/{child.pid}/status") as f:
                    peak = max([peak] + [int(l.split()[1]) << 10 for l in f
                                         if l.startswith("VmHWM")])
                with open(f"/proc/{child.pid}/io") as f:
                    read = max([read] + [int(l.split()[1]) for l in f
                                         if l.startswith("read_bytes")])
        except OSError:
            pass
        time.sleep(.003)
    error = child.stderr.read().decode(errors="replace")
    child.stderr.close()
    return child.returncode, peak, read, error


class Budget(ProgramTest):
    def check_peak(self, peak, budget):
        if "SLUICE_NO_RSS" not in os.environ:
            self.assertLessEqual(peak, budget + SLACK, f"{peak >> 20} MiB")

    def test_a_model_larger_than_its_memory(self):
        folder, model = self.path("random"), self.path("random.flash")
        ffn_bytes = random_checkpoint(folder)
        report = self.json("convert", folder, model)
        if "SLUICE_NO_RSS" not in os.environ:
            self.assertLess(report["peak_rss_bytes"], 64 << 20)
        size = os.path.getsize(model)
        floor = self.json("plan", model, "--dram-budget", "4G", "--context", 32)["floor_bytes"]
        self.assertLess(floor, size / 3)
        low, full = self.path("low.f32"), self.path("full.f32")
        tokens = ["--tokens", "2,50,500,5", "--mode", "dense", "--context", 32]
        code, peak, read, error = watch(["logits", model, *tokens, "--out", low,
                                         "--prefill-chunk", 1, "--dram-budget", floor])
        self.assertEqual(code, 0, error)
        self.check_peak(peak, floor)
        # Every token needs every neuron, and few fit: most of the FFN is read each time.
        self.assertGreater(read, 3 * .8 * ffn_bytes)
        code, _, _, error = watch(["logits", model, *tokens, "--out", full,
                                   "--dram-budget", "2G"])
        self.assertEqual(code, 0, error)
        with open(low, "rb") as a, open(full, "rb") as b:
            self.assertEqual(a.read(), b.read())

    def test_budgets_are_kept(self):
        plan = self.json("plan", self.model, "--dram-budget", "1G")
        for budget in (plan["floor_bytes"], plan["recommended_bytes"]):
            code, peak, _, error = watch(["generate", self.model, "--prompt", program.PROMPT,
                                          "--max-tokens", 64, "--dram-budget", budget])
            self.assertEqual(code, 0, error)
            self.check_peak(peak, budget)

    def test_a_quarter_of_the_slots_gives_the_same_text(self):
        whole = self.json("plan", self.model, "--dram-budget", "1G")
        quarter = (sum(whole["plan"].values()) - whole["plan"]["slots"] * 3 // 4)
        few = self.text("--dram-budget", quarter)
        self.assertEqual(few["text"], self.text()["text"])
        self.assertGreater(few["stats"]["bytes_per_token"], 0)
        self.assertLess(few["stats"]["hit_rate"], 1)


if __name__ == "__main__":
    program.main()
