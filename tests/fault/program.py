"""What the tests of the program share: running it, a model to run it on, and random checkpoints.

Folders for tests are made below the current one, which is on a disk: /tmp may be memory."""
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

PROGRAM, SOURCE = sys.argv[1], sys.argv[2]
TALES = os.path.join(SOURCE, "examples", "models", "tales-7m")
PROMPT = "The old woman opened the door and"


def run(*args, preexec=None, timeout=300, env=None):
    return subprocess.run([PROGRAM, *map(str, args)], capture_output=True, timeout=timeout,
                          preexec_fn=preexec, stdin=subprocess.DEVNULL, env=env)


class ProgramTest(unittest.TestCase):
    """A folder for each test, and one converted model for all tests of the file."""

    shared = None

    @classmethod
    def setUpClass(cls):
        if ProgramTest.shared is None:
            ProgramTest.shared = tempfile.mkdtemp(prefix="sluice-test-", dir=os.getcwd())
            done = run("convert", TALES, cls.model_path(), "--json")
            if done.returncode != 0:
                raise RuntimeError(done.stderr.decode())

    @classmethod
    def model_path(cls):
        return os.path.join(ProgramTest.shared, "tales.flash")

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="sluice-test-", dir=os.getcwd())
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.model = self.model_path()

    def path(self, name):
        return os.path.join(self.folder, name)

    def json(self, *args, **kw):
        done = run(*args, "--json", **kw)
        self.assertEqual(done.returncode, 0, done.stderr.decode(errors="replace"))
        self.assertEqual(done.stdout.count(b"\n"), 1)
        return json.loads(done.stdout)

    def fails(self, *args, code=1, **kw):
        """The one line that says why."""
        done = run(*args, **kw)
        self.assertEqual(done.returncode, code, f"{args}: {done.stderr[:300]!r}")
        lines = done.stderr.decode(errors="replace").splitlines()
        if code == 1:
            self.assertEqual(len(lines), 1, lines)
        return lines[0]

    def text(self, *args, **kw):
        return self.json("generate", self.model, "--prompt", PROMPT, "--max-tokens", 24, *args,
                         **kw)


def main():
    ProgramTest.shared = None
    try:
        program = unittest.main(argv=[sys.argv[0]], exit=False, verbosity=2)
    finally:
        if ProgramTest.shared:
            shutil.rmtree(ProgramTest.shared, ignore_errors=True)
    if not program.result.wasSuccessful() or program.result.testsRun == 0:
        sys.exit(1)
    # Skipped is not passed: ctest shows exit status 4 as skipped.
    sys.exit(4 if program.result.skipped else 0)


def random_checkpoint(folder, d=512, f=4096, layers=8, vocab=1024, seed=3):
    """A random OPT in safetensors f16, without a tokenizer; returns the bytes of its FFN."""
    os.makedirs(folder)
    shapes = {"embed_tokens.weight": [vocab, d], "embed_positions.weight": [130, d],
              "final_layer_norm.weight": [d], "final_layer_norm.bias": [d]}
    for i in range(layers):
        at = f"layers.{i}."
        for name in ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj",
                     "self_attn.out_proj"):
            shapes[f"{at}{name}.weight"], shapes[f"{at}{name}.bias"] = [d, d], [d]
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes[f"{at}{name}.weight"], shapes[f"{at}{name}.bias"] = [d], [d]
        shapes[at + "fc1.weight"], shapes[at + "fc1.bias"] = [f, d], [f]
        shapes[at + "fc2.weight"], shapes[at + "fc2.bias"] = [d, f], [d]
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header["model.decoder." + name] = {"dtype": "F16", "shape": shape,
                                           "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    rng = random.Random(seed)
    # A prime number of values, repeated: rows differ from one another.
    block = struct.pack("<32749e", *(rng.gauss(0, .03) for _ in range(32749)))
    with open(os.path.join(folder, "model.safetensors"), "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.write((block * (end // len(block) + 1))[:end])
    config = {"model_type": "opt", "hidden_size": d, "ffn_dim": f, "num_hidden_layers": layers,
              "num_attention_heads": 8, "vocab_size": vocab, "max_position_embeddings": 128}
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config, out)
    return layers * 2 * 2 * d * f
