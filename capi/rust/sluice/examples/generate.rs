//! Goes on with a text.
//!
//! ```text
//! cargo run --example generate -- MODEL.flash "The old woman opened the door and"
//! ```
use sluice::{GenerateOptions, Model, ModelOptions};
use std::io::Write;
use std::process::ExitCode;

fn generate(path: &str, prompt: &str) -> Result<(), Box<dyn std::error::Error>> {
    let model = Model::open(path, &ModelOptions::new().context_tokens(256))?;
    let mut session = model.session()?;
    let mut out = std::io::stdout();
    for token in session.generate_iter(prompt, &GenerateOptions::new().max_tokens(60))? {
        // An error here, nobody listening any more, ends the loop: that stops the generation.
        out.write_all(token?.text.as_bytes())?;
        out.flush()?;
    }
    writeln!(out)?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.len() != 3 {
        eprintln!("usage: {} MODEL PROMPT", arguments[0]);
        return ExitCode::from(2);
    }
    match generate(&arguments[1], &arguments[2]) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {}", arguments[0], error);
            ExitCode::FAILURE
        }
    }
}
