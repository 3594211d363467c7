"""OPT in plain numpy, from a checkpoint folder to logits: the wiring, with nothing hidden.

It shares no code with transformers and reads safetensors files by itself, so that it checks both
the expected logits and the files. float64 throughout: its distance from the expected float32
logits is the rounding of those.
"""
import json
import pathlib

import numpy as np

LAYER_NORM_EPS = 1e-5  # OPT has no field for it: PyTorch's default
POSITION_OFFSET = 2  # row 0 and 1 of the position table are never used

# What a field means when config.json leaves it out.
CONFIG_DEFAULTS = {
    "vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "ffn_dim": 3072,
    "max_position_embeddings": 2048, "num_attention_heads": 12, "do_layer_norm_before": True,
    "_remove_final_layer_norm": False, "word_embed_proj_dim": None, "enable_bias": True,
    "layer_norm_elementwise_affine": True, "tie_word_embeddings": True,
    "activation_function": "relu", "eos_token_id": 2,
}


def read_config(folder):
    config = dict(CONFIG_DEFAULTS)
    stored = json.loads((pathlib.Path(folder) / "config.json").read_text())
    config.update({key: stored[key] for key in CONFIG_DEFAULTS if stored.get(key) is not None})
    config["word_embed_proj_dim"] = config["word_embed_proj_dim"] or config["hidden_size"]
    return config


def read_safetensors(path):
    data = path.read_bytes()
    header_bytes = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + header_bytes])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        raw = data[8 + header_bytes + first:8 + header_bytes + last]
        if entry["dtype"] == "BF16":  # the upper half of an f32
            values = (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4")
        elif entry["dtype"] in ("F16", "F32"):
            values = np.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[entry["dtype"]])
        else:
            continue  # a buffer, no weight
        tensors[name] = values.astype(np.float64).reshape(entry["shape"])
    return tensors


def read_torch_bin(path):
    import torch  # only these forms need it
    stored = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.detach().double().numpy() for name, tensor in stored.items()
            if tensor.is_floating_point()}


def short_name(name):
    """embed_tokens.weight, layers.0.fc1.weight, lm_head.weight, ... whatever the prefix."""
    for prefix in ("model.decoder.", "decoder."):
        if name.startswith(prefix):
            return name[len(prefix):]
    return name


def read_checkpoint(folder):
    folder = pathlib.Path(folder)
    for stem, read in (("model.safetensors", read_safetensors),
                       ("pytorch_model.bin", read_torch_bin)):
        if (folder / stem).exists():
            paths = [folder / stem]
        elif (folder / (stem + ".index.json")).exists():
            index = json.loads((folder / (stem + ".index.json")).read_text())
            paths = [folder / shard for shard in sorted(set(index["weight_map"].values()))]
        else:
            continue
        return {short_name(name): tensor for path in paths for name, tensor in read(path).items()}
    raise FileNotFoundError(f"no weights in {folder.name}")


class OptReference:
    def __init__(self, folder):
        self.config = read_config(folder)
        self.weights = read_checkpoint(folder)

    def linear(self, name, x):
        y = x @ self.weights[name + ".weight"].T  # stored [out, in]
        return y + self.weights[name + ".bias"] if name + ".bias" in self.weights else y

    def layer_norm(self, name, x):
        centred = x - x.mean(-1, keepdims=True)
        y = centred / np.sqrt((centred ** 2).mean(-1, keepdims=True) + LAYER_NORM_EPS)
        if name + ".weight" in self.weights:  # absent: not affine
            y = y * self.weights[name + ".weight"] + self.weights[name + ".bias"]
        return y

    def attention(self, name, x):
        """[tokens, d_model] -> the same; token t sees tokens 0 to t."""
        num_tokens, d_model = x.shape
        num_heads = self.config["num_attention_heads"]
        split = (num_tokens, num_heads, d_model // num_heads)
        q = self.linear(name + ".q_proj", x).reshape(split) * (d_model // num_heads) ** -0.5
        k = self.linear(name + ".k_proj", x).reshape(split)
        v = self.linear(name + ".v_proj", x).reshape(split)
        scores = np.einsum("qhd,khd->hqk", q, k)
        scores += np.triu(np.full((num_tokens, num_tokens), -np.inf), 1)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        return self.linear(name + ".out_proj", np.einsum("hqk,khd->qhd", weights, v)
                           .reshape(num_tokens, d_model))

    def layer(self, idx, h):
        """The layer's `final_layer_norm` is the FFN's norm, not the decoder's last one."""
        name, pre_norm = f"layers.{idx}", self.config["do_layer_norm_before"]
        x = self.layer_norm(name + ".self_attn_layer_norm", h) if pre_norm else h
        h = h + self.attention(name + ".self_attn", x)
        h = h if pre_norm else self.layer_norm(name + ".self_attn_layer_norm", h)
        x = self.layer_norm(name + ".final_layer_norm", h) if pre_norm else h
        h = h + self.linear(name + ".fc2", np.maximum(self.linear(name + ".fc1", x), 0))
        return h if pre_norm else self.layer_norm(name + ".final_layer_norm", h)

    def logits(self, ids):
        """[tokens] -> [tokens, vocab_size]."""
        config, weights = self.config, self.weights
        # Tied weights may be stored under either name.
        embedding = weights.get("embed_tokens.weight", weights.get("lm_head.weight"))
        head = embedding if config["tie_word_embeddings"] else weights["lm_head.weight"]
        projected = config["word_embed_proj_dim"] != config["hidden_size"]
        h = embedding[ids]
        if projected:  # before the positions are added, which are d_model wide; no bias
            h = self.linear("project_in", h)
        h = h + weights["embed_positions.weight"][np.arange(len(ids)) + POSITION_OFFSET]
        for idx in range(config["num_hidden_layers"]):
            h = self.layer(idx, h)
        if config["do_layer_norm_before"] and not config["_remove_final_layer_norm"]:
            h = self.layer_norm("final_layer_norm", h)
        if projected:
            h = self.linear("project_out", h)
        return h @ head.T


def greedy(reference, prompt, num_steps):
    ids = list(prompt)
    for _ in range(num_steps):
        ids.append(int(reference.logits(np.array(ids))[-1].argmax()))
    return ids[len(prompt):]


def check_case(folder, weights_folder=None):
    """Compares a case's files with this implementation; returns the difference over the range."""
    folder = pathlib.Path(folder)
    expected = json.loads((folder / "expected.json").read_text())
    logits = np.fromfile(folder / "logits.f32", "<f4").reshape(expected["logits_shape"])
    reference = OptReference(weights_folder or folder)
    ours = reference.logits(np.array(expected["prompt"]))
    difference = np.abs(ours - logits).max() / (logits.max() - logits.min())
    assert difference <= 1e-4, f"{folder.name}: logits differ by {difference:.2e} of their range"
    steps = expected.get("first_near_tie")  # beyond a near tie either token is right
    steps = len(expected["greedy"]) if steps is None else steps
    assert greedy(reference, expected["greedy_prompt"], steps) == expected["greedy"][:steps], \
        f"{folder.name}: greedy tokens differ"
    return difference
