//! Any bytes as trickled candidates: no panic, and what is taken prints to the same.
#![no_main]

use crosspoint_sdp::Candidate;
use crosspoint_sdp::fragment::Fragment;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let fragment = Fragment::parse(bytes);
    let once = Fragment::parse(fragment.print().as_bytes());
    assert_eq!(Fragment::parse(once.print().as_bytes()), once);
    let _ = fragment.candidates.iter().filter_map(Candidate::udp_address).count();
});
