"""Writes the golden files beside it: tiny seeded OPT checkpoints in every published form, with the
logits and greedy tokens that transformers gets from them, and the same for tales-7m.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, tokenizers 0.23.3, safetensors 0.8.0 and
numpy 2.4.6; other versions are refused, because weights, files and rounding may change with them:
  pip install torch==2.15.0 transformers==5.24.0 tokenizers==0.23.3 safetensors==0.8.0 numpy==2.4.6

  make_golden.py [--only NAME]... [--out DIR]   write (default: beside this file)
  make_golden.py --check [--out DIR]            compare what is there with opt_reference.py
"""
import argparse
import json
import os
import pathlib
import shutil
import sys

os.environ["HF_HUB_OFFLINE"] = "1"  # everything comes from the folders named here
import numpy as np
import safetensors
import tokenizers
import torch
import transformers

import golden_tokenizer
from golden_cases import CASES
from opt_reference import check_case

VERSIONS = {"torch": "2.15.0", "transformers": "5.24.0", "tokenizers": "0.23.3",
            "safetensors": "0.8.0", "numpy": "2.4.6"}
HERE = pathlib.Path(__file__).resolve().parent
TALES = HERE.parents[1] / "examples" / "models" / "tales-7m"

PROMPT_TOKENS, GREEDY_PROMPT_TOKENS, GREEDY_STEPS = 24, 8, 64
FIRST_PLAIN_ID = 4  # below: <s>, <pad>, </s>, <unk>
BOS_ID = 2
# A greedy step counts only if no rounding can turn it: top two this far apart, of the range.
MIN_GAP, MIN_GAP_REAL_MODEL = 0.01, 0.001
# One endless loop tests little: distinct tokens wanted among the greedy ones. Not every shape can
# have them: after case.patient_seeds each further seed asks for one less.
MIN_DISTINCT = 12
PROMPTS_PER_SEED, MAX_SEEDS = 256, 100
PERPLEXITY_WINDOW = 256
PERPLEXITY_PROTOCOL = (
    "Tokenize the whole file at once, line ends as they are, with no special token added. "
    "Cut the ids into consecutive windows of 256; drop the incomplete last one. Run each window "
    "alone, from an empty KV cache, behind one </s>: 257 positions, of which the first 256 "
    "predict the 256 ids of the window; </s> itself is not predicted. Perplexity is exp of the "
    "mean negative natural log-likelihood over the ids of all windows.")


def check_versions():
    found = {module.__name__: module.__version__.split("+")[0]
             for module in (torch, transformers, tokenizers, safetensors, np)}
    if found != VERSIONS:
        sys.exit(f"needs {VERSIONS}, found {found}")


def write_json(path, record):
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")


# --- Weights and config -------------------------------------------------------------------------

def random_tensor(name, shape, rng):
    """Scales under which logits spread, attention has a preference, ReLUs are open or shut, and
    no bias or norm weight could be left out unseen."""
    noise = rng.standard_normal(shape)
    if "embed_positions" in name:
        return 0.5 * noise
    if "embed_tokens" in name or "lm_head" in name:
        # Rows of unlike length let a few tokens stand out: clear gaps between the top two.
        return 0.4 * noise * np.exp(0.6 * rng.standard_normal((shape[0], 1)))
    if "layer_norm" in name:
        # Signs in the last norm keep tied embeddings from predicting the token just read.
        sign = rng.choice([-1, 1], shape) if "decoder.final_layer_norm" in name else 1
        return sign * (1 + 0.3 * noise) if name.endswith("weight") else 0.2 * noise
    if name.endswith("fc1.bias"):
        return -0.4 + 0.3 * noise
    if name.endswith("bias"):
        return 0.2 * noise
    gain = 3.0 if "fc2" in name else 1.5 if "_proj" in name else 1.0
    return gain * noise / np.sqrt(shape[1])


def type_name(case):
    return str(case.dtype).removeprefix("torch.")


def opt_config(case):
    return transformers.OPTConfig(**case.shape, **case.fields, num_attention_heads=4,
                                  max_position_embeddings=128,
                                  architectures=["OPTForCausalLM"],
                                  dtype=type_name(case))


