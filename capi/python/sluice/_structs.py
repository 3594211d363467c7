"""The C structs, member for member, and the callbacks' types. Nothing here is public.

The order of members is the contract; tests/test_layout.py compares it with the C headers.
"""

from __future__ import annotations

import ctypes
import dataclasses
from ctypes import (
    CFUNCTYPE, POINTER, c_char, c_char_p, c_double, c_float, c_int32, c_int64, c_size_t, c_uint32,
    c_uint64, c_void_p,
)
from typing import Any, Dict, Type, TypeVar

# What a callback gets as user_data is a number, never an address: see _callbacks.py.
LogFn = CFUNCTYPE(None, c_int32, c_char_p, c_void_p)
ReadFn = CFUNCTYPE(c_int64, c_uint64, c_void_p, c_size_t, c_void_p)
ReleaseFn = CFUNCTYPE(None, c_void_p)
StageFn = CFUNCTYPE(c_int32, c_char_p, c_double, c_void_p)
ProgressFn = CFUNCTYPE(c_int32, c_uint32, c_uint32, c_void_p)
LogitsFn = CFUNCTYPE(c_int32, c_void_p, c_size_t, c_uint32, c_void_p)
TokenFn = CFUNCTYPE(c_int32, c_int32, c_void_p, c_size_t, c_void_p)
DoneFn = CFUNCTYPE(None, c_int32, c_char_p, c_int32, c_void_p)
DamageFn = CFUNCTYPE(c_int32, c_char_p, c_void_p)


class Sized(ctypes.Structure):
    """A struct that begins with its own size, which is set when it is made."""

    def __init__(self, **members: Any) -> None:
        super().__init__(**members)
        self.struct_size = ctypes.sizeof(self)


class CModelOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("context_tokens", c_uint32), ("dram_budget_bytes", c_uint64),
        ("max_sessions", c_uint32), ("window_tokens", c_uint32), ("mode", c_int32),
        ("engine", c_int32), ("threads", c_uint32), ("queue_depth", c_uint32),
        ("prefill_chunk_tokens", c_uint32), ("skip_verify", c_uint32), ("reserved", c_uint64 * 4),
        ("resident_type", c_int32), ("kv_type", c_int32), ("ffn_only", c_uint32),
        ("disabled", c_uint32), ("device_curve_path", c_char_p),
    ]


class CMemoryPlan(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("fits", c_uint32), ("floor_bytes", c_uint64),
        ("recommended_bytes", c_uint64), ("budget_bytes", c_uint64), ("resident_bytes", c_uint64),
        ("predictor_bytes", c_uint64), ("kv_bytes", c_uint64), ("slot_bytes", c_uint64),
        ("scratch_bytes", c_uint64), ("io_bytes", c_uint64), ("context_tokens", c_uint32),
        ("max_sessions", c_uint32), ("mode", c_int32), ("reserved32", c_uint32),
        ("reserved", c_uint64 * 4),
    ]


class CModelInfo(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("num_layers", c_uint32), ("d_model", c_uint32),
        ("d_ffn", c_uint32), ("num_heads", c_uint32), ("vocab_size", c_uint32),
        ("max_positions", c_uint32), ("has_tokenizer", c_uint32), ("has_predictors", c_uint32),
        ("reserved32", c_uint32), ("file_bytes", c_uint64), ("reserved", c_uint64 * 4),
        ("family", c_char * 16), ("eos_count", c_uint32), ("eos_ids", c_int32 * 7),
    ]


class CStats(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("direct_io", c_uint32), ("tokens", c_uint64),
        ("total_ms_per_token", c_double), ("io_ms_per_token", c_double),
        ("memory_ms_per_token", c_double), ("compute_ms_per_token", c_double),
        ("io_busy_ms_per_token", c_double), ("bytes_per_token", c_double),
        ("reads_per_token", c_double), ("mean_read_bytes", c_double), ("read_gb_per_s", c_double),
        ("hit_rate", c_double), ("active_fraction", c_double), ("predicted_fraction", c_double),
        ("window_tokens", c_double), ("prefill_tokens", c_uint64), ("prefill_ms", c_double),
        ("peak_rss_bytes", c_uint64), ("engine", c_char * 16), ("engine_reason", c_char * 256),
        ("reserved", c_uint64 * 4), ("needed_bytes_per_token", c_double),
        ("gap_bytes_per_token", c_double), ("lookahead_hit_rate", c_double),
        ("lookahead_wasted_bytes_per_token", c_double), ("lookahead", c_char * 32),
        ("window_forced_evictions", c_uint64), ("prefill_bytes", c_uint64),
        ("reused_tokens", c_uint64),
    ]


class CTokenLogprob(ctypes.Structure):
    _fields_ = [("token", c_int32), ("logprob", c_float)]


LogprobsFn = CFUNCTYPE(c_int32, POINTER(CTokenLogprob), POINTER(CTokenLogprob), c_size_t, c_void_p)


class CGenerateOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("max_tokens", c_uint32), ("temperature", c_float),
        ("top_p", c_float), ("min_p", c_float), ("repetition_penalty", c_float),
        ("top_k", c_uint32), ("ignore_eos", c_uint32), ("seed", c_uint64),
        ("stop", POINTER(c_char_p)), ("stop_count", c_size_t), ("no_special_tokens", c_uint32),
        ("reserved32", c_uint32), ("reserved", c_uint64 * 4), ("whole_prompt", c_uint32),
        ("top_logprobs", c_uint32), ("on_logits", LogitsFn), ("on_logprobs", LogprobsFn),
        ("sampling_user_data", c_void_p),
    ]


