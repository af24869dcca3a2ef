//! A byte stream in one piece and byte by byte: the same frames, and no panic.
#![no_main]

use crosspoint_sip::Limits;
use crosspoint_sip::framing::{Frame, StreamDecoder};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let messages = |step: usize| {
        let mut decoder = StreamDecoder::new(Limits::default());
        let mut out = Vec::new();
        for chunk in bytes.chunks(step.max(1)) {
            decoder.push(chunk);
            loop {
                match decoder.next_frame() {
                    Ok(Some(Frame::Message(message))) => out.push(message),
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(_) => return out,
                }
            }
        }
        out
    };
    // Keep-alives may be told apart differently by when they come; messages may not.
    assert_eq!(messages(bytes.len()), messages(1));
});
