"""The model that ships, converted and trained: how good it is on text that it has never seen."""
import json
import os
import unittest

import program
from program import ProgramTest, SOURCE, TALES


class Quality(ProgramTest):
    def test_sparse_is_nearly_dense(self):
        model, text = self.path("trained.flash"), os.path.join(TALES, "held-out.txt")
        report = self.json("convert", TALES, model, "--calibration",
                           os.path.join(TALES, "calibration.txt"), timeout=900)
        self.assertEqual(len(report["layers"]), 8)
        with open(os.path.join(SOURCE, "tests", "golden", "tales-7m", "expected.json")) as f:
            golden = json.load(f)["perplexity"]
        dense, sparse = (self.json("eval", model, "--text", text, "--mode", mode, timeout=900)
                         for mode in ("dense", "sparse"))
        # transformers' own figure, by the same protocol.
        self.assertEqual(dense["tokens"], golden["tokens"])
        self.assertAlmostEqual(dense["perplexity"], golden["value"], delta=.005)
        self.assertLess(sparse["perplexity"], 1.005 * dense["perplexity"])
        self.assertLess(sparse["predicted_fraction"], 2 * sparse["active_fraction"])
        self.assertGreater(sparse["recall"], .95)
        inside = self.json("inspect", model)
        self.assertLess(inside["predictors"]["training"]["parameter_share"], .08)
        row = inside["quality"][0]
        self.assertLess(row["perplexity_sparse"], 1.005 * row["perplexity_dense"])
        # What the floor's slots cannot hold does not change a bit of the text.
        plan = self.json("plan", model, "--dram-budget", "1G")
        texts = {self.json("generate", model, "--prompt", program.PROMPT, "--max-tokens", 64,
                           *args)["text"]
                 for args in ([], ["--dram-budget", plan["floor_bytes"]], ["--window", 1])}
        self.assertEqual(len(texts), 1)


if __name__ == "__main__":
    program.main()
