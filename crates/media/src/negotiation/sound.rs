//! Which sound a leg may have, where that is not left to its two peers: a trunk's codecs in their
//! order, and whether digits may travel in the media.

use crosspoint_sdp::Media;

use crate::codec::Codec;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SoundRules {
    /// Best first; empty leaves the choice to the peers.
    pub codecs: Vec<Codec>,
    /// No telephone events (RFC 4733): digits go by signalling.
    pub no_events: bool,
}

impl SoundRules {
    /// What of a peer's description counts, in our order.
    pub(super) fn narrow(&self, audio: &mut Media) {
        let place = |codec: Codec| self.codecs.iter().position(|c| *c == codec);
        let mut gone = Vec::new();
        audio.codecs.retain(|described| {
            let is_event = described.name.eq_ignore_ascii_case("telephone-event");
            let codec = Codec::from_description(described);
            let is_out = !self.codecs.is_empty() && codec.is_some_and(|c| place(c).is_none());
            let stays = !(is_out || is_event && self.no_events);
            if !stays {
                gone.push(described.pt.to_string());
            }
            stays
        });
        audio.formats.retain(|format| !gone.contains(format));
        if !self.codecs.is_empty() {
            audio.codecs.sort_by_key(|described| {
                Codec::from_description(described).and_then(place).unwrap_or(usize::MAX)
            });
        }
    }

    /// The codecs of an offer of ours: `wanted` by the other leg and then the `usual` ones, where
    /// nothing is ruled.
    pub(super) fn offered<'a>(
        &'a self,
        wanted: &'a [Codec],
        usual: &'a [Codec],
    ) -> (&'a [Codec], &'a [Codec]) {
        if self.codecs.is_empty() { (wanted, usual) } else { (&self.codecs, &[]) }
    }
}

#[cfg(test)]
mod tests {
    use crosspoint_sdp::Session;

    use super::*;

    fn audio() -> Media {
        let text = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
                    m=audio 4000 RTP/AVP 9 0 8 101 13\r\na=rtpmap:101 telephone-event/8000\r\n";
        let session = Session::parse(text.as_bytes()).unwrap();
        session.media().next().unwrap()
    }

    fn left(rules: &SoundRules) -> Vec<u8> {
        let mut audio = audio();
        rules.narrow(&mut audio);
        audio.codecs.iter().map(|c| c.pt).collect()
    }

    #[test]
    fn only_listed_codecs_stay_and_ours_come_first() {
        let codecs = vec![Codec::Pcma, Codec::Pcmu];
        assert_eq!(left(&SoundRules { codecs, no_events: false }), [8, 0, 101, 13]);
        assert_eq!(left(&SoundRules { codecs: vec![], no_events: true }), [9, 0, 8, 13]);
        assert_eq!(left(&SoundRules::default()), [9, 0, 8, 101, 13]);
    }
}
