//! The feed-forward layers alone.
mod support;

use sluice::{Backend, ErrorCode, Model, ModelOptions};
use support::{open, options};

fn model() -> Model {
    open(&options().ffn_only(true).max_sessions(2))
}

fn input(d_model: u32, seed: u32) -> Vec<f32> {
    (0..d_model).map(|i| ((i * 7919 + seed * 104_729) % 1000) as f32 / 500.0 - 1.0).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// A layer's output from its rows: OPT's down(relu(up(x) + bias)) + bias.
fn by_hand(backend: &Backend, layer: u32, x: &[f32]) -> Vec<f64> {
    let mut neurons = Vec::new();
    backend.predict(layer, x, &mut neurons).unwrap();
    assert!(neurons.windows(2).all(|pair| pair[0] < pair[1]));
    let info = backend.layer(layer).unwrap();
    let up_bias = backend.up_bias(layer).unwrap().unwrap();
    let down_bias = backend.down_bias(layer).unwrap().unwrap();
    let mut y: Vec<f64> = down_bias.iter().map(|bias| f64::from(*bias)).collect();
    // So many at a time that their records have slots, even if each has one of its own.
    for (part, ids) in neurons.chunks(info.num_slots as usize).enumerate() {
        let rows = backend.acquire(layer, ids, part > 0).unwrap();
        assert_eq!(rows.len(), ids.len());
        for (idx, id) in ids.iter().enumerate() {
            let up = rows.up(idx).to_f32();
            assert_eq!(up.len(), x.len());
            let active = (dot(&up, x) + f64::from(up_bias[*id as usize])).max(0.0);
            for (y, down) in y.iter_mut().zip(rows.down(idx).to_f32()) {
                *y += active * f64::from(down);
            }
        }
    }
    y
}

#[test]
fn whole_layers_are_what_their_rows_say() {
    let model = model();
    let backend = model.backend().unwrap();
    assert_eq!(backend.num_layers(), model.info().unwrap().num_layers);
    let d_model = model.info().unwrap().d_model;
    for layer in 0..backend.num_layers() {
        let x = input(d_model, layer);
        let mut y = vec![0.0; x.len()];
        backend.forward(layer, &x, &mut y).unwrap();
        let expected = by_hand(&backend, layer, &x);
        let scale = expected.iter().fold(0.0, |scale: f64, value| scale.max(value.abs()));
        for (got, expected) in y.iter().zip(expected) {
            assert!((f64::from(*got) - expected).abs() < 1e-4 * scale, "{} {}", got, expected);
        }
        if layer > 0 {
            backend.hint(layer, &x).unwrap();
        }
    }
    let stats = backend.stats().unwrap();
    assert!(stats.tokens >= u64::from(backend.num_layers()));
    assert!(stats.records_needed > 0 && stats.total_ms > 0.0);
}

#[test]
fn several_tokens_are_as_one_by_one() {
    let model = model();
    let backend = model.backend().unwrap();
    let d_model = model.info().unwrap().d_model;
    let mut x = input(d_model, 1);
    x.extend(input(d_model, 2));
    let mut both = vec![0.0; x.len()];
    backend.forward(3, &x, &mut both).unwrap();
    let half = d_model as usize;
    let mut one = vec![0.0; half];
    for token in 0..2 {
        let range = token * half..(token + 1) * half;
        backend.forward(3, &x[range.clone()], &mut one).unwrap();
        assert_eq!(one[..], both[range]);
    }
}

#[test]
fn rows_are_held_while_they_live() {
    let model = model();
    let backend = model.backend().unwrap();
    let d_model = model.info().unwrap().d_model;
    let rows = backend.acquire(0, &[1, 5, 9], false).unwrap();
    let second = rows.up(1).to_f32();
    assert_eq!(backend.acquire(0, &[1], false).unwrap_err().code(), ErrorCode::BadState);
    let others = backend.acquire(1, &[1], false).unwrap();
    assert_eq!(others.len(), 1);
    // Another layer computes meanwhile, and the rows stay.
    let (x, mut y) = (input(d_model, 3), vec![0.0; d_model as usize]);
    backend.forward(2, &x, &mut y).unwrap();
    assert_eq!(rows.up(1).to_f32(), second);
    assert!(panics(|| {
        rows.up(3);
    }));
    drop(rows);
    let again = backend.acquire(0, &[5], false).unwrap();
    assert_eq!(again.up(0).to_f32(), second);
    drop((again, others));
    // Rows that are leaked go with the backend.
    std::mem::forget(backend.acquire(0, &[5], false).unwrap());
    drop(backend);
    model.backend().unwrap().acquire(0, &[5], false).unwrap();
}

fn panics(body: impl FnOnce()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err()
}

#[test]
fn mistakes_are_errors() {
    let model = model();
    let backend = model.backend().unwrap();
    let mut y = vec![0.0; 3];
    let invalid = ErrorCode::InvalidArgument;
    assert_eq!(backend.forward(0, &[0.0; 3], &mut y).unwrap_err().code(), invalid);
    assert_eq!(backend.forward(99, &[], &mut []).unwrap_err().code(), invalid);
    assert_eq!(backend.layer(99).unwrap_err().code(), invalid);
    assert_eq!(backend.predict(0, &[0.0], &mut Vec::new()).unwrap_err().code(), invalid);
    assert_eq!(backend.hint(1, &[0.0]).unwrap_err().code(), invalid);
    assert_eq!(backend.acquire(0, &[5, 5], false).unwrap_err().code(), invalid);
    assert_eq!(backend.acquire(0, &[1 << 30], false).unwrap_err().code(), invalid);
}

#[test]
fn backends_are_counted_and_movable() {
    let model = open(&ModelOptions::new().context_tokens(64).ffn_only(true));
    let backend = model.backend().unwrap();
    assert_eq!(model.backend().unwrap_err().code(), ErrorCode::BadState);
    let cancel = backend.cancel_handle();
    drop(model);
    std::thread::spawn(move || {
        let d_model = backend.layer(0).unwrap().d_model;
        let (x, mut y) = (input(d_model, 3), vec![0.0; d_model as usize]);
        backend.forward(0, &x, &mut y).unwrap();
    })
    .join()
    .unwrap();
    cancel.cancel(); // ignored
}
