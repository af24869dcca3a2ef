//! Where media of a browser stopped on its way up.

use std::net::SocketAddr;

use crosspoint_base::{CallId, LegId};
use crosspoint_call::{Cause, Ended, Party};
use crosspoint_ladder::explain::explain;
use crosspoint_ladder::{DtlsStep, Note};

use crate::bounds::{SMALL, World};

/// What is said of a call whose browser came as far as this.
fn told_of(notes: &[Note]) -> Vec<String> {
    let mut world = World::new(SMALL);
    let gcid = world.call(1);
    world.comes("call-1", "a=ice-ufrag:abcd", false);
    for note in notes {
        world.ladders.note(world.now, LegId(1), note.clone());
    }
    world.ladders.note_call(world.now, CallId(1), Note::Answered);
    let ended = Ended { by: Party::Front, cause: Cause::Normal };
    world.ladders.note_call(world.now, CallId(1), Note::Over(ended));
    explain(&world.ladders.of(&gcid).expect("it is there")).details
}

fn tells(notes: &[Note], words: &str) -> bool {
    told_of(notes).iter().any(|detail| detail.contains(words))
}

#[test]
fn a_browser_that_stopped_is_told_of_by_where_it_did() {
    let remote = SocketAddr::from(([192, 0, 2, 7], 4000));
    let pair = Note::IcePair { transport: "udp", remote };
    let begun = Note::Dtls(DtlsStep::Started { is_client: false });
    let keys = Note::Dtls(DtlsStep::Keys("AEAD_AES_128_GCM"));
    assert!(tells(&[], "ICE failed"));
    assert!(tells(std::slice::from_ref(&pair), "never began it"));
    assert!(tells(&[pair.clone(), begun.clone()], "came to no end"));
    let all = [pair, begun, keys];
    assert!(!told_of(&all).iter().any(|detail| detail.contains("ICE") || detail.contains("DTLS")));
}
