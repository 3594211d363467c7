#!/usr/bin/env python3
"""Writes an f16 GGUF of random weights with the tensor sizes of an OPT model, for llama.cpp.

usage: make_gguf.py OUT --shape opt-125m|opt-1.3b|opt-6.7b [--seed S]

llama.cpp does not run OPT. GPT-2 has the same tensors: learned positions, LayerNorm with biases,
an FFN without a gate, embeddings tied to the output. Queries, keys and values are one tensor, and
the activation is GELU; neither changes what a token costs. The text that comes out is noise, the
time it takes is not. Needs nothing outside the standard library, and little memory.
"""
import argparse
import os
import random
import struct
import sys

# d_model, d_ffn, layers, heads
SHAPES = {
    "opt-125m": (768, 3072, 12, 12),
    "opt-1.3b": (2048, 8192, 24, 32),
    "opt-6.7b": (4096, 16384, 32, 32),
}
VOCAB, POSITIONS = 50272, 2050
ALIGNMENT = 32
F32, F16 = 0, 1                                  # tensor types
UINT32, FLOAT32, STRING, ARRAY, INT32 = 4, 6, 8, 9, 5   # metadata types


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def entry(key, kind, payload):
    return text(key) + struct.pack("<I", kind) + payload


def array(kind, items):
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def byte_names():
    """GPT-2's printable stand-ins for the 256 bytes: llama.cpp wants a token for each."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, extra = [], 256
    for byte in range(256):
        if byte in plain:
            names.append(chr(byte))
        else:
            names.append(chr(extra))
            extra += 1
    return names


def metadata(shape):
    d, f, layers, heads = SHAPES[shape]
    names = byte_names()
    tokens = names + [f"<t{i}>" for i in range(len(names), VOCAB)]
    numbers = {"gpt2.context_length": POSITIONS - 2, "gpt2.embedding_length": d,
               "gpt2.feed_forward_length": f, "gpt2.block_count": layers,
               "gpt2.attention.head_count": heads, "general.file_type": 1,
               "tokenizer.ggml.bos_token_id": VOCAB - 1,
               "tokenizer.ggml.eos_token_id": VOCAB - 1}
    entries = [entry("general.architecture", STRING, text("gpt2")),
               entry("general.name", STRING, text(f"random weights, sizes of {shape}")),
               entry("gpt2.attention.layer_norm_epsilon", FLOAT32, struct.pack("<f", 1e-5)),
               entry("tokenizer.ggml.model", STRING, text("gpt2")),
               entry("tokenizer.ggml.pre", STRING, text("gpt-2")),
               entry("tokenizer.ggml.tokens", ARRAY, array(STRING, [text(t) for t in tokens])),
               entry("tokenizer.ggml.token_type", ARRAY,
                     array(INT32, [struct.pack("<i", 1)] * VOCAB)),
               entry("tokenizer.ggml.merges", ARRAY, array(STRING, [text("a b")]))]
    entries += [entry(key, UINT32, struct.pack("<I", value)) for key, value in numbers.items()]
    return entries


def tensors(shape):
    """(name, dimensions innermost first, type) in file order."""
    d, f, layers, _ = SHAPES[shape]
    yield "token_embd.weight", (d, VOCAB), F16
    # llama.cpp adds rows of this one to f32 sums; as in its own converter.
    yield "position_embd.weight", (d, POSITIONS - 2), F32
    for i in range(layers):
        for name, inner, outer in (("attn_qkv", d, 3 * d), ("attn_output", d, d),
                                   ("ffn_up", d, f), ("ffn_down", f, d)):
            yield f"blk.{i}.{name}.weight", (inner, outer), F16
            yield f"blk.{i}.{name}.bias", (outer,), F32
        for name in ("attn_norm", "ffn_norm"):
            yield f"blk.{i}.{name}.weight", (d,), F32
            yield f"blk.{i}.{name}.bias", (d,), F32
    yield "output_norm.weight", (d,), F32
    yield "output_norm.bias", (d,), F32


def size_of(dims, kind):
    count = 1
    for dim in dims:
        count *= dim
    return count * (2 if kind == F16 else 4)


def noise(code, seed):
    """A prime number of values, repeated over a few MiB: rows differ from one another."""
    rng = random.Random(seed)
    count = 524287
    values = struct.pack(f"<{count}{code}", *(rng.gauss(0, .02) for _ in range(count)))
    return values * 4


def write(path, shape, seed):
    blocks = {F16: noise("e", seed), F32: noise("f", seed + 1)}
    listing, offset = [], 0
    for name, dims, kind in tensors(shape):
        size = size_of(dims, kind)
        listing.append((name, dims, kind, offset, size))
        offset += -(-size // ALIGNMENT) * ALIGNMENT
    folder = os.path.dirname(os.path.abspath(path))
    disk = os.statvfs(folder)
    free = disk.f_bavail * disk.f_frsize
    if free < offset + (1 << 30):
        sys.exit(f"{folder}: {offset + (1 << 30)} bytes are needed, {free} are free")
    entries = metadata(shape)
    header = b"GGUF" + struct.pack("<IQQ", 3, len(listing), len(entries)) + b"".join(entries)
    for name, dims, kind, at, _ in listing:
        header += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, at)
    temporary = path + ".tmp"
    try:
        with open(temporary, "wb") as out:
            out.write(header + b"\0" * (-len(header) % ALIGNMENT))
            for _, _, kind, _, size in listing:
                block, left = blocks[kind], size
                while left > 0:
                    out.write(memoryview(block)[:min(left, len(block))])
                    left -= len(block)
                out.write(b"\0" * (-size % ALIGNMENT))
            out.flush()
            os.fsync(out.fileno())
        os.rename(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    return offset


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--shape", choices=SHAPES, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"{args.out}: {write(args.out, args.shape, args.seed)} bytes of tensors")


if __name__ == "__main__":
    main()
