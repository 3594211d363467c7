"""Writes one state dict in each of the forms in which OPT checkpoints are published."""
import collections
import json

import torch
from safetensors.torch import save_file

NUM_SHARDS = 3
EMBED = "model.decoder.embed_tokens.weight"
HEAD = "lm_head.weight"


def safetensors_file(state, folder, metadata=True):
    tensors = {name: tensor.contiguous().clone() for name, tensor in state.items()}
    save_file(tensors, folder / "model.safetensors",
              metadata={"format": "pt"} if metadata else None)


def split_in_shards(state):
    """Neighbours stay together, as published: NUM_SHARDS dicts of about the same bytes."""
    total = sum(tensor.nbytes for tensor in state.values())
    shards, done = [dict() for _ in range(NUM_SHARDS)], 0
    for name, tensor in state.items():
        shards[min(done * NUM_SHARDS // total, NUM_SHARDS - 1)][name] = tensor
        done += tensor.nbytes
    return shards, total


def sharded(state, folder, stem, suffix, save):
    shards, total = split_in_shards(state)
    weight_map = {}
    for idx, shard in enumerate(shards):
        file_name = f"{stem}-{idx + 1:05d}-of-{NUM_SHARDS:05d}.{suffix}"
        save(shard, folder / file_name)
        weight_map.update({name: file_name for name in shard})
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index, indent=2) + "\n")


def safetensors_sharded(state, folder):
    sharded(state, folder, "model", "safetensors",
            lambda shard, path: save_file({name: tensor.clone() for name, tensor in shard.items()},
                                          path, metadata={"format": "pt"}))


def bin_sharded(state, folder):
    sharded(state, folder, "pytorch_model", "bin", torch.save)


def module_state(state):
    """As Module.state_dict() returns it: an OrderedDict that carries an attribute `_metadata`."""
    ordered = collections.OrderedDict(state)
    ordered._metadata = collections.OrderedDict({"": {"version": 1}, "model": {"version": 1}})
    return ordered


def bin_zip(state, folder):
    torch.save(module_state(state), folder / "pytorch_model.bin")


def bin_plain_dict(state, folder):
    torch.save(dict(state), folder / "pytorch_model.bin")


def bin_legacy(state, folder):
    torch.save(module_state(state), folder / "pytorch_model.bin",
               _use_new_zipfile_serialization=False)


def bin_parameters(state, folder):
    """dict(model.named_parameters()), saved without detaching."""
    torch.save({name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
               folder / "pytorch_model.bin")


def with_shared_storage(state):
    """Two names for one storage, transposed views, and slices with an offset."""
    state = dict(state)
    state[HEAD] = state[EMBED]
    for name in list(state):
        if name.endswith(".fc1.weight"):
            state[name] = state[name].t().contiguous().t()
    for prefix in {name.split("q_proj")[0] for name in state if "q_proj" in name}:
        for kind in ("weight", "bias"):
            names = [f"{prefix}{part}_proj.{kind}" for part in "qkv"]
            packed = torch.cat([state[name] for name in names])
            state.update(zip(names, packed.chunk(3)))
    positions = "model.decoder.embed_positions.weight"
    wide = torch.cat([torch.zeros_like(state[positions]), state[positions]], dim=1)
    state[positions] = wide[:, state[positions].shape[1]:]  # rows apart, and an offset
    return state


def bin_shared_storage(state, folder):
    bin_zip(with_shared_storage(state), folder)


def bin_shared_storage_legacy(state, folder):
    bin_legacy(with_shared_storage(state), folder)


def renamed(state, old, new):
    return {new + name[len(old):] if name.startswith(old) else name: tensor
            for name, tensor in state.items()}


def names_decoder(state, folder):
    safetensors_file(renamed(state, "model.decoder.", "decoder."), folder)


def names_bare(state, folder):
    safetensors_file(renamed(state, "model.decoder.", ""), folder, metadata=False)


def only_head(state, folder):
    safetensors_file({HEAD if name == EMBED else name: tensor for name, tensor in state.items()},
                     folder)


def both_tied(state, folder):
    safetensors_file({**state, HEAD: state[EMBED]}, folder)


def extras():
    """What other programs leave in checkpoints: no weight of OPT, several no floating point."""
    return {
        "model.decoder.version": torch.tensor([3.0]),
        "model.decoder.position_ids": torch.arange(130),
        "model.decoder.layers.0.self_attn.rotary_emb.inv_freq": 10000.0 ** -(torch.arange(4) / 4),
        "model.decoder.layers.0.self_attn.bias": torch.ones(8, 8).tril().bool(),
        "model.decoder.layers.0.self_attn.masked_bias": torch.tensor(-1e4),
        "model.decoder.layers.1.quant_state": torch.arange(7, dtype=torch.uint8),
        "num_updates": torch.tensor(12, dtype=torch.int32),
        "loss_scale": torch.tensor([0.5], dtype=torch.float64),
        "empty": torch.zeros(0, 4),
    }


def safetensors_extras(state, folder):
    safetensors_file({**extras(), **state}, folder)


def bin_extras(state, folder):
    bin_plain_dict({**extras(), **state}, folder)
