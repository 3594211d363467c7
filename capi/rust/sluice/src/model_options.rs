//! How a model is opened.
use crate::error::Result;
use crate::text::{c_path_or_null, pointer, struct_size};
use sluice_sys as sys;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// Which neurons are computed.
#[non_exhaustive]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Sparse where the file has predictors.
    Auto = sys::SLUICE_MODE_AUTO as i32,
    /// Those that the predictors choose.
    Sparse = sys::SLUICE_MODE_SPARSE as i32,
    /// All.
    Dense = sys::SLUICE_MODE_DENSE as i32,
}

/// What reads the storage.
#[non_exhaustive]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring where it works.
    Auto = sys::SLUICE_ENGINE_AUTO as i32,
    /// io_uring.
    Uring = sys::SLUICE_ENGINE_URING as i32,
    /// Threads that call pread.
    Pread = sys::SLUICE_ENGINE_PREAD as i32,
}

/// How attention weights and embeddings are kept.
#[non_exhaustive]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResidentType {
    /// As in the file.
    Auto = sys::SLUICE_RESIDENT_AUTO as i32,
    /// Rounded to 8 bits at open: half of f16's memory; results differ.
    Q8 = sys::SLUICE_RESIDENT_Q8 as i32,
}

/// How keys and values of past tokens are kept.
#[non_exhaustive]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// 32 bits.
    F32 = sys::SLUICE_KV_F32 as i32,
    /// 16 bits: half the memory; results differ.
    F16 = sys::SLUICE_KV_F16 as i32,
}

/// Single techniques that can be switched off, to measure what each gains. No result depends on
/// them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disabled(u32);

impl Disabled {
    /// The neuron window.
    pub const WINDOW: Disabled = Disabled(sys::SLUICE_DISABLE_WINDOW);
    /// Up rows and down columns side by side.
    pub const BUNDLES: Disabled = Disabled(sys::SLUICE_DISABLE_BUNDLES);
    /// Reads of adjacent records as one.
    pub const JOIN: Disabled = Disabled(sys::SLUICE_DISABLE_JOIN);
    /// Computing while reads are in flight.
    pub const OVERLAP: Disabled = Disabled(sys::SLUICE_DISABLE_OVERLAP);
    /// Reading the next layer's neurons early.
    pub const LOOKAHEAD: Disabled = Disabled(sys::SLUICE_DISABLE_LOOKAHEAD);
    /// Keeping anything in memory between tokens.
    pub const RESIDENT: Disabled = Disabled(sys::SLUICE_DISABLE_RESIDENT);
}

impl std::ops::BitOr for Disabled {
    type Output = Disabled;
    fn bitor(self, other: Disabled) -> Disabled {
        Disabled(self.0 | other.0)
    }
}

impl Mode {
    pub(crate) fn of(number: i32) -> Mode {
        match number as u32 {
            sys::SLUICE_MODE_SPARSE => Mode::Sparse,
            sys::SLUICE_MODE_DENSE => Mode::Dense,
            _ => Mode::Auto,
        }
    }
}

/// How a model is opened. What is not set has its default, which is also what 0 means.
///
/// ```
/// use sluice::{Mode, ModelOptions};
/// let options = ModelOptions::new().dram_budget_bytes(1 << 30).context_tokens(512).mode(Mode::Sparse);
/// ```
#[derive(Clone, Debug)]
pub struct ModelOptions {
    context_tokens: u32,
    dram_budget_bytes: u64,
    max_sessions: u32,
    window_tokens: u32,
    mode: Mode,
    engine: Engine,
    threads: u32,
    queue_depth: u32,
    prefill_chunk_tokens: u32,
    verify: bool,
    resident_type: ResidentType,
    kv_type: KvType,
    ffn_only: bool,
    disabled: Disabled,
    device_curve_path: Option<PathBuf>,
}

impl Default for ModelOptions {
    fn default() -> ModelOptions {
        ModelOptions {
            context_tokens: 0,
            dram_budget_bytes: 0,
            max_sessions: 0,
            window_tokens: 0,
            mode: Mode::Auto,
            engine: Engine::Auto,
            threads: 0,
            queue_depth: 0,
            prefill_chunk_tokens: 0,
            verify: true,
            resident_type: ResidentType::Auto,
            kv_type: KvType::F32,
            ffn_only: false,
            disabled: Disabled::default(),
            device_curve_path: None,
        }
    }
}

