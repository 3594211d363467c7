//! Sessions: feeding, generating, stopping, and what lasts.
mod support;

use sluice::{ErrorCode, FinishReason, GenerateOptions, Prompt, Session, Token};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::Duration;
use support::{open, options, panic_of, Folder, PROMPT};

fn session() -> Session {
    open(&options()).session().unwrap()
}

fn tokens(count: u32) -> GenerateOptions {
    GenerateOptions::new().max_tokens(count)
}

/// The likeliest token.
fn argmax(logits: &[f32]) -> i32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.partial_cmp(b.1).unwrap());
    best.unwrap().0 as i32
}

#[test]
fn every_way_of_generating_gives_the_same() {
    let model = open(&options());
    let ids = model.tokenize(PROMPT, true).unwrap();
    let mut session = model.session().unwrap();
    let text = session.generate_text(PROMPT, &tokens(20)).unwrap();
    assert!(text.len() > 20, "{}", text);
    assert_eq!(session.position() as usize, ids.len() + 19);

    session.reset().unwrap();
    let mut got = Vec::new();
    let reason = session.generate(&ids, &tokens(20), |token| got.push(token)).unwrap();
    assert_eq!(reason, FinishReason::Length);
    assert_eq!(got.iter().map(|token| token.text.as_str()).collect::<String>(), text);

    for prompt in [Prompt::from(PROMPT), Prompt::from(&ids)] {
        session.reset().unwrap();
        let mut iterator = session.generate_iter(prompt, &tokens(20)).unwrap();
        let streamed = iterator.by_ref().collect::<Result<Vec<Token>, _>>().unwrap();
        assert_eq!(streamed, got);
        assert_eq!(iterator.finish_reason(), Some(FinishReason::Length));
        assert!(iterator.next().is_none());
    }

    // The same by hand, token by token.
    session.reset().unwrap();
    let mut logits = vec![0.0; model.info().unwrap().vocab_size as usize];
    session.prefill(&ids, Some(&mut logits)).unwrap();
    for token in got.iter().filter_map(|token| token.id) {
        assert_eq!(argmax(&logits), token);
        session.decode(token, Some(&mut logits)).unwrap();
    }
    assert_eq!(session.tokens().unwrap()[..ids.len()], ids[..]);
}

#[test]
fn a_callback_stops() {
    let mut session = session();
    let mut count = 0;
    let reason = session.generate(PROMPT, &tokens(50), |_| {
        count += 1;
        if count == 3 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    assert_eq!(reason.unwrap(), FinishReason::Cancelled);
    assert_eq!(count, 3);
    let before = session.position();
    let error =
        session.prefill_with_progress(&[5, 6, 7], None, |_, _| ControlFlow::Break(())).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Cancelled);
    assert_eq!(session.position(), before);
}

#[test]
fn panics_of_callbacks_come_out_and_do_no_harm() {
    let mut session = session();
    let text = panic_of(|| {
        drop(session.generate(PROMPT, &tokens(5), |_| -> ControlFlow<()> { panic!("token") }))
    });
    assert_eq!(text, "token");
    let text =
        panic_of(|| {
            drop(session.prefill_with_progress(&[5, 6], None, |_, _| -> ControlFlow<()> {
                panic!("progress")
            }))
        });
    assert_eq!(text, "progress");
    let logits = tokens(5).on_logits(|_, _| -> ControlFlow<()> { panic!("logits") });
    assert_eq!(panic_of(|| drop(session.generate_text(PROMPT, &logits))), "logits");
    let text = panic_of(|| {
        for token in session.generate_iter(PROMPT, &logits).unwrap() {
            token.unwrap();
        }
    });
    assert_eq!(text, "logits");
    // A panic that nobody waits for is lost with its iterator.
    drop(session.generate_iter(PROMPT, &logits).unwrap());
    session.reset().unwrap();
    session.generate_text(PROMPT, &tokens(2)).unwrap();
}

#[test]
fn logits_can_be_seen_and_changed() {
    let mut session = session();
    let mut ids = Vec::new();
    session.generate(PROMPT, &tokens(8), |token| ids.extend(token.id)).unwrap();
    let forbidden = ids[2];
    let start = session.position() - 7;
    let seen = Arc::new(AtomicU32::new(0));
    let seen_there = seen.clone();
    let options = tokens(8).logprobs(3).on_logits(move |logits, position| {
        assert_eq!(position, start + seen_there.fetch_add(1, Ordering::Relaxed));
        logits[forbidden as usize] = f32::NEG_INFINITY;
    });
    session.reset().unwrap();
    let iterator = session.generate_iter(PROMPT, &options).unwrap();
    let got = iterator.collect::<Result<Vec<_>, _>>().unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 8);
    for token in got.iter().filter(|token| token.id.is_some()) {
        assert_ne!(token.id, Some(forbidden));
        assert_eq!(token.top.len(), 3);
        // Greedy: the chosen one is the likeliest.
        assert_eq!(token.id, Some(token.top[0].token));
        assert_eq!(token.logprob, Some(token.top[0].logprob));
        assert!(token.top[0].logprob < 0.0 && token.top[0].logprob >= token.top[2].logprob);
    }
    session.reset().unwrap();
    let mut logprobs = Vec::new();
    session.generate(PROMPT, &tokens(2), |token| logprobs.push(token.logprob)).unwrap();
    assert!(logprobs.iter().all(Option::is_none));
}

