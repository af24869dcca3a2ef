//! RTCP of any kind: bounded, and what we write is read back.
#![no_main]

use crosspoint_media::rtcp::{Compound, write_report};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let compound = Compound::parse(bytes);
    assert!(compound.blocks.len() <= 31);
    let sender = compound.sender.as_ref().map(|(_, info)| info);
    let mut out = Vec::new();
    write_report(&mut out, 9, &String::from_utf8_lossy(bytes), sender, compound.blocks.first());
    assert_eq!(out.len() % 4, 0);
    let again = Compound::parse(&out);
    assert_eq!(again.blocks.first(), compound.blocks.first());
    assert_eq!(again.sender.map(|(_, info)| info), sender.copied());
    assert!(!again.bye);
});