class CSource(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("kind", c_int32), ("path", c_char_p), ("fd", c_int32),
        ("read_threads", c_uint32), ("offset", c_uint64), ("bytes", c_uint64), ("read", ReadFn),
        ("release", ReleaseFn), ("user_data", c_void_p), ("reserved", c_uint64 * 4),
    ]


class CLayerInfo(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("d_model", c_uint32), ("d_ffn", c_uint32),
        ("element", c_int32), ("neurons_per_record", c_uint32), ("num_records", c_uint32),
        ("num_slots", c_uint32), ("has_predictor", c_uint32), ("has_lookahead", c_uint32),
        ("reserved32", c_uint32), ("up_bias", POINTER(c_float)), ("down_bias", POINTER(c_float)),
        ("reserved", c_uint64 * 4),
    ]


class CBackendStats(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("direct_io", c_uint32), ("tokens", c_uint64),
        ("records_needed", c_uint64), ("records_missing", c_uint64), ("reads", c_uint64),
        ("bytes", c_uint64), ("neurons_predicted", c_uint64), ("neurons_active", c_uint64),
        ("io_ms", c_double), ("total_ms", c_double), ("reserved", c_uint64 * 4),
    ]


class CTrainOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("rank", c_uint32), ("parameter_share", c_double),
        ("seed", c_uint64), ("threads", c_uint32), ("reserved32", c_uint32),
        ("reserved", c_uint64 * 4),
    ]


class CConvertOptions(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("dtype", c_int32), ("calibration_path", c_char_p),
        ("device_curve_path", c_char_p), ("no_placement", c_uint32), ("reserved32", c_uint32),
        ("part_bytes", c_uint64), ("train", POINTER(CTrainOptions)), ("reserved", c_uint64 * 4),
    ]


class CConvertReport(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("has_tokenizer", c_uint32), ("records", c_uint64),
        ("record_bytes", c_uint64), ("bytes", c_uint64), ("seconds", c_double),
        ("peak_rss_bytes", c_uint64), ("num_parts", c_uint32), ("num_layers", c_uint32),
        ("reserved", c_uint64 * 4),
    ]


class CLayerQuality(ctypes.Structure):
    _fields_ = [
        ("layer", c_uint32), ("rank", c_uint32), ("recall", c_double), ("precision", c_double),
        ("active_fraction", c_double), ("predicted_fraction", c_double),
        ("lookahead_recall", c_double), ("lookahead_precision", c_double),
    ]


class CEvaluation(Sized):
    _fields_ = [
        ("struct_size", c_uint32), ("reserved32", c_uint32), ("perplexity", c_double),
        ("tokens", c_uint64), ("recall", c_double), ("precision", c_double),
        ("active_fraction", c_double), ("predicted_fraction", c_double),
        ("reserved", c_uint64 * 4),
    ]


class CDevicePoint(ctypes.Structure):
    _fields_ = [
        ("read_bytes", c_uint64), ("queue_depth", c_uint32), ("reserved32", c_uint32),
        ("gb_per_s", c_double), ("us_per_read", c_double),
    ]


# The C names, for the test that compares layouts.
STRUCTS: Dict[str, Type[ctypes.Structure]] = {
    "sluice_model_options": CModelOptions,
    "sluice_memory_plan": CMemoryPlan,
    "sluice_model_info": CModelInfo,
    "sluice_stats": CStats,
    "sluice_token_logprob": CTokenLogprob,
    "sluice_generate_options": CGenerateOptions,
    "sluice_source": CSource,
    "sluice_layer_info": CLayerInfo,
    "sluice_backend_stats": CBackendStats,
    "sluice_train_options": CTrainOptions,
    "sluice_convert_options": CConvertOptions,
    "sluice_convert_report": CConvertReport,
    "sluice_layer_quality": CLayerQuality,
    "sluice_evaluation": CEvaluation,
    "sluice_device_point": CDevicePoint,
}

MODES = {"auto": 0, "sparse": 1, "dense": 2}
ENGINES = {"auto": 0, "uring": 1, "pread": 2}
RESIDENT_TYPES = {"auto": 0, "q8": 1}
KV_TYPES = {"f32": 0, "f16": 1}
DISABLE = {"window": 1, "bundles": 2, "join": 4, "overlap": 8, "lookahead": 16, "resident": 32}
DTYPES = {"auto": 0, "f32": 1, "f16": 2, "bf16": 3}
FINISH_REASONS = ("stop", "length", "cancelled")
SOURCE_PATH, SOURCE_FD, SOURCE_READER = 0, 1, 2
ELEMENTS = ("f32", "f16", "bf16")

T = TypeVar("T")


def to_dataclass(kind: Type[T], struct: ctypes.Structure, **others: Any) -> T:
    """`kind`, its fields from the members of the same name; `others` come first.

    Flags become bool where the dataclass says so, and texts str.
    """
    values: Dict[str, Any] = dict(others)
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in values:
            continue
        value = getattr(struct, field.name)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        values[field.name] = bool(value) if field.type in ("bool", bool) else value
    return kind(**values)