def build(case, seed):
    """A model in float32 whose weights are exact in case.dtype, and those weights in that type."""
    rng = np.random.default_rng(seed)
    model = transformers.OPTForCausalLM(opt_config(case)).eval()
    model.config._attn_implementation = "eager"
    state = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        values = random_tensor(name, tuple(tensor.shape), rng)
        state[name] = torch.from_numpy(values.astype(np.float32)).to(case.dtype)
        tensor.copy_(state[name])
    return model, state


def write_config(case, folder):
    config = opt_config(case)
    sizes = {**case.shape, "num_attention_heads": 4, "max_position_embeddings": 128}
    if case.config == "v5":
        text = config.to_json_string()
    elif case.config == "bare":
        text = json.dumps({"model_type": "opt", **sizes}, indent=2) + "\n"
    else:  # field for field that of facebook/opt-125m
        fields = {"activation_dropout": 0.0, "activation_function": "relu",
                  "architectures": ["OPTForCausalLM"], "attention_dropout": 0.0,
                  "bos_token_id": 2, "do_layer_norm_before": True, "dropout": 0.1,
                  "eos_token_id": 2, "init_std": 0.02, "layerdrop": 0.0, "model_type": "opt",
                  "pad_token_id": 1, "prefix": "</s>", "torch_dtype": type_name(case),
                  "transformers_version": "4.21.0.dev0", "use_cache": True,
                  "word_embed_proj_dim": config.word_embed_proj_dim, **sizes}
        text = json.dumps(dict(sorted(fields.items())), indent=2) + "\n"
    (folder / "config.json").write_text(text)


# --- Expected values ----------------------------------------------------------------------------

def all_logits(model, ids, last=0):
    """[rows, tokens] -> [rows, tokens, vocab], or of the `last` tokens only."""
    with torch.no_grad():
        return model(torch.tensor(ids), use_cache=False, logits_to_keep=last).logits.numpy()


def relative_gaps(logits):
    """[rows, vocab] -> [rows]: top minus second, over the range."""
    top = np.partition(logits, -2, axis=-1)[:, -2:]
    return (top[:, 1] - top[:, 0]) / (logits.max(-1) - logits.min(-1))


def greedy(model, prompts, min_gap):
    """Continues all prompts, [rows, tokens]; rows that meet a smaller gap are dropped on the way.
    Without a KV cache: a step is what a whole forward pass says. Returns tokens and gaps."""
    ids, gaps, num_prompt = np.array(prompts), np.zeros((len(prompts), 0)), len(prompts[0])
    for _ in range(GREEDY_STEPS):
        last = all_logits(model, ids, last=1)[:, -1]
        gap = relative_gaps(last)
        keep = gap >= min_gap
        ids = np.concatenate([ids, last.argmax(-1)[:, None]], axis=1)[keep]
        gaps = np.concatenate([gaps, gap[:, None]], axis=1)[keep]
        if len(ids) == 0:
            return [], [], gaps
    return ids[:, :num_prompt].tolist(), ids[:, num_prompt:].tolist(), gaps


def candidate_prompts(case, tokenizer, text, rng):
    if tokenizer is None:
        tail = (PROMPTS_PER_SEED, GREEDY_PROMPT_TOKENS - 1)
        random = rng.integers(FIRST_PLAIN_ID, case.shape["vocab_size"], tail)
        return np.concatenate([np.full((len(random), 1), BOS_ID), random], axis=1).tolist()
    starts = rng.integers(0, len(text) - 200, PROMPTS_PER_SEED)
    prompts = [tokenizer.encode(text[at:at + 80]).ids[:GREEDY_PROMPT_TOKENS] for at in starts]
    return [ids for ids in prompts if tokenizer.encode(tokenizer.decode(ids)).ids == ids]


