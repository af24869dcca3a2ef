//! DTLS with nothing around it: what no server that uses the same library can go below.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::certificate::generate_self_signed_certificate;
use dimpl::{Config, Dtls, Output};

use crate::Outcome;

/// Handshakes that our end does in a second, beginning them as the gateway does where a browser answers.
pub(crate) fn handshakes(count: u32) -> Outcome<f64> {
    let ours = Arc::new(crosspoint_media::dtls::config().map_err(|e| format!("DTLS: {e:?}"))?);
    let theirs = Arc::new(Config::default());
    let certificate = || generate_self_signed_certificate().map_err(|e| format!("{e:?}"));
    let (our_certificate, their_certificate) = (certificate()?, certificate()?);
    let mut spent = Duration::ZERO;
    // The first ones pay for what all share.
    for number in 0..count + count / 4 {
        let now = Instant::now();
        let mut their_end = End::new(Dtls::new_12(theirs.clone(), their_certificate.clone(), now));
        let mut took = Duration::ZERO;
        let start = Instant::now();
        let mut our_end = End::new(Dtls::new_12(ours.clone(), our_certificate.clone(), now));
        our_end.dtls.set_active(true);
        our_end.take(now, &[])?;
        took += start.elapsed();
        while !(our_end.has_keys && their_end.has_keys) {
            let said = std::mem::take(&mut our_end.said);
            their_end.take(now, &said)?;
            let said = std::mem::take(&mut their_end.said);
            if said.is_empty() && our_end.said.is_empty() && !our_end.has_keys {
                return Err("a handshake stopped".into());
            }
            let start = Instant::now();
            our_end.take(now, &said)?;
            took += start.elapsed();
        }
        let start = Instant::now();
        drop(our_end);
        took += start.elapsed();
        if number >= count / 4 {
            spent += took;
        }
    }
    Ok(f64::from(count) / spent.as_secs_f64())
}

struct End {
    dtls: Dtls,
    said: Vec<Vec<u8>>,
    has_keys: bool,
}

impl End {
    fn new(dtls: Dtls) -> Self {
        Self { dtls, said: Vec::new(), has_keys: false }
    }

    /// Hears packets, and says what there is to say.
    fn take(&mut self, now: Instant, packets: &[Vec<u8>]) -> Outcome<()> {
        self.dtls.handle_timeout(now).map_err(|e| format!("DTLS: {e:?}"))?;
        for packet in packets {
            self.dtls.handle_packet(packet).map_err(|e| format!("DTLS: {e:?}"))?;
        }
        let mut buffer = [0; 4096];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(bytes) => self.said.push(bytes.to_vec()),
                Output::KeyingMaterial(..) => self.has_keys = true,
                Output::Timeout(_) => return Ok(()),
                _ => {}
            }
        }
    }
}
