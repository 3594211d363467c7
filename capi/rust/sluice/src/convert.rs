//! Making bundle files from checkpoints, and teaching them predictors.
use crate::callback::{on_stage, Callback, Flow};
use crate::error::Result;
use crate::text::{c_path, c_path_or_null, pointer, struct_size};
use sluice_sys as sys;
use std::path::{Path, PathBuf};

/// How predictors are trained. What is not set has its default.
#[derive(Clone, Debug, Default)]
pub struct TrainOptions {
    rank: u32,
    parameter_share: f64,
    seed: u64,
    threads: u32,
}

impl TrainOptions {
    /// All defaults.
    pub fn new() -> TrainOptions {
        TrainOptions::default()
    }

    /// Of all layers' predictors. Default: what each needs.
    pub fn rank(mut self, rank: u32) -> TrainOptions {
        self.rank = rank;
        self
    }

    /// Of the model's parameters at most, unless a rank is given. Default: 0.075.
    pub fn parameter_share(mut self, share: f64) -> TrainOptions {
        self.parameter_share = share;
        self
    }

    /// Of the training. Default: 1.
    pub fn seed(mut self, seed: u64) -> TrainOptions {
        self.seed = seed;
        self
    }

    /// Default: by affinity mask and CPU quota.
    pub fn threads(mut self, threads: u32) -> TrainOptions {
        self.threads = threads;
        self
    }

    fn lower(&self) -> sys::sluice_train_options {
        sys::sluice_train_options {
            struct_size: struct_size::<sys::sluice_train_options>(),
            rank: self.rank,
            parameter_share: self.parameter_share,
            seed: self.seed,
            threads: self.threads,
            ..Default::default()
        }
    }
}

/// What the numbers of a bundle file are.
#[non_exhaustive]
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// As they are in the checkpoint.
    Auto = sys::SLUICE_DTYPE_AUTO as i32,
    /// 32 bits.
    F32 = sys::SLUICE_DTYPE_F32 as i32,
    /// 16 bits, IEEE 754.
    F16 = sys::SLUICE_DTYPE_F16 as i32,
    /// 16 bits, f32's upper halves.
    Bf16 = sys::SLUICE_DTYPE_BF16 as i32,
}

/// How a checkpoint is converted. What is not set has its default.
#[derive(Clone, Debug)]
pub struct ConvertOptions {
    dtype: Dtype,
    calibration_path: Option<PathBuf>,
    device_curve_path: Option<PathBuf>,
    placement: bool,
    part_bytes: u64,
    train: Option<TrainOptions>,
}

impl Default for ConvertOptions {
    fn default() -> ConvertOptions {
        ConvertOptions {
            dtype: Dtype::Auto,
            calibration_path: None,
            device_curve_path: None,
            placement: true,
            part_bytes: 0,
            train: None,
        }
    }
}

impl ConvertOptions {
    /// All defaults: one file, no predictors.
    pub fn new() -> ConvertOptions {
        ConvertOptions::default()
    }

    /// Of the weights.
    pub fn dtype(mut self, dtype: Dtype) -> ConvertOptions {
        self.dtype = dtype;
        self
    }

    /// A UTF-8 text of the kind that will be generated: trains predictors on it.
    pub fn calibration_path(mut self, path: impl AsRef<Path>) -> ConvertOptions {
        self.calibration_path = Some(path.as_ref().to_path_buf());
        self
    }

    /// Of the device that the file is for. Default: a generic one.
    pub fn device_curve_path(mut self, path: impl AsRef<Path>) -> ConvertOptions {
        self.device_curve_path = Some(path.as_ref().to_path_buf());
        self
    }

    /// Whether neurons that are active together are put side by side. Default: yes, where there is
    /// a calibration text.
    pub fn placement(mut self, placement: bool) -> ConvertOptions {
        self.placement = placement;
        self
    }

    /// The file in parts of at most so many bytes. Default: in one.
    pub fn part_bytes(mut self, bytes: u64) -> ConvertOptions {
        self.part_bytes = bytes;
        self
    }

    /// How predictors are trained.
    pub fn train(mut self, train: TrainOptions) -> ConvertOptions {
        self.train = Some(train);
        self
    }
}

/// What a conversion made.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct ConvertReport {
    /// Whether the checkpoint had a tokenizer.
    pub has_tokenizer: bool,
    /// In the file.
    pub records: u64,
    /// Of one.
    pub record_bytes: u64,
    /// Of the file, all parts together.
    pub bytes: u64,
    /// That it took.
    pub seconds: f64,
    /// Of the process.
    pub peak_rss_bytes: u64,
    /// 1: one file.
    pub num_parts: u32,
    /// That got predictors.
    pub num_layers: u32,
}

