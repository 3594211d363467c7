//! What the tests share: the model that they run on.
#![allow(dead_code)] // each test program uses its part

use sluice::{Model, ModelOptions};
use std::path::PathBuf;

pub const PROMPT: &str = "The old woman opened the door and";

/// A bundle file of tales-7m. These tests never pass without one.
pub fn model_path() -> PathBuf {
    let path = std::env::var_os("SLUICE_TEST_MODEL").expect(
        "SLUICE_TEST_MODEL must name a bundle file: \
         sluice convert examples/models/tales-7m tales-7m.flash",
    );
    PathBuf::from(path)
}

pub fn options() -> ModelOptions {
    ModelOptions::new().context_tokens(256)
}

pub fn open(options: &ModelOptions) -> Model {
    Model::open(model_path(), options).unwrap()
}

/// A folder that goes away with the test.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("sluice-{}-{}", name, std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The text of the panic that `body` ends in.
pub fn panic_of(body: impl FnOnce()) -> String {
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_err();
    payload.downcast_ref::<&str>().expect("a panic with a text").to_string()
}
