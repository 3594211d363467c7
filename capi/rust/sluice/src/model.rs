//! Models: what opening takes, opening, and what they are.
use crate::backend::Backend;
use crate::callback::{on_stage, Callback, Flow, ReaderPanic};
use crate::error::{check, Error, ErrorCode, Result};
use crate::model_options::{Mode, ModelOptions};
use crate::session::Session;
use crate::source::Source;
use crate::text::{filled_text, struct_size, text_in};
use sluice_sys as sys;
use std::ptr::{self, NonNull};

/// What a budget buys: the memory plan of a model with given options.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Whether the budget is at or above the floor.
    pub fits: bool,
    /// The least budget that the options can be opened with.
    pub floor_bytes: u64,
    /// Holds what a window of 5 tokens needs.
    pub recommended_bytes: u64,
    /// The budget that was planned for.
    pub budget_bytes: u64,
    /// Weights that stay in memory.
    pub resident_bytes: u64,
    /// Predictors.
    pub predictor_bytes: u64,
    /// KV caches of all sessions.
    pub kv_bytes: u64,
    /// Neuron slots.
    pub slot_bytes: u64,
    /// Activations and bookkeeping.
    pub scratch_bytes: u64,
    /// Rings and their buffers.
    pub io_bytes: u64,
    /// Tokens that a session holds.
    pub context_tokens: u32,
    /// Sessions at one time.
    pub max_sessions: u32,
    /// What [`Mode::Auto`] comes to.
    pub mode: Mode,
}

impl Plan {
    fn of(raw: &sys::sluice_memory_plan) -> Plan {
        Plan {
            fits: raw.fits != 0,
            floor_bytes: raw.floor_bytes,
            recommended_bytes: raw.recommended_bytes,
            budget_bytes: raw.budget_bytes,
            resident_bytes: raw.resident_bytes,
            predictor_bytes: raw.predictor_bytes,
            kv_bytes: raw.kv_bytes,
            slot_bytes: raw.slot_bytes,
            scratch_bytes: raw.scratch_bytes,
            io_bytes: raw.io_bytes,
            context_tokens: raw.context_tokens,
            max_sessions: raw.max_sessions,
            mode: Mode::of(raw.mode),
        }
    }
}

/// What a model is.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelInfo {
    /// "opt", for example.
    pub family: String,
    /// Decoder layers.
    pub num_layers: u32,
    /// Width of the residual stream.
    pub d_model: u32,
    /// Neurons of one layer.
    pub d_ffn: u32,
    /// Attention heads.
    pub num_heads: u32,
    /// Token ids are below this; logits are as many.
    pub vocab_size: u32,
    /// The longest context that the model knows.
    pub max_positions: u32,
    /// Whether text can be given and got.
    pub has_tokenizer: bool,
    /// Whether neurons can be predicted.
    pub has_predictors: bool,
    /// Of the bundle file, all parts together.
    pub file_bytes: u64,
    /// End-of-sequence ids, at most the first 7.
    pub eos_ids: Vec<i32>,
}

impl ModelInfo {
    fn of(raw: &sys::sluice_model_info) -> ModelInfo {
        let eos_count = (raw.eos_count as usize).min(raw.eos_ids.len());
        ModelInfo {
            family: text_in(&raw.family),
            num_layers: raw.num_layers,
            d_model: raw.d_model,
            d_ffn: raw.d_ffn,
            num_heads: raw.num_heads,
            vocab_size: raw.vocab_size,
            max_positions: raw.max_positions,
            has_tokenizer: raw.has_tokenizer != 0,
            has_predictors: raw.has_predictors != 0,
            file_bytes: raw.file_bytes,
            eos_ids: raw.eos_ids[..eos_count].to_vec(),
        }
    }
}

fn empty_plan() -> sys::sluice_memory_plan {
    sys::sluice_memory_plan {
        struct_size: struct_size::<sys::sluice_memory_plan>(),
        ..Default::default()
    }
}

/// An open model. May be shared by threads; sessions and backends keep what they need of it when it
/// is dropped.
#[derive(Debug)]
pub struct Model {
    handle: NonNull<sys::sluice_model>,
    vocab_size: usize,
    reader_panic: ReaderPanic,
}

// SAFETY: the handle is a number; every sluice_model_ function may be called from any thread.
unsafe impl Send for Model {}
// SAFETY: as above, any number of them at once on one model.
unsafe impl Sync for Model {}

impl Drop for Model {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and this is the last use of it.
        unsafe { sys::sluice_model_close(self.handle.as_ptr()) }
    }
}

impl Model {
    /// What opening would take; reads no weights. A budget below the floor is no error: see
    /// [`Plan::fits`].
    pub fn plan_for(source: impl Into<Source>, options: &ModelOptions) -> Result<Plan> {
        let options = options.lower()?;
        let source = source.into().lower()?;
        let panic = source.panic.clone();
        let mut plan = empty_plan();
        // SAFETY: all three are valid for the call, which borrows them; a reader is used during the
        // call only.
        let status =
            unsafe { sys::sluice_source_plan(source.as_ptr(), options.as_ptr(), &mut plan) };
        let result = check(status);
        source.take_back();
        panic.resume(result)?;
        Ok(Plan::of(&plan))
    }