impl ModelOptions {
    /// All defaults.
    pub fn new() -> ModelOptions {
        ModelOptions::default()
    }

    /// Tokens that a session holds. Default: the model's limit, at most 2048.
    pub fn context_tokens(mut self, tokens: u32) -> ModelOptions {
        self.context_tokens = tokens;
        self
    }

    /// Everything in memory. Default: what is free, less a margin.
    pub fn dram_budget_bytes(mut self, bytes: u64) -> ModelOptions {
        self.dram_budget_bytes = bytes;
        self
    }

    /// Sessions (and backends) at one time. Default: 1.
    pub fn max_sessions(mut self, sessions: u32) -> ModelOptions {
        self.max_sessions = sessions;
        self
    }

    /// Tokens whose neurons stay in memory. Default: as many as there is room for.
    pub fn window_tokens(mut self, tokens: u32) -> ModelOptions {
        self.window_tokens = tokens;
        self
    }

    /// Which neurons are computed.
    pub fn mode(mut self, mode: Mode) -> ModelOptions {
        self.mode = mode;
        self
    }

    /// What reads the storage.
    pub fn engine(mut self, engine: Engine) -> ModelOptions {
        self.engine = engine;
        self
    }

    /// Threads that compute. Default: by affinity mask and CPU quota.
    pub fn threads(mut self, threads: u32) -> ModelOptions {
        self.threads = threads;
        self
    }

    /// Reads in flight, at most 4096. Default: 128.
    pub fn queue_depth(mut self, reads: u32) -> ModelOptions {
        self.queue_depth = reads;
        self
    }

    /// Tokens of a prompt that go through the layers together. Default: 32.
    pub fn prefill_chunk_tokens(mut self, tokens: u32) -> ModelOptions {
        self.prefill_chunk_tokens = tokens;
        self
    }

    /// Whether the checksums of what is read are checked. Default: yes.
    pub fn verify(mut self, verify: bool) -> ModelOptions {
        self.verify = verify;
        self
    }

    /// How attention weights and embeddings are kept.
    pub fn resident_type(mut self, resident_type: ResidentType) -> ModelOptions {
        self.resident_type = resident_type;
        self
    }

    /// How keys and values of past tokens are kept.
    pub fn kv_type(mut self, kv_type: KvType) -> ModelOptions {
        self.kv_type = kv_type;
        self
    }

    /// Keeps only what a [`Backend`](crate::Backend) needs in memory.
    pub fn ffn_only(mut self, ffn_only: bool) -> ModelOptions {
        self.ffn_only = ffn_only;
        self
    }

    /// Techniques to do without, for measurements.
    pub fn disabled(mut self, disabled: Disabled) -> ModelOptions {
        self.disabled = disabled;
        self
    }

    /// What reads cost here, as [`device_measure`](crate::device_measure) saved it. Default: a
    /// generic device.
    pub fn device_curve_path(mut self, path: impl AsRef<Path>) -> ModelOptions {
        self.device_curve_path = Some(path.as_ref().to_path_buf());
        self
    }

    pub(crate) fn lower(&self) -> Result<LoweredModelOptions> {
        let device_curve_path = c_path_or_null(self.device_curve_path.as_deref())?;
        let raw = sys::sluice_model_options {
            struct_size: struct_size::<sys::sluice_model_options>(),
            context_tokens: self.context_tokens,
            dram_budget_bytes: self.dram_budget_bytes,
            max_sessions: self.max_sessions,
            window_tokens: self.window_tokens,
            mode: self.mode as i32,
            engine: self.engine as i32,
            threads: self.threads,
            queue_depth: self.queue_depth,
            prefill_chunk_tokens: self.prefill_chunk_tokens,
            skip_verify: u32::from(!self.verify),
            resident_type: self.resident_type as i32,
            kv_type: self.kv_type as i32,
            ffn_only: u32::from(self.ffn_only),
            disabled: self.disabled.0,
            device_curve_path: pointer(&device_curve_path),
            ..Default::default()
        };
        Ok(LoweredModelOptions { raw, _device_curve_path: device_curve_path })
    }
}

/// The C struct, and what it points to.
pub(crate) struct LoweredModelOptions {
    raw: sys::sluice_model_options,
    _device_curve_path: Option<CString>,
}

impl LoweredModelOptions {
    pub(crate) fn as_ptr(&self) -> *const sys::sluice_model_options {
        &self.raw
    }
}