#[test]
fn options_reach_the_library() {
    let mut session = session();
    let text = session.generate_text(PROMPT, &tokens(30)).unwrap();
    let word = text.split_whitespace().nth(3).unwrap().to_string();
    session.reset().unwrap();
    let mut got = String::new();
    let options = tokens(30).stop("not in there").stop(word.as_str());
    let reason = session.generate(PROMPT, &options, |token| got.push_str(&token.text)).unwrap();
    assert_eq!(reason, FinishReason::Stop);
    assert_eq!(got, text[..text.find(&word).unwrap()]);

    session.reset().unwrap();
    let warm = tokens(30).temperature(1.0).top_k(40).top_p(0.95).min_p(0.01).seed(7);
    let first = session.generate_text(PROMPT, &warm).unwrap();
    session.reset().unwrap();
    assert_eq!(session.generate_text(PROMPT, &warm).unwrap(), first);
    assert_ne!(first, text);

    let again = session.generate_text(PROMPT, &tokens(30).whole_prompt(true)).unwrap();
    assert_eq!(again, text);
    assert!(session.stats().unwrap().reused_tokens > 0);

    for options in [tokens(1).stop("a\0b"), tokens(1).temperature(-1.0), tokens(100_000)] {
        let error = session.generate_text(PROMPT, &options).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{:?}: {}", options, error);
        let error = session
            .generate_iter(PROMPT, &options)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>);
        assert_eq!(error.unwrap_err().code(), ErrorCode::InvalidArgument, "{:?}", options);
    }
}

#[test]
fn a_dropped_iterator_leaves_the_session_to_others() {
    let mut session = session();
    // It is dropped everywhere: in the prompt, between tokens, and about when it ends by itself.
    for count in 1..40 {
        session.reset().unwrap();
        let mut iterator = session.generate_iter(PROMPT, &tokens(1 + count % 4)).unwrap();
        if count % 3 > 0 {
            iterator.next();
        }
        if count % 3 > 1 {
            std::thread::sleep(Duration::from_micros(u64::from(count) * 100));
        }
        drop(iterator);
        // Neither busy nor cancelled any more.
        let position = session.position();
        session.decode(5, None).unwrap();
        assert_eq!(session.position(), position + 1);
    }
}

#[test]
fn a_late_cancellation_is_used_up() {
    let model = open(&options());
    let mut session = model.session().unwrap();
    let end = model.info().unwrap().eos_ids[0] as usize;
    let ids = model.tokenize(PROMPT, true).unwrap();
    // Dropped while the last token is being chosen, which nothing can cancel any more.
    let drop_at_the_end = |session: &mut Session| {
        let (choosing, chooses) = std::sync::mpsc::channel();
        let options = tokens(1).on_logits(move |logits, _| {
            choosing.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            for (id, logit) in logits.iter_mut().enumerate() {
                if id != end {
                    *logit = f32::NEG_INFINITY;
                }
            }
        });
        let iterator = session.generate_iter(PROMPT, &options).unwrap();
        chooses.recv().unwrap();
        drop(iterator);
    };
    drop_at_the_end(&mut session);
    assert_eq!(session.position() as usize, ids.len());
    session.decode(5, None).unwrap();

    // Nothing more could be fed after this one.
    session.reset().unwrap();
    session.prefill(&vec![5; 256 - ids.len()], None).unwrap();
    drop_at_the_end(&mut session);
    assert_eq!(session.position(), 256);
    session.rewind(10).unwrap();
    session.decode(5, None).unwrap();
}

