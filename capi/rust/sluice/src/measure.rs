//! Looking into bundle files, and measuring models and devices.
use crate::callback::{on_stage, run_with_text, Callback, Flow};
use crate::error::Result;
use crate::model::Model;
use crate::text::{c_path, c_path_or_null, filled_text, pointer, struct_size};
use sluice_sys as sys;
use std::os::raw::{c_char, c_void};
use std::path::Path;

/// What is in a bundle file, as one JSON object.
pub fn inspect(path: impl AsRef<Path>) -> Result<String> {
    let path = c_path(path.as_ref())?;
    filled_text(64 << 10, |json, room, bytes| {
        // SAFETY: the path is valid for the call, and `json` as long as is said.
        unsafe { sys::sluice_inspect(path.as_ptr(), json, room, bytes) }
    })
}

/// Checks every checksum of a bundle file; how many records there were.
/// [`ErrorCode::Corrupt`](crate::ErrorCode::Corrupt): it is damaged; `on_damage` got a line for
/// each damaged place.
pub fn verify<D, E, F, R>(path: impl AsRef<Path>, on_damage: D, progress: F) -> Result<u64>
where
    D: FnMut(&str) -> E,
    E: Flow,
    F: FnMut(&str, f64) -> R,
    R: Flow,
{
    let path = c_path(path.as_ref())?;
    let mut records = 0;
    let mut callback = Callback::new((on_damage, progress));
    // SAFETY: all of them are valid for the call; both callbacks expect this pair.
    let status = unsafe {
        sys::sluice_verify(
            path.as_ptr(),
            &mut records,
            Some(on_damage_line::<D, E, F>),
            Some(on_verify_stage::<D, F, R>),
            callback.user_data(),
        )
    };
    callback.finish(status)?;
    Ok(records)
}

/// A sluice_damage_fn.
///
/// # Safety
/// `user_data` comes from a live `Callback<(D, F)>` that nothing else uses meanwhile; `line` is
/// NULL or NUL-terminated.
unsafe extern "C" fn on_damage_line<D, E, F>(line: *const c_char, user_data: *mut c_void) -> i32
where
    D: FnMut(&str) -> E,
    E: Flow,
{
    let body = |(on_damage, _): &mut (D, F), line: &str| on_damage(line).stops();
    // SAFETY: by this function's contract.
    unsafe { run_with_text(user_data, line, body) }
}

/// A sluice_stage_fn.
///
/// # Safety
/// As for on_damage_line().
unsafe extern "C" fn on_verify_stage<D, F, R>(
    stage: *const c_char,
    done: f64,
    user_data: *mut c_void,
) -> i32
where
    F: FnMut(&str, f64) -> R,
    R: Flow,
{
    let body = |(_, progress): &mut (D, F), stage: &str| progress(stage, done).stops();
    // SAFETY: by this function's contract.
    unsafe { run_with_text(user_data, stage, body) }
}

/// How much of a text is evaluated. What is not set has its default.
#[derive(Clone, Debug, Default)]
pub struct EvaluateOptions {
    window_tokens: u32,
    max_tokens: u64,
}

impl EvaluateOptions {
    /// All defaults.
    pub fn new() -> EvaluateOptions {
        EvaluateOptions::default()
    }

    /// The text is cut into pieces of so many. Default: 256, or what the context holds.
    pub fn window_tokens(mut self, tokens: u32) -> EvaluateOptions {
        self.window_tokens = tokens;
        self
    }

    /// Stops after so many. Default: all.
    pub fn max_tokens(mut self, tokens: u64) -> EvaluateOptions {
        self.max_tokens = tokens;
        self
    }
}

/// How well a model foretells a text, and its predictors its neurons.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// exp of the mean negative log-likelihood per token.
    pub perplexity: f64,
    /// Tokens that were predicted.
    pub tokens: u64,
    /// Truly active neurons that were predicted; a mean over layers and tokens, as all below.
    pub recall: f64,
    /// Predicted neurons that were truly active.
    pub precision: f64,
    /// Truly active neurons.
    pub active_fraction: f64,
    /// Predicted neurons.
    pub predicted_fraction: f64,
}

/// Perplexity of a text. Takes one session of the model.
pub fn evaluate<F, R>(
    model: &Model,
    text: &str,
    options: &EvaluateOptions,
    progress: F,
) -> Result<Evaluation>
where
    F: FnMut(&str, f64) -> R,
    R: Flow,
{
    let mut raw = sys::sluice_evaluation {
        struct_size: struct_size::<sys::sluice_evaluation>(),
        ..Default::default()
    };
    let mut callback = Callback::new(progress);
    // SAFETY: the model is open; text, result and callback are valid for the call.
    let status = unsafe {
        sys::sluice_evaluate(
            model.as_ptr(),
            text.as_ptr().cast(),
            text.len(),
            options.window_tokens,
            options.max_tokens,
            &mut raw,
            Some(on_stage::<F, R>),
            callback.user_data(),
        )
    };
    model.reader_panic().resume(callback.finish(status))?;
    Ok(Evaluation {
        perplexity: raw.perplexity,
        tokens: raw.tokens,
        recall: raw.recall,
        precision: raw.precision,
        active_fraction: raw.active_fraction,
        predicted_fraction: raw.predicted_fraction,
    })
}

/// What reads of one size cost at one queue depth.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct DevicePoint {
    /// Of one read.
    pub read_bytes: u64,
    /// Reads in flight.
    pub queue_depth: u32,
    /// 1e9 bytes.
    pub gb_per_s: f64,
    /// Elapsed time over reads.
    pub us_per_read: f64,
}

/// Measures what reads cost on the storage that `path`, a file or folder, lies on, for `seconds`
/// (0: 4), and saves the curve at `curve_path`, for
/// [`ModelOptions::device_curve_path`](crate::ModelOptions::device_curve_path).
pub fn device_measure<F, R>(
    path: impl AsRef<Path>,
    seconds: f64,
    curve_path: Option<&Path>,
    progress: F,
) -> Result<Vec<DevicePoint>>
where
    F: FnMut(&str, f64) -> R,
    R: Flow,
{
    /// Many times what a curve has.
    const MAX_POINTS: usize = 4096;
    let path = c_path(path.as_ref())?;
    let curve_path = c_path_or_null(curve_path)?;
    let mut points = vec![sys::sluice_device_point::default(); MAX_POINTS];
    let mut count = 0;
    let mut callback = Callback::new(progress);
    // SAFETY: paths and callback are valid for the call, and `points` is as long as is said.
    let status = unsafe {
        sys::sluice_device_measure(
            path.as_ptr(),
            seconds,
            pointer(&curve_path),
            points.as_mut_ptr(),
            points.len(),
            &mut count,
            Some(on_stage::<F, R>),
            callback.user_data(),
        )
    };
    callback.finish(status)?;
    points.truncate(count);
    Ok(points.iter().map(point_of).collect())
}

fn point_of(raw: &sys::sluice_device_point) -> DevicePoint {
    DevicePoint {
        read_bytes: raw.read_bytes,
        queue_depth: raw.queue_depth,
        gb_per_s: raw.gb_per_s,
        us_per_read: raw.us_per_read,
    }
}
