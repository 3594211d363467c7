"""Generates text with transformers' OPT, its feed-forward layers streamed by Sluice.

usage: generate.py CHECKPOINT BUNDLE [--prompt TEXT] [--max-tokens N] [--dram-budget SIZE]
                   [--mode auto|sparse|dense] [--plain]

CHECKPOINT is the Hugging Face folder, BUNDLE what `sluice convert CHECKPOINT BUNDLE` made of it.
With --plain the feed-forward layers are transformers' own: what comes out, and what memory that
takes, to compare. Needs torch, transformers (4.56 or later), safetensors.
"""

import argparse
import time

import sluice
import torch
from sluice_opt import SluiceOPT, parameter_bytes
from transformers import OPTForCausalLM, PreTrainedTokenizerFast


def memory(what):
    """A line of /proc/self/status, in MiB."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(what)) / 1024


def load(arguments):
    if arguments.plain:
        return OPTForCausalLM.from_pretrained(arguments.checkpoint, dtype=torch.float32)
    ffn = sluice.Model(arguments.bundle, ffn_only=True, mode=arguments.mode,
                       dram_budget=arguments.dram_budget)
    return SluiceOPT.from_pretrained(arguments.checkpoint, ffn, dtype=torch.float32)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("checkpoint")
    parser.add_argument("bundle")
    parser.add_argument("--prompt", default="The old woman opened the door and")
    parser.add_argument("--max-tokens", type=int, default=40)
    parser.add_argument("--dram-budget", default="16M")
    parser.add_argument("--mode", default="auto")
    parser.add_argument("--plain", action="store_true")
    arguments = parser.parse_args()

    before = memory("VmRSS")
    model = load(arguments)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=f"{arguments.checkpoint}/tokenizer.json")
    inputs = tokenizer(arguments.prompt, return_tensors="pt", return_token_type_ids=False)
    start = time.perf_counter()
    ids = model.generate(**inputs, max_new_tokens=arguments.max_tokens, do_sample=False)
    seconds = time.perf_counter() - start
    print(tokenizer.decode(ids[0], skip_special_tokens=True))
    tokens = ids.shape[1] - inputs["input_ids"].shape[1]
    print(f"\n{tokens} tokens in {seconds:.2f} s; parameters in torch: "
          f"{parameter_bytes(model) / 2**20:.1f} MiB")
    print(f"RSS {memory('VmRSS'):.1f} MiB, {memory('VmRSS') - before:.1f} of it since the imports; "
          f"{memory('VmHWM'):.1f} at most")
    if not arguments.plain:
        stats = model.ffn_backend.stats
        print(f"read {stats.bytes / 2**20:.1f} MiB in {stats.reads} reads; "
              f"{stats.records_missing} of {stats.records_needed} records were not in memory")


if __name__ == "__main__":
    main()