    /// Allocates and reads everything that `options` plan for.
    ///
    /// [`ErrorCode::OutOfMemory`]: the budget is below the floor (the message names both), or
    /// there is no memory.
    pub fn open(source: impl Into<Source>, options: &ModelOptions) -> Result<Model> {
        Model::open_with_progress(source, options, |_, _| ())
    }

    /// The same, and tells `progress` what is being done and the share of it that is done, 0 to 1.
    pub fn open_with_progress<F, R>(
        source: impl Into<Source>,
        options: &ModelOptions,
        progress: F,
    ) -> Result<Model>
    where
        F: FnMut(&str, f64) -> R,
        R: Flow,
    {
        let options = options.lower()?;
        let mut callback = Callback::new(progress);
        let mut handle = ptr::null_mut();
        let source = source.into().lower()?;
        // SAFETY: source, options and callback are valid for the call; what a reader points to is
        // the library's from here on.
        let status = unsafe {
            sys::sluice_source_open(
                source.as_ptr(),
                options.as_ptr(),
                &mut handle,
                Some(on_stage::<F, R>),
                callback.user_data(),
            )
        };
        // First: a panic that is resumed below must not leak the model.
        let reader_panic = source.panic.clone();
        let owner =
            NonNull::new(handle).map(|handle| Model { handle, vocab_size: 0, reader_panic });
        source.panic.resume(callback.finish(status))?;
        let mut model =
            owner.ok_or_else(|| Error::new(ErrorCode::Internal, "opening gave no handle"))?;
        model.vocab_size = model.info()?.vocab_size as usize;
        Ok(model)
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::sluice_model {
        self.handle.as_ptr()
    }

    pub(crate) fn reader_panic(&self) -> &ReaderPanic {
        &self.reader_panic
    }

    /// What the model is.
    pub fn info(&self) -> Result<ModelInfo> {
        let mut info = sys::sluice_model_info {
            struct_size: struct_size::<sys::sluice_model_info>(),
            ..Default::default()
        };
        // SAFETY: the handle is open, and `info` states its size.
        check(unsafe { sys::sluice_model_info_copy(self.handle.as_ptr(), &mut info) })?;
        Ok(ModelInfo::of(&info))
    }

    /// The plan that it was opened with.
    pub fn plan(&self) -> Result<Plan> {
        let mut plan = empty_plan();
        // SAFETY: the handle is open, and `plan` states its size.
        check(unsafe { sys::sluice_model_plan_copy(self.handle.as_ptr(), &mut plan) })?;
        Ok(Plan::of(&plan))
    }

    /// Token ids of text. Special tokens spelled in it are ordinary text; `add_special` puts the
    /// tokenizer's own around it. [`ErrorCode::BadState`]: the file has no tokenizer.
    pub fn tokenize(&self, text: &str, add_special: bool) -> Result<Vec<i32>> {
        // Seldom more tokens than bytes and a few; the second round has room for certain.
        let mut tokens = vec![0; text.len() + 8];
        loop {
            let mut count = 0;
            // SAFETY: `text` and `tokens` are as long as is said; the handle is open.
            let status = unsafe {
                sys::sluice_model_tokenize(
                    self.handle.as_ptr(),
                    text.as_ptr().cast(),
                    text.len(),
                    i32::from(add_special),
                    tokens.as_mut_ptr(),
                    tokens.len(),
                    &mut count,
                )
            };
            if count > tokens.len() {
                tokens.resize(count, 0);
                continue;
            }
            check(status)?;
            tokens.truncate(count);
            return Ok(tokens);
        }
    }

    /// Text of token ids.
    pub fn detokenize(&self, tokens: &[i32]) -> Result<String> {
        filled_text(8 * tokens.len() + 64, |text, room, bytes| {
            // SAFETY: `tokens` and `text` are as long as is said; the handle is open.
            unsafe {
                sys::sluice_model_detokenize(
                    self.handle.as_ptr(),
                    tokens.as_ptr(),
                    tokens.len(),
                    text,
                    room,
                    bytes,
                )
            }
        })
    }

    /// A session at position 0. [`ErrorCode::BadState`]: all `max_sessions` are taken.
    pub fn session(&self) -> Result<Session> {
        let mut handle = ptr::null_mut();
        // SAFETY: the handle is open; the result goes into a variable of ours.
        check(unsafe { sys::sluice_session_create(self.handle.as_ptr(), &mut handle) })?;
        Session::of(handle, self.vocab_size, self.reader_panic.clone())
    }

    /// The feed-forward layers alone. Takes one of `max_sessions`.
    pub fn backend(&self) -> Result<Backend> {
        Backend::create(self)
    }
}