def find_seed(case, first_seed, tokenizer, text):
    """The first seed with a prompt whose greedy tokens no rounding can turn; of its prompts the
    one with the most distinct tokens."""
    for seed in range(first_seed, first_seed + MAX_SEEDS):
        model, _ = build(case, seed)
        prompts = candidate_prompts(case, tokenizer, text, np.random.default_rng(seed))
        wanted = MIN_DISTINCT - max(0, seed - first_seed - case.patient_seeds)
        found = [(len(set(tokens)), -row, prompt, tokens, gaps) for row, (prompt, tokens, gaps)
                 in enumerate(zip(*greedy(model, prompts, MIN_GAP)))
                 if len(set(tokens)) >= wanted and min(tokens) >= FIRST_PLAIN_ID]
        if found:
            return seed, *max(found, key=lambda choice: choice[:2])[2:]
    sys.exit(f"{case.name}: no seed in {MAX_SEEDS} will do")


def active_fraction(model, prompt):
    seen = []
    hooks = [layer.fc1.register_forward_hook(lambda _, __, out: seen.append((out > 0).float()))
             for layer in model.model.decoder.layers]
    all_logits(model, [prompt])
    for hook in hooks:
        hook.remove()
    return round(float(torch.cat(seen).mean()), 4)


def load_back(folder, model):
    """What transformers reads from the folder, if that is the model; else the model itself."""
    try:
        loaded = transformers.OPTForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager").eval()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        print(f"  transformers does not load it: {error}")
        return model, "in-memory model"
    ours, theirs = model.state_dict(), loaded.state_dict()
    if all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items()):
        return loaded, "checkpoint loaded by transformers"
    return model, "in-memory model"


# --- Cases --------------------------------------------------------------------------------------

