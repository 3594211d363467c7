//! Rows of neurons that a backend holds in memory.
use super::Backend;
use crate::error::{Error, ErrorCode, Result};
use sluice_sys as sys;
use std::os::raw::c_void;
use std::slice;

/// What a row's numbers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    F32,
    F16,
    Bf16,
}

impl Element {
    pub(super) fn of(number: i32) -> Result<Element> {
        match number as u32 {
            sys::SLUICE_ELEMENT_F32 => Ok(Element::F32),
            sys::SLUICE_ELEMENT_F16 => Ok(Element::F16),
            sys::SLUICE_ELEMENT_BF16 => Ok(Element::Bf16),
            _ => Err(Error::new(
                ErrorCode::Unsupported,
                format!("rows of element type {} need a newer crate", number),
            )),
        }
    }

    fn alignment(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::F16 | Element::Bf16 => 2,
        }
    }
}

/// What all rows of a layer have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowShape {
    pub(super) width: usize,
    pub(super) element: Element,
}

/// One row, `d_model` numbers as they lie in the file.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Row<'a> {
    /// IEEE 754, 32 bits.
    F32(&'a [f32]),
    /// The bits of IEEE 754, 16 bits.
    F16(&'a [u16]),
    /// The upper halves of f32's bits.
    Bf16(&'a [u16]),
}

impl Row<'_> {
    /// How many numbers there are.
    pub fn len(&self) -> usize {
        match self {
            Row::F32(row) => row.len(),
            Row::F16(row) | Row::Bf16(row) => row.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers as f32, exactly.
    pub fn to_f32(&self) -> Vec<f32> {
        match self {
            Row::F32(row) => row.to_vec(),
            Row::F16(row) => row.iter().map(|bits| f32_of_f16(*bits)).collect(),
            Row::Bf16(row) => row.iter().map(|b| f32::from_bits(u32::from(*b) << 16)).collect(),
        }
    }
}

/// The rows of neurons, in the order they were asked for. Dropping this gives them back.
#[derive(Debug)]
pub struct Rows<'b> {
    backend: &'b Backend,
    layer: u32,
    shape: RowShape,
    up: Vec<*const c_void>,
    down: Vec<*const c_void>,
}

impl<'b> Rows<'b> {
    /// Of rows that have been acquired.
    pub(super) fn of(
        backend: &'b Backend,
        layer: u32,
        shape: RowShape,
        up: Vec<*const c_void>,
        down: Vec<*const c_void>,
    ) -> Result<Rows<'b>> {
        let rows = Rows { backend, layer, shape, up, down };
        let alignment = shape.element.alignment();
        let bad = |row: &*const c_void| row.is_null() || *row as usize % alignment != 0;
        if rows.up.iter().chain(&rows.down).any(bad) {
            return Err(Error::new(ErrorCode::Internal, "a row that is not aligned"));
        }
        Ok(rows)
    }

    /// How many neurons there are.
    pub fn len(&self) -> usize {
        self.up.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.up.is_empty()
    }

    /// The up projection's row of the neuron at `idx` of those asked for; panics beyond them.
    pub fn up(&self, idx: usize) -> Row<'_> {
        // SAFETY: an acquired row.
        unsafe { self.row(self.up[idx]) }
    }

    /// The down projection's column of the neuron at `idx` of those asked for; panics beyond them.
    pub fn down(&self, idx: usize) -> Row<'_> {
        // SAFETY: an acquired row.
        unsafe { self.row(self.down[idx]) }
    }

    /// # Safety
    /// `row` is one of this layer that is acquired: aligned (of() has looked), `width` elements
    /// long, and unchanged until the release in drop().
    unsafe fn row(&self, row: *const c_void) -> Row<'_> {
        let width = self.shape.width;
        // SAFETY: by this function's contract; any bits are values of these types.
        unsafe {
            match self.shape.element {
                Element::F32 => Row::F32(slice::from_raw_parts(row.cast(), width)),
                Element::F16 => Row::F16(slice::from_raw_parts(row.cast(), width)),
                Element::Bf16 => Row::Bf16(slice::from_raw_parts(row.cast(), width)),
            }
        }
    }
}

impl Drop for Rows<'_> {
    fn drop(&mut self) {
        self.backend.release(self.layer);
    }
}

fn f32_of_f16(bits: u16) -> f32 {
    let sign = u32::from(bits & 0x8000) << 16;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let fraction = u32::from(bits & 0x3ff);
    match exponent {
        // Zero, or subnormal: the fraction counts steps of 2^-24.
        0 => f32::from_bits(sign | (fraction as f32 * 2f32.powi(-24)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | (fraction << 13)),
        // The exponents' biases are 15 and 127.
        _ => f32::from_bits(sign | ((exponent + 112) << 23) | (fraction << 13)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_widen_exactly() {
        let halves = [0x0000, 0x8000, 0x3c00, 0xc000, 0x0001, 0x03ff, 0x7bff, 0x7c00, 0x3555];
        let floats = [
            0.0,
            -0.0,
            1.0,
            -2.0,
            2f32.powi(-24),
            1023.0 * 2f32.powi(-24),
            65504.0,
            f32::INFINITY,
            1365.0 / 4096.0,
        ];
        for (half, float) in halves.iter().zip(floats) {
            assert_eq!(Row::F16(&[*half]).to_f32()[0].to_bits(), float.to_bits(), "{:#x}", half);
        }
        assert!(f32_of_f16(0x7e00).is_nan());
        assert_eq!(Row::Bf16(&[0x3f80, 0xc000]).to_f32(), [1.0, -2.0]);
    }
}
