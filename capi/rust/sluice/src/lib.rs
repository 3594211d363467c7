//! Runs language models larger than the memory they are given.
//!
//! Attention weights stay in memory; feed-forward weights stay on flash storage, and only the
//! neurons that the next token needs are read. A memory budget is a promise, and the tokens never
//! depend on it.
//!
//! ```
//! use sluice::{GenerateOptions, Model, ModelOptions};
//!
//! # fn main() -> Result<(), sluice::Error> {
//! # let path = match std::env::var("SLUICE_TEST_MODEL") { Ok(p) => p, Err(_) => return Ok(()) };
//! let model = Model::open(path, &ModelOptions::new().dram_budget_bytes(64 << 20))?;
//! let mut session = model.session()?;
//! for token in session.generate_iter("The old woman", &GenerateOptions::new().max_tokens(8))? {
//!     print!("{}", token?.text);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Threads
//!
//! A [`Model`] may be shared by threads. A [`Session`] and a [`Backend`] may be moved between
//! threads and are used by one at a time. A [`CancelHandle`] stops either from anywhere.
//!
//! # Callbacks
//!
//! What they return decides whether the call goes on: nothing, or [`ControlFlow::Continue`], goes
//! on, and [`ControlFlow::Break`] stops ([`Flow`]). A panic in a callback stops the call too; it is
//! resumed when the library has returned, on the thread that made the call.
//!
//! [`ControlFlow::Continue`]: std::ops::ControlFlow::Continue
//! [`ControlFlow::Break`]: std::ops::ControlFlow::Break
#![deny(unsafe_op_in_unsafe_fn, missing_docs)]
#![warn(rust_2018_idioms)]

mod backend;
mod callback;
mod cancel;
mod convert;
mod error;
mod generate;
mod generate_options;
mod log;
mod measure;
mod model;
mod model_options;
mod session;
mod source;
mod stats;
mod text;
mod tokens;

pub use backend::{Backend, BackendStats, LayerInfo, Row, Rows};
pub use callback::Flow;
pub use cancel::CancelHandle;
pub use convert::{
    convert, train, ConvertOptions, ConvertReport, Dtype, LayerQuality, TrainOptions,
};
pub use error::{Error, ErrorCode, Result};
pub use generate::{FinishReason, Prompt, Token, TokenLogprob};
pub use generate_options::GenerateOptions;
pub use log::{clear_log, set_log, LogLevel};
pub use measure::{
    device_measure, evaluate, inspect, verify, DevicePoint, EvaluateOptions, Evaluation,
};
pub use model::{Model, ModelInfo, Plan};
pub use model_options::{Disabled, Engine, KvType, Mode, ModelOptions, ResidentType};
pub use session::Session;
pub use source::{ReadAt, Source};
pub use stats::Stats;
pub use tokens::Tokens;

/// The version of the library that is running, as "0.1.0".
pub fn version() -> &'static str {
    // SAFETY: takes nothing; returns a static string.
    let version = unsafe { std::ffi::CStr::from_ptr(sluice_sys::sluice_version()) };
    version.to_str().unwrap_or("")
}

/// The ABI number of the library that is running.
pub fn abi() -> u32 {
    // SAFETY: takes nothing and touches no memory of ours.
    unsafe { sluice_sys::sluice_abi() }
}

/// The guide for newcomers: its programs are compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/rust.md")]
struct Guide;
