//! RTCP of any kind: bounded, and what we write is read back.
#![no_main]

use crosspoint_media::rtcp::{
    Compound, Feedback, write_fir, write_nack, write_pli, write_remb, write_report, write_tmmbn,
    write_tmmbr,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let compound = Compound::parse(bytes);
    assert!(compound.blocks.len() <= 31 && compound.senders.len() <= 31);
    assert!(compound.feedback.len() <= 32);
    for feedback in &compound.feedback {
        let mut out = Vec::new();
        match feedback {
            Feedback::Nack { ssrc, lost } => {
                assert!(lost.len() <= 17 * 64);
                write_nack(&mut out, 9, *ssrc, lost);
            }
            Feedback::Pli { ssrc } => write_pli(&mut out, 9, *ssrc),
            Feedback::Fir { ssrc, number } => write_fir(&mut out, 9, *ssrc, *number),
            Feedback::Remb { bits } => write_remb(&mut out, 9, 1, *bits),
            Feedback::Tmmbr { by, ssrc, bits } => write_tmmbr(&mut out, *by, *ssrc, *bits),
            Feedback::Tmmbn { by, bits } => write_tmmbn(&mut out, 9, *by, *bits),
        }
        assert_eq!(Compound::parse(&out).feedback.len(), 1);
    }
    for id in 0..=255 {
        let _ = crosspoint_media::rtp::extension(bytes, id);
    }
    let sender = compound.sender.as_ref().map(|(_, info)| info);
    let mut out = Vec::new();
    write_report(&mut out, 9, &String::from_utf8_lossy(bytes), sender, compound.blocks.first());
    assert_eq!(out.len() % 4, 0);
    let again = Compound::parse(&out);
    assert_eq!(again.blocks.first(), compound.blocks.first());
    assert_eq!(again.sender.map(|(_, info)| info), sender.copied());
    assert!(!again.bye);
});
