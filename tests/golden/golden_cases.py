"""The table of cases: which shape of OPT, in which element type, published in which form."""
import dataclasses

import torch

import checkpoint_forms as forms

F32, F16, BF16 = torch.float32, torch.float16, torch.bfloat16

# d_ffn 100 fills no whole number of 16-lane vectors, 97 not even of pairs; 36 wide heads of 9
# leave a tail in every dot product.
SMALL = {"vocab_size": 320, "hidden_size": 32, "num_hidden_layers": 2, "ffn_dim": 96}
UNEVEN = {"vocab_size": 301, "hidden_size": 48, "num_hidden_layers": 2, "ffn_dim": 100}
ODD = {"vocab_size": 307, "hidden_size": 36, "num_hidden_layers": 2, "ffn_dim": 97}
LARGER = {"vocab_size": 384, "hidden_size": 64, "num_hidden_layers": 3, "ffn_dim": 200}


@dataclasses.dataclass(frozen=True)
class Case:
    name: str
    save: object  # (state, folder) -> None; None: transformers' own save_pretrained
    dtype: torch.dtype = F32
    shape: dict = dataclasses.field(default_factory=lambda: SMALL)
    fields: dict = dataclasses.field(default_factory=dict)  # of config.json, beyond the shape
    config: str = "v5"  # which generation of config.json: v5, v4 or bare
    tokenizer: str = ""  # "", "vocab-merges" or "json"
    eos: str = ""  # generation_config.json: "", "number" or "list"
    patient_seeds: int = 40  # seeds tried before fewer distinct greedy tokens will do


CASES = [
    Case("st-f32", forms.safetensors_file),
    Case("st-f16", forms.safetensors_file, F16, LARGER),
    Case("st-bf16", forms.safetensors_file, BF16, UNEVEN),
    Case("st-sharded", forms.safetensors_sharded, F16, ODD),
    Case("bin-f32", forms.bin_zip, config="v4"),
    Case("bin-f16", forms.bin_plain_dict, F16, UNEVEN, config="v4"),
    Case("bin-legacy", forms.bin_legacy, F16, config="v4"),
    Case("bin-sharded", forms.bin_sharded, BF16, config="v4"),
    Case("bin-parameters", forms.bin_parameters, F16, config="v4"),
    Case("bin-extra-tensors", forms.bin_extras, F16, config="v4"),
    Case("bin-shared-storage", forms.bin_shared_storage, F32, config="v4"),
    Case("bin-shared-storage-legacy", forms.bin_shared_storage_legacy, F16, ODD, config="v4"),
    Case("untied", forms.safetensors_file, fields={"tie_word_embeddings": False}),
    Case("tied-both", forms.both_tied, F16),
    Case("tied-only-lm-head", forms.only_head, F16),
    Case("tied-only-embed", forms.safetensors_file, F16, fields={"tie_word_embeddings": True}),
    Case("names-decoder", forms.names_decoder, F16),
    Case("names-bare", forms.names_bare, F16),
    Case("extra-tensors", forms.safetensors_extras, F16),
    Case("opt-350m-shape", forms.safetensors_file,
         fields={"do_layer_norm_before": False, "word_embed_proj_dim": 20}),
    Case("post-norm", forms.safetensors_file, F16, UNEVEN, {"do_layer_norm_before": False}),
    Case("pre-norm-projected", forms.safetensors_file, fields={"word_embed_proj_dim": 40}),
    Case("no-final-norm", forms.safetensors_file, F16,
         fields={"_remove_final_layer_norm": True}, patient_seeds=2),
    Case("no-bias", forms.safetensors_file, F16, ODD, {"enable_bias": False}),
    Case("no-affine", forms.safetensors_file, F16, ODD,
         {"layer_norm_elementwise_affine": False}, patient_seeds=2),
    Case("no-bias-no-affine", forms.safetensors_file, F32, ODD,
         {"enable_bias": False, "layer_norm_elementwise_affine": False}, patient_seeds=2),
    Case("config-v5", None, F16),
    Case("config-v4", forms.bin_zip, F16, config="v4"),
    Case("config-bare", forms.bin_zip, F16, config="bare"),
    Case("tokenizer-vocab-merges", forms.bin_zip, F16, config="v4", tokenizer="vocab-merges",
         eos="number"),
    Case("tokenizer-json", forms.safetensors_file, F16, tokenizer="json", eos="list"),
]
