//! STUN to a browser's leg: raw bytes, and attributes of any kind under a right signature.
//! Nobody gets more bytes back than the largest answer has, and unsigned bytes get none.
#![no_main]

use crosspoint_fuzz::World;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let rest = &rest[..rest.len().min(1400)];
    let mut world = World::new();
    if choice & 1 == 0 {
        world.from_browser(rest);
        assert_eq!(world.drain(), 0, "nothing unsigned is answered");
    } else {
        let request = world.signed(rest);
        world.from_browser(&request);
        assert!(world.drain() <= 200, "an answer is no amplifier");
    }
    world.validate();
    world.from_browser(rest);
    world.drain();
});
