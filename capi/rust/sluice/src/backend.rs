//! The feed-forward layers alone, for hosts that keep their own attention.
use crate::callback::ReaderPanic;
use crate::cancel::CancelHandle;
use crate::error::{check, Error, ErrorCode, Result};
use crate::model::Model;
use crate::text::struct_size;
use sluice_sys as sys;
use std::os::raw::c_void;
use std::ptr::{self, NonNull};
use std::slice;

mod rows;
use rows::{Element, RowShape};
pub use rows::{Row, Rows};

/// What a layer is.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerInfo {
    /// Width of its input and output.
    pub d_model: u32,
    /// Its neurons.
    pub d_ffn: u32,
    /// So many neighbouring neurons are read together.
    pub neurons_per_record: u32,
    /// Of the layer.
    pub num_records: u32,
    /// Records that can be held at one time.
    pub num_slots: u32,
    /// Whether neurons can be predicted.
    pub has_predictor: bool,
    /// Whether [`Backend::hint`] does something.
    pub has_lookahead: bool,
}

/// Sums since the backend was made.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub struct BackendStats {
    /// Whether reads bypass the page cache.
    pub direct_io: bool,
    /// That went through a layer, summed over layers.
    pub tokens: u64,
    /// Records that were needed.
    pub records_needed: u64,
    /// Of those, not in memory.
    pub records_missing: u64,
    /// Requests to storage.
    pub reads: u64,
    /// From storage.
    pub bytes: u64,
    /// Neurons that were predicted.
    pub neurons_predicted: u64,
    /// Of those that were computed here, with non-zero output.
    pub neurons_active: u64,
    /// Waited for reads.
    pub io_ms: f64,
    /// In forward, acquire and predict.
    pub total_ms: f64,
}

/// The feed-forward layers of a model: whole ones with [`forward`](Backend::forward), or the rows
/// of the neurons that a token needs with [`predict`](Backend::predict) and
/// [`acquire`](Backend::acquire). Keeps its model alive. May be moved between threads, and is used
/// by one at a time.
///
/// ```
/// use sluice::{Model, ModelOptions};
///
/// # fn main() -> Result<(), sluice::Error> {
/// # let path = match std::env::var("SLUICE_TEST_MODEL") { Ok(p) => p, Err(_) => return Ok(()) };
/// let model = Model::open(path, &ModelOptions::new().ffn_only(true))?;
/// let backend = model.backend()?;
/// let x = vec![0.1; model.info()?.d_model as usize];
/// let mut y = vec![0.0; x.len()];
/// for layer in 0..model.info()?.num_layers {
///     backend.forward(layer, &x, &mut y)?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Backend {
    handle: NonNull<sys::sluice_backend>,
    layers: Vec<sys::sluice_layer_info>,
    reader_panic: ReaderPanic,
}

// SAFETY: the handle is a number, and the library lets a backend be used and closed on any thread.
// On one at a time: the handle's type keeps it from being Sync.
// The pointers in `layers` are to constants that live as long as the backend.
unsafe impl Send for Backend {}

impl Drop for Backend {
    fn drop(&mut self) {
        // SAFETY: the handle is ours, and this is the last use of it but for cancelling, which
        // ignores closed handles. Rows borrow the backend, so none are in use.
        unsafe { sys::sluice_backend_close(self.handle.as_ptr()) }
    }
}

impl Backend {
    pub(crate) fn create(model: &Model) -> Result<Backend> {
        let mut handle = ptr::null_mut();
        // SAFETY: the model is open; the result goes into a variable of ours.
        check(unsafe { sys::sluice_backend_create(model.as_ptr(), &mut handle) })?;
        let handle = NonNull::new(handle)
            .ok_or_else(|| Error::new(ErrorCode::Internal, "a backend without a handle"))?;
        let mut backend =
            Backend { handle, layers: Vec::new(), reader_panic: model.reader_panic().clone() };
        for layer in 0..model.info()?.num_layers {
            let info = backend.copy_layer(layer)?;
            backend.layers.push(info);
        }
        Ok(backend)
    }