#[test]
fn a_leaked_iterator_harms_nobody() {
    let mut session = session();
    std::mem::forget(session.generate_iter(PROMPT, &tokens(100)).unwrap());
    let error = session.decode(5, None).unwrap_err();
    assert_eq!(error.code(), ErrorCode::BadState);
    drop(session); // cancels and waits
}

#[test]
fn a_session_is_cancelled_from_elsewhere() {
    let mut session = session();
    let handle = session.cancel_handle();
    let cancel = handle.clone();
    let reason = session.generate(PROMPT, &tokens(200).ignore_eos(true), move |_| {
        std::thread::scope(|scope| {
            scope.spawn(|| cancel.cancel());
        });
    });
    assert_eq!(reason.unwrap(), FinishReason::Cancelled);
    let mut iterator = session.generate_iter(PROMPT, &tokens(200).ignore_eos(true)).unwrap();
    iterator.next().unwrap().unwrap();
    handle.cancel();
    assert!(iterator.by_ref().count() < 199);
    assert_eq!(iterator.finish_reason(), Some(FinishReason::Cancelled));
    drop(iterator);
    // Taken back.
    handle.cancel();
    assert_eq!(session.prefill(&[], None).unwrap_err().code(), ErrorCode::Cancelled);
    assert_eq!(session.prefill(&[], None).unwrap_err().code(), ErrorCode::InvalidArgument);
    session.decode(5, None).unwrap();
    drop(session);
    handle.cancel(); // ignored
}

#[test]
fn sessions_last() {
    let folder = Folder::new("session");
    let model = open(&options().max_sessions(2));
    let mut session = model.session().unwrap();
    session.generate_text(PROMPT, &tokens(10)).unwrap();
    let held = session.tokens().unwrap();
    assert_eq!(held.len(), session.position() as usize);
    let file = folder.file("saved.session");
    session.save(&file).unwrap();

    let mut clone = session.try_clone().unwrap();
    assert_eq!(clone.tokens().unwrap(), held);
    assert_eq!(session.try_clone().unwrap_err().code(), ErrorCode::BadState);
    let go_on = |session: &mut Session| session.generate_text(&vec![5], &tokens(10)).unwrap();
    let text = go_on(&mut clone);
    assert_eq!(go_on(&mut session), text);

    // Not the same as before: the last token of the first generation, which the second one fed, is
    // forgotten too.
    session.rewind(held.len() as u32).unwrap();
    assert_eq!(session.tokens().unwrap(), held);
    clone.rewind(held.len() as u32).unwrap();
    assert_eq!(go_on(&mut session), go_on(&mut clone));
    let error = session.rewind(10_000).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);

    clone.reset().unwrap();
    clone.load(&file).unwrap();
    assert_eq!(clone.tokens().unwrap(), held);
    assert_eq!(go_on(&mut clone), text);
    assert_eq!(clone.load(folder.file("none")).unwrap_err().code(), ErrorCode::NotFound);
}

#[test]
fn statistics_are_filled_in() {
    let mut session = session();
    session.generate_text(PROMPT, &tokens(10)).unwrap();
    let stats = session.stats().unwrap();
    assert_eq!(stats.tokens, 9);
    assert!(stats.total_ms_per_token > 0.0 && stats.prefill_tokens > 3);
    assert!(!stats.engine.is_empty() && !stats.engine_reason.is_empty());
    session.reset_stats().unwrap();
    assert_eq!(session.stats().unwrap().tokens, 0);
}

#[test]
fn mistakes_are_errors() {
    let mut session = session();
    let mut few = vec![0.0; 3];
    assert!(session.prefill(&[5], Some(&mut few)).unwrap_err().message().contains('3'));
    assert_eq!(session.decode(-1, None).unwrap_err().code(), ErrorCode::InvalidArgument);
    assert_eq!(session.prefill(&[], None).unwrap_err().code(), ErrorCode::InvalidArgument);
    assert_eq!(session.position(), 0);
}
