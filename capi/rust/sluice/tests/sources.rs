//! Models that are not at a path.
mod support;

use sluice::{ErrorCode, GenerateOptions, Model, ReadAt, Source};
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::Arc;
use support::{model_path, open, options, panic_of, Folder, PROMPT};

fn text_of(model: &Model) -> String {
    let mut session = model.session().unwrap();
    session.generate_text(PROMPT, &GenerateOptions::new().max_tokens(12)).unwrap()
}

/// Reads a file, counts, and fails or panics when told to.
struct Reader {
    file: File,
    dropped: Arc<AtomicU32>,
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

impl ReadAt for Reader {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        if self.panics.load(Ordering::Relaxed) {
            panic!("reader");
        }
        if self.fails.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(5));
        }
        assert!(buffer.iter().all(|byte| *byte == 0));
        // Short reads are allowed.
        let half = (buffer.len() + 1) / 2;
        self.file.read_at(offset, &mut buffer[..half])
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Switches {
    dropped: Arc<AtomicU32>,
    fails: Arc<AtomicBool>,
    panics: Arc<AtomicBool>,
}

impl Switches {
    fn source(&self) -> Source {
        let file = File::open(model_path()).unwrap();
        let bytes = file.metadata().unwrap().len();
        let (dropped, fails) = (self.dropped.clone(), self.fails.clone());
        let reader = Reader { file, dropped, fails, panics: self.panics.clone() };
        Source::reader(reader, bytes).name("tales").read_threads(2)
    }

    fn dropped(&self) -> u32 {
        self.dropped.load(Ordering::Relaxed)
    }
}

#[test]
fn an_open_file_is_as_good_as_a_path() {
    let text = text_of(&open(&options()));
    let file = || File::open(model_path()).unwrap();
    let plan = Model::plan_for(Source::file(file()), &options()).unwrap();
    assert_eq!(plan, Model::plan_for(model_path(), &options()).unwrap());
    let model = Model::open(Source::file(file()), &options()).unwrap();
    assert_eq!(text_of(&model), text);

    let folder = Folder::new("sources");
    let bytes = std::fs::read(model_path()).unwrap();
    let archive = folder.file("archive");
    let mut out = File::create(&archive).unwrap();
    out.write_all(&vec![7; 8192]).unwrap();
    out.write_all(&bytes).unwrap();
    out.write_all(&[7; 100]).unwrap();
    drop(out);
    let part = Source::file_part(File::open(&archive).unwrap(), 8192, bytes.len() as u64);
    let model = Model::open(part, &options()).unwrap();
    std::fs::remove_file(&archive).unwrap();
    assert_eq!(text_of(&model), text);
}

#[test]
fn a_host_reads_itself() {
    let switches = Switches::default();
    let text = text_of(&open(&options()));
    let plan = Model::plan_for(switches.source(), &options()).unwrap();
    let expected = Model::plan_for(model_path(), &options()).unwrap();
    assert_eq!(plan.resident_bytes, expected.resident_bytes);
    assert_eq!(switches.dropped(), 1);
    let model = Model::open(switches.source(), &options()).unwrap();
    assert_eq!(text_of(&model), text);
    let session = model.session().unwrap();
    drop(model);
    assert_eq!(switches.dropped(), 1);
    drop(session);
    assert_eq!(switches.dropped(), 2);
}

#[test]
fn a_reader_is_dropped_when_opening_fails() {
    let switches = Switches::default();
    switches.fails.store(true, Ordering::Relaxed);
    let error = Model::open(switches.source(), &options()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Io, "{}", error);
    assert!(error.message().contains("tales"), "{}", error);
    assert_eq!(switches.dropped(), 1);
    let error = Model::open(switches.source().read_threads(100_000), &options()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument, "{}", error);
    assert_eq!(switches.dropped(), 2);
    // Before the library hears of it.
    let error = Model::open(switches.source().name("a\0b"), &options()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    assert_eq!(switches.dropped(), 3);
}

#[test]
fn a_readers_panic_comes_out_of_the_call_that_needed_it() {
    let switches = Switches::default();
    switches.panics.store(true, Ordering::Relaxed);
    assert_eq!(panic_of(|| drop(Model::open(switches.source(), &options()))), "reader");
    assert_eq!(switches.dropped(), 1);
    switches.panics.store(false, Ordering::Relaxed);
    // So small that tokens need reads.
    let floor = Model::plan_for(switches.source(), &options()).unwrap().floor_bytes;
    let options = options().dram_budget_bytes(floor);
    let model = Model::open(switches.source(), &options).unwrap();
    let mut session = model.session().unwrap();
    switches.panics.store(true, Ordering::Relaxed);
    let generate = GenerateOptions::new().max_tokens(12);
    assert_eq!(panic_of(|| drop(session.generate_text(PROMPT, &generate))), "reader");
    let text = panic_of(|| {
        session.generate_iter(PROMPT, &generate).unwrap().for_each(drop);
    });
    assert_eq!(text, "reader");
    assert_eq!(panic_of(|| drop(session.prefill(&[5, 6], None))), "reader");
    switches.panics.store(false, Ordering::Relaxed);
    session.reset().unwrap();
    assert_eq!(session.generate_text(PROMPT, &generate).unwrap(), text_of(&open(&options)));
}

#[test]
fn opening_tells_of_its_progress() {
    let mut last = 0.0;
    Model::open_with_progress(model_path(), &options(), |stage, done| {
        assert!(!stage.is_empty() && (last..=1.0).contains(&done), "{} {}", stage, done);
        last = done;
    })
    .unwrap();
    assert!(last > 0.0);
    let stop = |_: &str, _: f64| ControlFlow::Break(());
    let error = Model::open_with_progress(model_path(), &options(), stop).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Cancelled);
    let panics = |_: &str, _: f64| -> ControlFlow<()> { panic!("progress") };
    let open = || drop(Model::open_with_progress(model_path(), &options(), panics));
    assert_eq!(panic_of(open), "progress");
}
