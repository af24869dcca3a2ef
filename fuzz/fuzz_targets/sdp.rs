//! Any bytes as a description: no panic, and what is taken prints to the same meaning.
#![no_main]

use crosspoint_sdp::{Session, check_answer, check_reoffer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(session) = Session::parse(bytes) else { return };
    let again = Session::parse(session.to_string().as_bytes()).expect("what we print parses");
    assert!(session.media().eq(again.media()));
    let _ = (check_answer(&session, &again), check_reoffer(&session, &again));
    let _ = format!("{session:?}{:?}", session.media().collect::<Vec<_>>());
});