    fn copy_layer(&self, layer: u32) -> Result<sys::sluice_layer_info> {
        let mut info = sys::sluice_layer_info {
            struct_size: struct_size::<sys::sluice_layer_info>(),
            ..Default::default()
        };
        // SAFETY: the handle is open, and `info` states its size.
        check(unsafe { sys::sluice_backend_layer_copy(self.handle.as_ptr(), layer, &mut info) })?;
        Ok(info)
    }

    fn raw_layer(&self, layer: u32) -> Result<&sys::sluice_layer_info> {
        self.layers.get(layer as usize).ok_or_else(|| {
            Error::invalid(format!("layer {} of a model of {}", layer, self.layers.len()))
        })
    }

    /// How many layers there are.
    pub fn num_layers(&self) -> u32 {
        self.layers.len() as u32
    }

    /// What a layer is.
    pub fn layer(&self, layer: u32) -> Result<LayerInfo> {
        let raw = self.raw_layer(layer)?;
        Ok(LayerInfo {
            d_model: raw.d_model,
            d_ffn: raw.d_ffn,
            neurons_per_record: raw.neurons_per_record,
            num_records: raw.num_records,
            num_slots: raw.num_slots,
            has_predictor: raw.has_predictor != 0,
            has_lookahead: raw.has_lookahead != 0,
        })
    }

    /// The up projection's biases by neuron id, `d_ffn` of them, if the layer has any.
    pub fn up_bias(&self, layer: u32) -> Result<Option<&[f32]>> {
        let raw = self.raw_layer(layer)?;
        // SAFETY: NULL, or so many floats that stay while the backend does.
        Ok(unsafe { floats(raw.up_bias, raw.d_ffn) })
    }

    /// The down projection's biases, `d_model` of them, if the layer has any.
    pub fn down_bias(&self, layer: u32) -> Result<Option<&[f32]>> {
        let raw = self.raw_layer(layer)?;
        // SAFETY: NULL, or so many floats that stay while the backend does.
        Ok(unsafe { floats(raw.down_bias, raw.d_model) })
    }

    /// `y = down(activation(up(x)))` with biases, over the neurons that the predictor names.
    /// `x` holds `d_model` floats for each token, one token after the other; so does `y`.
    pub fn forward(&self, layer: u32, x: &[f32], y: &mut [f32]) -> Result<()> {
        let d_model = self.raw_layer(layer)?.d_model as usize;
        if x.len() != y.len() || x.len() % d_model != 0 {
            return Err(Error::invalid(format!(
                "x has {} floats and y {}: both must be a multiple of {}",
                x.len(),
                y.len(),
                d_model
            )));
        }
        // SAFETY: x and y have room for so many tokens, and cannot overlap.
        let status = unsafe {
            sys::sluice_backend_forward(
                self.handle.as_ptr(),
                layer,
                x.len() / d_model,
                x.as_ptr(),
                y.as_mut_ptr(),
            )
        };
        self.reader_panic.check(status)
    }

    /// The neurons that one token needs, ascending; `x` is that of [`forward`](Backend::forward).
    /// They take the place of what `neurons` holds.
    pub fn predict(&self, layer: u32, x: &[f32], neurons: &mut Vec<u32>) -> Result<()> {
        let info = self.raw_layer(layer)?;
        check_width(x, info.d_model)?;
        neurons.clear();
        neurons.reserve(info.d_ffn as usize); // d_ffn always suffices
        let mut count = 0;
        // SAFETY: x is a token wide; the spare capacity is as large as is said.
        let status = unsafe {
            sys::sluice_backend_predict(
                self.handle.as_ptr(),
                layer,
                x.as_ptr(),
                neurons.as_mut_ptr(),
                neurons.capacity(),
                &mut count,
            )
        };
        self.reader_panic.check(status)?;
        if count > neurons.capacity() {
            return Err(Error::new(ErrorCode::Internal, "more neurons than the layer has"));
        }
        // SAFETY: the library has filled in so many.
        unsafe { neurons.set_len(count) };
        Ok(())
    }

