"""Hugging Face's OPT with its feed-forward layers streamed by Sluice.

    model = SluiceOPT.from_pretrained("opt-6.7b", sluice.Model("opt-6.7b.flash", ffn_only=True))

Attention, embeddings, norms and generation are those of transformers; fc1 and fc2 are never built
nor read: the module in their place asks Sluice, which keeps to its own memory budget.
"""

from __future__ import annotations

import threading
from typing import Any

import sluice
import torch
from torch import nn
from transformers import OPTConfig, OPTForCausalLM


class SluiceFfn(nn.Module):
    """One feed-forward layer, fc1 to fc2 with the activation between, in float32 on the CPU.

    For inference: no gradient passes through it. Threads of one backend take turns.
    """

    def __init__(self, backend: sluice.Backend, layer: int, lock: threading.Lock) -> None:
        super().__init__()
        self._backend, self._layer, self._lock = backend, layer, lock

    @torch.no_grad()
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        x = hidden.detach().to("cpu", torch.float32).contiguous()
        y = torch.empty_like(x)
        with self._lock:
            self._backend.forward(self._layer, x.numpy(), out=y.numpy())
        return y.to(hidden.device, hidden.dtype)


class SluiceOPT(OPTForCausalLM):
    """OPTForCausalLM without feed-forward weights. from_pretrained() takes the model, opened with
    ffn_only, behind the checkpoint."""

    # They are in the checkpoint and in nobody's memory: without a place to go, they are not read.
    _keys_to_ignore_on_load_unexpected = [r"\.fc1\.", r"\.fc2\."]

    def __init__(self, config: OPTConfig, ffn: sluice.Model, **kwargs: Any) -> None:
        # Without storage; from_pretrained() gives it to the parameters that it finds in the file.
        with torch.device("meta"):
            super().__init__(config, **kwargs)
        info = ffn.info
        shape = (info.num_layers, info.d_model, info.d_ffn)
        expected = (config.num_hidden_layers, config.hidden_size, config.ffn_dim)
        if shape != expected:
            raise ValueError(f"the bundle file is of another model: {shape}, not {expected}")
        self.ffn_backend = ffn.backend()
        lock = threading.Lock()
        for index, layer in enumerate(self.model.decoder.layers):
            layer.fc1 = SluiceFfn(self.ffn_backend, index, lock)
            layer.activation_fn = nn.Identity()
            layer.fc2 = nn.Identity()


def parameter_bytes(model: nn.Module) -> int:
    """What torch holds, a tied parameter counted once."""
    return sum(p.numel() * p.element_size() for p in model.parameters())
