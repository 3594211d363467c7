//! Making, checking and measuring bundle files.
mod support;

use sluice::{
    ConvertOptions, Dtype, ErrorCode, EvaluateOptions, Model, ModelOptions, TrainOptions,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use support::{model_path, open, options, panic_of, Folder};

fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../examples/models/tales-7m")
}

#[test]
fn a_checkpoint_becomes_a_bundle_file() {
    let folder = Folder::new("convert");
    let file = folder.file("tales.flash");
    let mut stages = Vec::new();
    let options = ConvertOptions::new().dtype(Dtype::F16);
    let report = sluice::convert(checkpoint(), &file, &options, |stage, done| {
        assert!((0.0..=1.0).contains(&done));
        stages.push(stage.to_string());
    })
    .unwrap();
    assert!(!stages.is_empty());
    assert!(report.has_tokenizer && report.records > 0 && report.num_parts == 1);
    assert_eq!(report.bytes, std::fs::metadata(&file).unwrap().len());
    assert!(sluice::inspect(&file).unwrap().starts_with('{'));
    let verified =
        sluice::verify(&file, |_| -> ControlFlow<()> { panic!("undamaged") }, |_, _| ()).unwrap();
    assert!(verified >= report.records);

    let stop = |_: &str, _: f64| ControlFlow::Break(());
    let other = folder.file("other.flash");
    let error = sluice::convert(checkpoint(), &other, &options, stop).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Cancelled);
    assert!(!other.exists());
    let panics = |_: &str, _: f64| -> ControlFlow<()> { panic!("stage") };
    let convert = || drop(sluice::convert(checkpoint(), &other, &options, panics));
    assert_eq!(panic_of(convert), "stage");
    let error = sluice::convert("/no/such/folder", &other, &options, |_, _| ()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
}

#[test]
fn damage_is_found() {
    let folder = Folder::new("verify");
    let file = folder.file("damaged.flash");
    let mut bytes = std::fs::read(model_path()).unwrap();
    let place = bytes.len() - 5000;
    bytes[place] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let mut lines = Vec::new();
    let damage = |line: &str| lines.push(line.to_string());
    let error = sluice::verify(&file, damage, |_, _| ()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Corrupt);
    assert_eq!(lines.len(), 1);
    let damage = |_: &str| -> ControlFlow<()> { panic!("damage") };
    assert_eq!(panic_of(|| drop(sluice::verify(&file, damage, |_, _| ()))), "damage");
}

#[test]
fn a_file_is_looked_into() {
    let json = sluice::inspect(model_path()).unwrap();
    assert!(json.starts_with('{') && json.trim_end().ends_with('}'));
    assert!(json.contains("\"opt\""));
    assert_eq!(sluice::inspect("/no/such/file").unwrap_err().code(), ErrorCode::NotFound);
    assert!(sluice::inspect(checkpoint().join("config.json")).is_err());
}

#[test]
fn a_text_is_evaluated() {
    let model = open(&options());
    let text = std::fs::read_to_string(checkpoint().join("calibration.txt")).unwrap();
    let options = EvaluateOptions::new().window_tokens(64).max_tokens(100);
    let mut last = 0.0;
    let evaluation = sluice::evaluate(&model, &text, &options, |_, done| last = done).unwrap();
    assert!(evaluation.perplexity > 1.0 && evaluation.perplexity.is_finite());
    assert!(evaluation.tokens > 50 && evaluation.tokens <= 100);
    assert!(last > 0.0);
    let error = sluice::evaluate(&model, "", &options, |_, _| ()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
}

#[test]
fn mistakes_in_training_are_errors() {
    let folder = Folder::new("train");
    let file = folder.file("tales.flash");
    std::fs::copy(model_path(), &file).unwrap();
    let text = folder.file("text.txt");
    let options = TrainOptions::new().rank(8).threads(1).seed(3);
    let error = sluice::train(&file, &text, &options, |_, _| ()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound, "{}", error);
    std::fs::write(&text, "once upon a time there was a king. ".repeat(400)).unwrap();
    let stop = |_: &str, _: f64| ControlFlow::Break(());
    let error = sluice::train(&file, &text, &options, stop).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Cancelled, "{}", error);
}

#[test]
fn predictors_are_trained() {
    let folder = Folder::new("train-all");
    let file = folder.file("tales.flash");
    std::fs::copy(model_path(), &file).unwrap();
    let text = folder.file("text.txt");
    // Little text and a low rank: it takes seconds, and the predictors are of some use.
    let whole = std::fs::read(checkpoint().join("held-out.txt")).unwrap();
    std::fs::write(&text, &whole[..16_000]).unwrap();
    let layers = sluice::train(&file, &text, &TrainOptions::new().rank(8), |_, _| ()).unwrap();
    assert_eq!(layers.len(), 8);
    for (idx, layer) in layers.iter().enumerate() {
        assert_eq!((layer.layer as usize, layer.rank), (idx, 8));
        assert!(layer.recall > 0.5 && layer.recall <= 1.0, "{:?}", layer);
    }
    let model = Model::open(&file, &options()).unwrap();
    assert!(model.info().unwrap().has_predictors);
}

#[test]
fn a_device_is_measured() {
    let folder = Folder::new("device");
    let curve = folder.file("curve.json");
    // Beside the compiled tests: the folder for temporary files is often memory.
    match sluice::device_measure(env!("CARGO_TARGET_TMPDIR"), 0.2, Some(&curve), |_, _| ()) {
        Ok(points) => {
            assert!(points.len() > 3 && points.iter().all(|point| point.gb_per_s > 0.0));
            open(&ModelOptions::new().context_tokens(64).device_curve_path(&curve));
        }
        // Storage that cannot be measured: without O_DIRECT, or memory.
        Err(error) => assert_eq!(error.code(), ErrorCode::BadState, "{}", error),
    }
    let error = sluice::device_measure("/no/such/file", 0.2, None, |_, _| ()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
}
