"""The command line's contract: exit states, JSON fields, text in and out."""
import json
import os
import shutil
import unittest

import program
from program import PROMPT, ProgramTest, TALES, run

STATS = {"ms_per_token", "io_busy_ms_per_token", "bytes_per_token", "reads_per_token",
         "mean_read_bytes", "read_gb_per_s", "hit_rate", "active_fraction", "predicted_fraction",
         "window_tokens", "peak_rss_bytes", "engine", "engine_reason", "direct_io"}


class Contract(ProgramTest):
    def test_usage(self):
        self.assertEqual(run("--help").returncode, 0)
        self.assertEqual(run("--version").returncode, 0)
        for args in ([], ["no-such-command"], ["generate"], ["tokenize", self.model],
                     ["generate", self.model, "--prompt", "x", "--max-tokens", "many"],
                     ["generate", self.model, "--prompt", "x", "--dram-budget", "1X"],
                     ["generate", self.model, "--prompt", "x", "--engine", "floppy"],
                     ["logits", self.model, "--tokens", "1,,2", "--out", "x"],
                     ["generate", self.model, "--prompt", "x", "--window", "0"],
                     ["convert", TALES, "x.flash", "--dtype", "q3"]):
            self.fails(*args, code=2)
        self.assertIn("/no/such.flash", self.fails("inspect", "/no/such.flash"))

    def test_convert_inspect_verify(self):
        out = self.path("out.flash")
        report = self.json("convert", TALES, out)
        self.assertEqual(report["bytes"], os.path.getsize(out))
        self.assertEqual(report["records"], 8 * 256)
        self.assertEqual(report["record_bytes"], 4096)
        self.assertEqual(os.listdir(self.folder), ["out.flash"])
        with open(out, "rb") as a, open(self.model, "rb") as b:
            self.assertEqual(a.read(), b.read(), "two conversions differ")
        inside = self.json("inspect", out)
        self.assertEqual(inside["config"]["d_ffn"], 1024)
        self.assertTrue({"sections", "quality", "sources"} <= set(inside))
        checked = self.json("verify", out)
        self.assertEqual(checked, {"records": 2048, "bad": []})

    def test_dtypes(self):
        for dtype, size in (("f32", 8), ("bf16", 4)):
            out = self.path(dtype + ".flash")
            report = self.json("convert", TALES, out, "--dtype", dtype)
            self.assertEqual(report["records"] * report["record_bytes"], 8 * 1024 * 256 * size)
            self.assertTrue(self.json("generate", out, "--prompt", PROMPT, "--max-tokens",
                                      8)["text"])

    def test_session(self):
        saved = self.path("saved.session")
        ask = lambda text, *more: self.json("generate", self.model, "--prompt", text,
                                            "--max-tokens", 6, *more)
        first = ask(PROMPT, "--session", saved)
        self.assertEqual(first["stats"]["prefill"]["reused_tokens"], 0)
        longer = PROMPT + " and then"
        second = ask(longer, "--session", saved)
        self.assertEqual(second["text"], ask(longer)["text"])
        reused = second["stats"]["prefill"]["reused_tokens"]
        self.assertGreater(reused, first["stats"]["prefill"]["tokens"] - 2)
        self.assertLess(second["stats"]["prefill"]["tokens"], 5)
        with open(saved, "r+b") as file:
            file.seek(200)
            file.write(b"xx")
        self.assertIn(saved, self.fails("generate", self.model, "--prompt", "x", "--session",
                                        saved))

    def test_plan(self):
        plan = self.json("plan", self.model, "--dram-budget", "1G", "--context", 64,
                         "--sessions", 2)
        self.assertLessEqual(plan["floor_bytes"], plan["recommended_bytes"])
        self.assertTrue(plan["fits"])
        self.assertEqual(set(plan["plan"]),
                         {"resident", "predictor", "kv", "slots", "scratch", "io"})
        floor = plan["floor_bytes"]
        at_floor = self.json("plan", self.model, "--dram-budget", floor, "--context", 64,
                             "--sessions", 2)
        self.assertTrue(at_floor["fits"])
        below = self.json("plan", self.model, "--dram-budget", floor - 1, "--context", 64,
                          "--sessions", 2)
        self.assertFalse(below["fits"])

    def test_generate(self):
        answer = self.text("--dram-budget", "20M")
        self.assertEqual(answer["finish_reason"], "length")
        self.assertEqual(len(answer["tokens"]), 24)
        stats = answer["stats"]
        self.assertTrue(STATS <= set(stats), STATS - set(stats))
        ms = stats["ms_per_token"]
        self.assertAlmostEqual(ms["io"] + ms["memory"] + ms["compute"], ms["total"], places=3)
        self.assertGreater(stats["bytes_per_token"], 0)
        # The text streamed to a terminal is the text of the JSON.
        plain = run("generate", self.model, "--prompt", PROMPT, "--max-tokens", 24)
        self.assertEqual(plain.returncode, 0)
        self.assertTrue(plain.stdout.decode().startswith(PROMPT + answer["text"]))

    def test_sampling_and_stop(self):
        sampled = [self.text("--temperature", "0.8", "--top-k", 40, "--seed", s)["text"]
                   for s in (1, 1, 2)]
        self.assertEqual(sampled[0], sampled[1])
        self.assertNotEqual(sampled[0], sampled[2])
        whole = self.text()["text"]
        stop = whole[8:14]
        cut = self.text("--stop", "never in it", "--stop", stop)
        self.assertEqual(cut["text"], whole[:whole.index(stop)])
        self.assertEqual(cut["finish_reason"], "stop")
        for bad in (["--top-p", "0"], ["--min-p", "2"], ["--temperature", "-1"]):
            self.fails("generate", self.model, "--prompt", "x", *bad)
        too_long = self.fails("generate", self.model, "--prompt", "x", "--max-tokens", 600)
        self.assertIn("512", too_long)

    def test_tokens(self):
        texts = ["Plain words, 12 of them.", "  blanks\tand tabs ", "na\u00efve \u4f60\u597d \U0001F44D",
                 "</s> spelled out"]
        lines = self.path("lines.txt")
        with open(lines, "w", encoding="utf-8", newline="") as out:
            out.write("\n".join(texts))
        listed = self.json("tokenize", self.model, "--lines", lines)["lines"]
        for text, ids in zip(texts, listed):
            self.assertEqual(self.json("tokenize", self.model, "--text", text)["ids"], ids)
            self.assertEqual(ids[0], 2)
            self.assertNotIn(2, ids[1:])
            back = self.json("detokenize", self.model, "--tokens", ",".join(map(str, ids[1:])))
            self.assertEqual(back["text"], text)
        self.fails("detokenize", self.model, "--tokens", "99999")

    def test_logits_and_eval(self):
        out = self.path("logits.f32")
        shape = self.json("logits", self.model, "--tokens", "2,50,500", "--out", out)["shape"]
        self.assertEqual(shape, [3, 4096])
        self.assertEqual(os.path.getsize(out), 4 * 3 * 4096)
        report = self.json("eval", self.model, "--text", os.path.join(TALES, "held-out.txt"),
                           "--max-tokens", 1024)
        self.assertEqual(report["tokens"], 1024)
        self.assertTrue(20 < report["perplexity"] < 100, report["perplexity"])
        self.assertTrue({"recall", "precision", "active_fraction", "predicted_fraction",
                         "window_curve"} <= set(report))

    def test_bench(self):
        row = self.json("bench", self.model, "--prompt-tokens", 4, "--tokens", 8)
        self.assertTrue(STATS | {"roofline_ms", "page_cache"} <= set(row))
        for part in ("io", "memory", "compute", "total"):
            self.assertEqual(set(row["ms_per_token"][part]), {"median", "p95", "std"})

    def test_device(self):
        curve = self.path("curve.json")
        done = run("device", self.folder, "--out", curve, "--json")
        if b"cannot be measured" in done.stderr:
            self.skipTest(done.stderr.decode())
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        self.assertEqual(os.listdir(self.folder), ["curve.json"])
        points = json.loads(done.stdout)["curve"]
        self.assertEqual(len(points), 36)
        for point in points:
            self.assertEqual(set(point),
                             {"read_bytes", "queue_depth", "gb_per_s", "us_per_read"})
            self.assertAlmostEqual(point["us_per_read"] * point["gb_per_s"] * 1e3 /
                                   point["read_bytes"], 1, places=3)
        with open(curve) as f:
            self.assertEqual(json.load(f)["curve"], points)
        for budget in ("20M", "1G"):
            self.assertEqual(self.text("--dram-budget", budget, "--device-curve", curve)["text"],
                             self.text("--dram-budget", budget)["text"])
        bad = self.path("bad.json")
        for text in ("", "[]", '{"curve":[]}', '{"curve":[{"read_bytes":-1}]}', "[" * 100000):
            with open(bad, "w") as f:
                f.write(text)
            self.assertIn("bad.json", self.fails("generate", self.model, "--prompt", "x",
                                                 "--device-curve", bad))
        self.assertIn("/no/such", self.fails("device", "/no/such"))
        self.assertIn("too few", self.fails("device", bad))

    def test_without_tokenizer(self):
        folder = self.path("bare")
        shutil.copytree(TALES, folder)
        os.remove(os.path.join(folder, "tokenizer.json"))
        out = self.path("bare.flash")
        said = run("convert", folder, out)
        self.assertEqual(said.returncode, 0)
        self.assertIn(b"no tokenizer", said.stdout)
        self.assertIn("no tokenizer", self.fails("generate", out, "--prompt", "x"))
        self.assertIn("no tokenizer", self.fails("tokenize", out, "--text", "x"))
        self.assertIn("tokenizer", self.fails("convert", folder, out, "--calibration",
                                              os.path.join(TALES, "held-out.txt")))
        self.json("logits", out, "--tokens", "2,3", "--out", self.path("l.f32"))

    def test_hostile_folders(self):
        folder = self.path("hostile")
        shutil.copytree(TALES, folder)
        with open(os.path.join(TALES, "config.json")) as f:
            good = json.load(f)
        out = self.path("out.flash")
        for change in ({"num_hidden_layers": 10**9}, {"hidden_size": 255},
                       {"num_attention_heads": 7}, {"ffn_dim": "many"}, {"vocab_size": 4097},
                       {"model_type": "no-such"}, {"max_position_embeddings": 10**12}):
            with open(os.path.join(folder, "config.json"), "w") as f:
                json.dump({**good, **change}, f)
            self.fails("convert", folder, out)
        for text in ("", "[]", "{", "[" * 100000):
            with open(os.path.join(folder, "config.json"), "w") as f:
                f.write(text)
            self.fails("convert", folder, out)
        self.assertFalse(os.path.exists(out))
        self.fails("convert", self.path("nothing"), out)


if __name__ == "__main__":
    program.main()
