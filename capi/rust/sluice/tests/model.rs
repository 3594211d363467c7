//! Models: plans, info, tokens, errors, threads.
mod support;

use sluice::{
    Backend, CancelHandle, Error, ErrorCode, GenerateOptions, Mode, Model, ModelOptions, Session,
    Source, Tokens,
};
use support::{model_path, open, options, PROMPT};

#[test]
fn the_library_is_the_one_of_the_bindings() {
    assert_eq!(sluice::abi(), sluice_sys::SLUICE_ABI);
    let built = std::str::from_utf8(sluice_sys::SLUICE_VERSION_STRING).unwrap();
    assert_eq!(format!("{}\0", sluice::version()), built);
}

#[test]
fn a_plan_says_what_a_budget_buys() {
    let plan = Model::plan_for(model_path(), &options().dram_budget_bytes(64 << 20)).unwrap();
    assert!(plan.fits);
    assert_eq!(plan.budget_bytes, 64 << 20);
    assert_eq!(plan.context_tokens, 256);
    let parts = [
        plan.resident_bytes,
        plan.predictor_bytes,
        plan.kv_bytes,
        plan.slot_bytes,
        plan.scratch_bytes,
        plan.io_bytes,
    ];
    assert!(parts.iter().sum::<u64>() <= plan.budget_bytes);
    assert_ne!(plan.mode, Mode::Auto);

    let small = options().dram_budget_bytes(1 << 20);
    assert!(!Model::plan_for(model_path(), &small).unwrap().fits);
    let error = Model::open(model_path(), &small).unwrap_err();
    assert_eq!(error.code(), ErrorCode::OutOfMemory, "{}", error);
}

#[test]
fn an_open_model_says_what_it_is() {
    let model = open(&options().dram_budget_bytes(64 << 20));
    let info = model.info().unwrap();
    assert_eq!(info.family, "opt");
    assert_eq!(info.num_layers, 8);
    assert!(info.has_tokenizer);
    assert_eq!(info.file_bytes, std::fs::metadata(model_path()).unwrap().len());
    assert_eq!(info.eos_ids.len(), 1);
    assert_eq!(
        model.plan().unwrap(),
        Model::plan_for(model_path(), &options().dram_budget_bytes(64 << 20)).unwrap()
    );
}

#[test]
fn text_becomes_tokens_and_text_again() {
    let model = open(&options());
    let tokens = model.tokenize(PROMPT, false).unwrap();
    assert!(tokens.len() > 3);
    assert_eq!(model.detokenize(&tokens).unwrap(), PROMPT);
    assert_eq!(model.tokenize(PROMPT, true).unwrap()[1..], tokens[..]);
    assert!(model.tokenize("", false).unwrap().is_empty());
    assert_eq!(model.detokenize(&[]).unwrap(), "");
    let long = "once upon a time ".repeat(2000);
    let tokens = model.tokenize(&long, false).unwrap();
    assert_eq!(model.detokenize(&tokens).unwrap(), long);
}

#[test]
fn errors_have_a_code_and_a_message() {
    let error = Model::open("/no/such/folder/model.flash", &options()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.message().contains("/no/such/folder/model.flash"), "{}", error);
    assert!(error.to_string().starts_with("NOT_FOUND: "), "{}", error);
    let boxed: Box<dyn std::error::Error> = error.into();
    assert!(boxed.downcast_ref::<Error>().is_some());

    let error = Model::open("a\0b", &options()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    let error = Model::open(model_path(), &options().device_curve_path("a\0b")).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    let error = Model::open(model_path(), &options().queue_depth(1 << 30)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument, "{}", error);
}

#[test]
fn sessions_are_counted() {
    let model = open(&options().max_sessions(1));
    let first = model.session().unwrap();
    assert_eq!(model.session().unwrap_err().code(), ErrorCode::BadState);
    drop(first);
    model.session().unwrap();
}

#[test]
fn sessions_outlive_their_model() {
    let mut session = open(&options()).session().unwrap();
    let text = session.generate_text(PROMPT, &GenerateOptions::new().max_tokens(4)).unwrap();
    assert!(!text.is_empty());
}

#[test]
fn threads_share_a_model() {
    let model = open(&options().max_sessions(4));
    let generate = GenerateOptions::new().max_tokens(12);
    let text = model.session().unwrap().generate_text(PROMPT, &generate).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut session = model.session().unwrap();
                assert_eq!(session.generate_text(PROMPT, &generate).unwrap(), text);
            });
        }
    });
}

/// Fails to compile where `T` is what it must not be: the name is then ambiguous.
mod absent {
    pub trait Sync<A> {
        fn check() {}
    }
    impl<T: ?Sized> Sync<()> for T {}
    impl<T: ?Sized + std::marker::Sync> Sync<u8> for T {}

    pub trait Send<A> {
        fn check() {}
    }
    impl<T: ?Sized> Send<()> for T {}
    impl<T: ?Sized + std::marker::Send> Send<u8> for T {}
}

#[test]
fn types_go_between_threads_as_the_library_allows() {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    send::<Model>();
    sync::<Model>();
    send::<CancelHandle>();
    sync::<CancelHandle>();
    send::<Session>();
    send::<Backend>();
    send::<Tokens<'_>>();
    send::<Source>();
    send::<ModelOptions>();
    sync::<ModelOptions>();
    send::<GenerateOptions>();
    sync::<GenerateOptions>();
    send::<Error>();
    sync::<Error>();
    <Session as absent::Sync<_>>::check();
    <Backend as absent::Sync<_>>::check();
    <sluice::Rows<'_> as absent::Send<_>>::check();
    <sluice::Rows<'_> as absent::Sync<_>>::check();
}