def write_eos(case, tokens, folder):
    """generation_config.json whose end-of-sequence id turns up among the greedy tokens. Returns
    the union of its ids and config.json's, and the step that first meets one (None: never)."""
    ids = {BOS_ID}
    if case.eos:
        firsts = {token: tokens.index(token) for token in sorted(set(tokens))}
        stop = max(firsts, key=lambda token: (firsts[token] <= GREEDY_STEPS // 2, firsts[token]))
        ids.add(stop)
        write_json(folder / "generation_config.json", {
            "_from_model_config": True, "bos_token_id": BOS_ID,
            "eos_token_id": stop if case.eos == "number" else [BOS_ID, stop], "pad_token_id": 1})
    steps = [step for step, token in enumerate(tokens) if token in ids]
    return sorted(ids), steps[0] if steps else None


def make_case(case, first_seed, out):
    folder = out / "opt" / case.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = (TALES / "calibration.txt").read_text(encoding="utf-8")[:60000]
    tokenizer = None
    if case.tokenizer:
        tokenizer = golden_tokenizer.train(text, case.shape["vocab_size"])
        golden_tokenizer.save(tokenizer, case.tokenizer, folder)
    seed, greedy_prompt, tokens, gaps = find_seed(case, first_seed, tokenizer, text)
    model, state = build(case, seed)
    if case.save is None:
        model.to(case.dtype).save_pretrained(folder)
        model.float()
    else:
        write_config(case, folder)
        case.save(state, folder)
    eos_ids, stop_step = write_eos(case, tokens, folder)
    prompt = [BOS_ID] + np.random.default_rng(seed + 1).integers(
        FIRST_PLAIN_ID, case.shape["vocab_size"], PROMPT_TOKENS - 1).tolist()
    model, source = load_back(folder, model)
    logits = all_logits(model, [prompt])[0]
    assert np.isfinite(logits).all() and logits.shape == (PROMPT_TOKENS, case.shape["vocab_size"])
    assert greedy(model, [greedy_prompt], MIN_GAP)[1] == [tokens]
    logits.astype("<f4").tofile(folder / "logits.f32")
    record = {"case": case.name, "dtype": type_name(case),
              "prompt": prompt, "logits_shape": list(logits.shape),
              "logits_range": [float(logits.min()), float(logits.max())],
              "greedy_prompt": greedy_prompt, "greedy": tokens,
              "min_relative_gap": round(float(gaps.min()), 5), "eos_token_ids": eos_ids,
              "greedy_stop_step": stop_step, "active_fraction": active_fraction(model, prompt)}
    if tokenizer:
        record.update(greedy_prompt_text=tokenizer.decode(greedy_prompt),
                      greedy_text=tokenizer.decode(tokens),
                      tokenized=golden_tokenizer.encoded_samples(tokenizer))
    record.update(source=source, seed=seed, versions=VERSIONS)
    write_json(folder / "expected.json", record)
    return record


# --- tales-7m -----------------------------------------------------------------------------------

def perplexity(model, tokenizer):
    """See PERPLEXITY_PROTOCOL. Returns perplexity, tokens predicted, tokens in the file."""
    with open(TALES / "held-out.txt", encoding="utf-8", newline="") as file:
        ids = tokenizer.encode(file.read(), add_special_tokens=False).ids
    num_windows = len(ids) // PERPLEXITY_WINDOW
    total = 0.0
    for idx in range(num_windows):
        window = ids[idx * PERPLEXITY_WINDOW:(idx + 1) * PERPLEXITY_WINDOW]
        logits = torch.from_numpy(all_logits(model, [[BOS_ID] + window])[0, :-1])
        total += float(torch.nn.functional.cross_entropy(
            logits.double(), torch.tensor(window), reduction="sum"))
    num_tokens = num_windows * PERPLEXITY_WINDOW
    return float(np.exp(total / num_tokens)), num_tokens, len(ids)


def make_tales(out):
    folder = out / "tales-7m"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizers.Tokenizer.from_file(str(TALES / "tokenizer.json"))
    model = transformers.OPTForCausalLM.from_pretrained(
        TALES, dtype=torch.float32, attn_implementation="eager").eval()
    with open(TALES / "held-out.txt", encoding="utf-8", newline="") as file:
        text = file.read()
    prompt = tokenizer.encode(text[:400]).ids[:PROMPT_TOKENS]
    greedy_prompt = tokenizer.encode("Once upon a time there was a").ids
    logits = all_logits(model, [prompt])[0]
    logits.astype("<f4").tofile(folder / "logits.f32")
    _, (tokens,), gaps = greedy(model, [greedy_prompt], 0)
    near = np.flatnonzero(gaps[0] < MIN_GAP_REAL_MODEL)
    value, num_tokens, num_ids = perplexity(model, tokenizer)
    write_json(folder / "expected.json", {
        "case": "tales-7m", "dtype": "float16 weights, computed in float32",
        "prompt": prompt, "prompt_text": tokenizer.decode(prompt),
        "logits_shape": list(logits.shape),
        "logits_range": [float(logits.min()), float(logits.max())],
        "greedy_prompt": greedy_prompt, "greedy_prompt_text": tokenizer.decode(greedy_prompt),
        "greedy": tokens, "greedy_text": tokenizer.decode(tokens),
        "relative_gaps": [round(float(gap), 5) for gap in gaps[0]],
        "first_near_tie": int(near[0]) if len(near) else None,
        "eos_token_ids": [BOS_ID],
        "greedy_stop_step": tokens.index(BOS_ID) if BOS_ID in tokens else None,
        "active_fraction": active_fraction(model, prompt),
        "perplexity": {"value": value, "tokens": num_tokens, "file_tokens": num_ids,
                       "window_tokens": PERPLEXITY_WINDOW, "text": "held-out.txt",
                       "protocol": PERPLEXITY_PROTOCOL},
        "source": "checkpoint loaded by transformers", "versions": VERSIONS})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--only", action="append", default=[], metavar="NAME")
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    options = parser.parse_args()
    names = [case.name for case in CASES] + ["tales-7m"]
    wanted = options.only or names
    if not options.check:
        check_versions()
        torch.set_num_threads(1)
        torch.set_grad_enabled(False)
        torch.use_deterministic_algorithms(True)
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
    for idx, name in enumerate(names):
        if name not in wanted:
            continue
        folder = options.out / ("tales-7m" if name == "tales-7m" else f"opt/{name}")
        if not options.check and name == "tales-7m":
            make_tales(options.out)
        elif not options.check:
            make_case(CASES[idx], 1000 * (idx + 1), options.out)
        difference = check_case(folder, TALES if name == "tales-7m" else None)
        expected = json.loads((folder / "expected.json").read_text())
        size = sum(path.stat().st_size for path in folder.iterdir()) / 1024
        print(f"{name:26} {size:6.0f} KiB  difference {difference:.1e}  active "
              f"{expected['active_fraction']:.2f}  {expected['source']}", flush=True)


if __name__ == "__main__":
    main()