    /// Brings the rows of `neurons`, strictly ascending, into memory. They stay there while the
    /// result lives. This counts as one token for the layer's neuron window; `more` says that these
    /// belong to the token of the acquire before on this layer.
    ///
    /// At most [`LayerInfo::num_slots`] records at a time. [`ErrorCode::BadState`]: rows of this
    /// layer are acquired already. Blocks while another session or backend of the model uses the
    /// layer: whoever holds rows of several layers should ask in ascending order of layers.
    pub fn acquire(&self, layer: u32, neurons: &[u32], more: bool) -> Result<Rows<'_>> {
        let info = self.raw_layer(layer)?;
        let shape = RowShape { width: info.d_model as usize, element: Element::of(info.element)? };
        let mut up: Vec<*const c_void> = vec![ptr::null(); neurons.len()];
        let mut down = up.clone();
        // SAFETY: all three arrays are as long as is said.
        let status = unsafe {
            sys::sluice_backend_acquire(
                self.handle.as_ptr(),
                layer,
                neurons.as_ptr(),
                neurons.len(),
                u32::from(more),
                up.as_mut_ptr(),
                down.as_mut_ptr(),
            )
        };
        self.reader_panic.check(status)?;
        Rows::of(self, layer, shape, up, down)
    }

    fn release(&self, layer: u32) {
        // SAFETY: the handle is open. Rows do this once, when no slice of theirs is left.
        unsafe { sys::sluice_backend_release(self.handle.as_ptr(), layer) };
    }

    /// Guesses from the input of the layer before it which neurons `layer` will need, and starts
    /// to read those that are missing. A wrong guess costs reads, never results.
    pub fn hint(&self, layer: u32, x: &[f32]) -> Result<()> {
        check_width(x, self.raw_layer(layer)?.d_model)?;
        // SAFETY: x is a token wide.
        let status = unsafe { sys::sluice_backend_hint(self.handle.as_ptr(), layer, x.as_ptr()) };
        self.reader_panic.check(status)
    }

    /// Sums since the backend was made.
    pub fn stats(&self) -> Result<BackendStats> {
        let mut raw = sys::sluice_backend_stats {
            struct_size: struct_size::<sys::sluice_backend_stats>(),
            ..Default::default()
        };
        // SAFETY: the handle is open, and `raw` states its size.
        check(unsafe { sys::sluice_backend_stats_copy(self.handle.as_ptr(), &mut raw) })?;
        Ok(BackendStats {
            direct_io: raw.direct_io != 0,
            tokens: raw.tokens,
            records_needed: raw.records_needed,
            records_missing: raw.records_missing,
            reads: raw.reads,
            bytes: raw.bytes,
            neurons_predicted: raw.neurons_predicted,
            neurons_active: raw.neurons_active,
            io_ms: raw.io_ms,
            total_ms: raw.total_ms,
        })
    }

    /// What stops this backend from any thread.
    pub fn cancel_handle(&self) -> CancelHandle {
        CancelHandle::backend(self.handle)
    }
}

fn check_width(x: &[f32], d_model: u32) -> Result<()> {
    if x.len() == d_model as usize {
        return Ok(());
    }
    Err(Error::invalid(format!("x has {} floats, a token {}", x.len(), d_model)))
}

/// # Safety
/// `first` is NULL, or `count` floats that nobody changes during 'a.
unsafe fn floats<'a>(first: *const f32, count: u32) -> Option<&'a [f32]> {
    if first.is_null() {
        return None;
    }
    // SAFETY: by this function's contract.
    Some(unsafe { slice::from_raw_parts(first, count as usize) })
}