/// How good a layer's predictor is on text that was held out of its training. Fractions of d_ffn.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct LayerQuality {
    /// Which one.
    pub layer: u32,
    /// Of its predictor.
    pub rank: u32,
    /// Truly active neurons that were predicted.
    pub recall: f64,
    /// Predicted neurons that were truly active.
    pub precision: f64,
    /// Truly active neurons.
    pub active_fraction: f64,
    /// Predicted neurons.
    pub predicted_fraction: f64,
    /// Recall of the guess made one layer early; 0 for the first layer.
    pub lookahead_recall: f64,
    /// Its precision.
    pub lookahead_precision: f64,
}

/// Reads the Hugging Face folder `source` and writes the bundle file `output`, which appears
/// complete or not at all. Takes minutes; `progress` gets what is being done and the share done.
///
/// ```no_run
/// use sluice::ConvertOptions;
/// let options = ConvertOptions::new().calibration_path("some-text.txt");
/// let report = sluice::convert("opt-1.3b", "opt-1.3b.flash", &options, |stage, done| {
///     println!("{} {:.0} %", stage, 100.0 * done)
/// })?;
/// println!("{} bytes, {} layers with predictors", report.bytes, report.num_layers);
/// # Ok::<(), sluice::Error>(())
/// ```
pub fn convert<F, R>(
    source: impl AsRef<Path>,
    output: impl AsRef<Path>,
    options: &ConvertOptions,
    progress: F,
) -> Result<ConvertReport>
where
    F: FnMut(&str, f64) -> R,
    R: Flow,
{
    let (source, output) = (c_path(source.as_ref())?, c_path(output.as_ref())?);
    let calibration_path = c_path_or_null(options.calibration_path.as_deref())?;
    let device_curve_path = c_path_or_null(options.device_curve_path.as_deref())?;
    let train = options.train.as_ref().map(TrainOptions::lower);
    let raw = sys::sluice_convert_options {
        struct_size: struct_size::<sys::sluice_convert_options>(),
        dtype: options.dtype as i32,
        calibration_path: pointer(&calibration_path),
        device_curve_path: pointer(&device_curve_path),
        no_placement: u32::from(!options.placement),
        part_bytes: options.part_bytes,
        train: train.as_ref().map_or(std::ptr::null(), |train| train),
        ..Default::default()
    };
    let mut report = sys::sluice_convert_report {
        struct_size: struct_size::<sys::sluice_convert_report>(),
        ..Default::default()
    };
    let mut callback = Callback::new(progress);
    // SAFETY: paths and options are valid for the call, and so are the report, which states its
    // size, and the callback.
    let status = unsafe {
        sys::sluice_convert(
            source.as_ptr(),
            output.as_ptr(),
            &raw,
            &mut report,
            Some(on_stage::<F, R>),
            callback.user_data(),
        )
    };
    callback.finish(status)?;
    Ok(ConvertReport {
        has_tokenizer: report.has_tokenizer != 0,
        records: report.records,
        record_bytes: report.record_bytes,
        bytes: report.bytes,
        seconds: report.seconds,
        peak_rss_bytes: report.peak_rss_bytes,
        num_parts: report.num_parts,
        num_layers: report.num_layers,
    })
}

/// More layers than any model has; training again to learn of more would be dear.
const MAX_LAYERS: usize = 4096;

/// Trains the predictors of the bundle file `path` anew on the text at `calibration_path`; a new
/// file replaces the old one when all is done. Takes minutes.
pub fn train<F, R>(
    path: impl AsRef<Path>,
    calibration_path: impl AsRef<Path>,
    options: &TrainOptions,
    progress: F,
) -> Result<Vec<LayerQuality>>
where
    F: FnMut(&str, f64) -> R,
    R: Flow,
{
    let (path, calibration_path) = (c_path(path.as_ref())?, c_path(calibration_path.as_ref())?);
    let raw = options.lower();
    let mut layers = vec![sys::sluice_layer_quality::default(); MAX_LAYERS];
    let mut count = 0;
    let mut callback = Callback::new(progress);
    // SAFETY: paths and options are valid for the call, and so are the callback and `layers`, which
    // is as long as is said.
    let status = unsafe {
        sys::sluice_train(
            path.as_ptr(),
            calibration_path.as_ptr(),
            &raw,
            layers.as_mut_ptr(),
            layers.len(),
            &mut count,
            Some(on_stage::<F, R>),
            callback.user_data(),
        )
    };
    callback.finish(status)?;
    layers.truncate(count);
    Ok(layers.iter().map(quality_of).collect())
}

fn quality_of(raw: &sys::sluice_layer_quality) -> LayerQuality {
    LayerQuality {
        layer: raw.layer,
        rank: raw.rank,
        recall: raw.recall,
        precision: raw.precision,
        active_fraction: raw.active_fraction,
        predicted_fraction: raw.predicted_fraction,
        lookahead_recall: raw.lookahead_recall,
        lookahead_precision: raw.lookahead_precision,
    }
}
