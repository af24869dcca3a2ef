//! What a request asks for beside its description: flags, as Kamailio's and OpenSIPS' modules
//! send them.
//!
//! The same wish comes in several forms: as a key of its own (`ICE: force`), as a word in the
//! list of flags (`ICE-force`), or in one text of all flags (`rtpp-flags`). All end up here.
//! Unknown words are kept, so that a test for one costs nothing, and mean nothing.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::dictionary::{Dictionary, Value, plain_word};

/// The wishes of one request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    words: BTreeSet<String>,
    pub(crate) replace: BTreeSet<String>,
    /// Such as `RTP/SAVPF`, in capitals.
    pub(crate) transport: Option<String>,
    pub(crate) ice: Option<Ice>,
    pub(crate) dtls: Option<Dtls>,
    sdes: BTreeSet<String>,
    osrtp: BTreeSet<String>,
    mux: BTreeSet<String>,
    pub(crate) codecs: CodecRules,
    pub(crate) media_address: Option<IpAddr>,
    pub(crate) received_from: Option<IpAddr>,
    pub(crate) label: Option<String>,
    /// Where digits of this call are told.
    pub(crate) dtmf_log: Option<SocketAddr>,
    /// Names of interfaces: of who sends, and of who is sent to.
    direction: Vec<String>,
    from_interface: Option<String>,
    to_interface: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ice {
    Remove,
    Force,
    /// As the other side does it.
    Default,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtls {
    Off,
    Passive,
    Active,
}

/// Codec specifications by what shall happen to them.
#[derive(Debug, Clone, Default)]
pub(crate) struct CodecRules {
    pub(crate) strip: Vec<Spec>,
    pub(crate) except: Vec<Spec>,
    pub(crate) offer: Vec<Spec>,
    pub(crate) transcode: Vec<Spec>,
    /// Hidden from the other side, and translated when they are used.
    pub(crate) mask: Vec<Spec>,
}

/// `name[/clock[/channels…]]`, or `all`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    name: String,
    clock: Option<u32>,
}

impl Spec {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let name = parts.next()?.trim().to_ascii_lowercase();
        let clock = parts.next().and_then(|c| c.parse().ok());
        (!name.is_empty()).then_some(Self { name, clock })
    }

    /// `all` and `full` mean every codec, but for what is no sound.
    pub(crate) fn is_all(&self) -> bool {
        self.name == "all" || self.name == "full"
    }

    pub(crate) fn fits(&self, codec: &crosspoint_sdp::Codec) -> bool {
        let is_event = codec.name.eq_ignore_ascii_case("telephone-event");
        (self.is_all() && !is_event)
            || (codec.name.eq_ignore_ascii_case(&self.name)
                && self.clock.is_none_or(|clock| clock == codec.clock_rate))
    }
}

impl Flags {
    pub(crate) fn read(request: &Dictionary) -> Self {
        let mut flags = Self::default();
        for (key, value) in request.entries().take(MAX_ENTRIES) {
            let key = plain_word(&String::from_utf8_lossy(key));
            match (key.as_str(), value) {
                ("flags", value) => value.to_words().iter().for_each(|w| flags.word(w)),
                ("rtpp-flags", value) => flags.text(&value.to_text().unwrap_or_default()),
                ("codec", Value::Dictionary(rules)) => {
                    for (rule, specs) in rules.entries() {
                        let rule = plain_word(&String::from_utf8_lossy(rule));
                        specs.to_words().iter().for_each(|spec| flags.codec(&rule, spec));
                    }
                }
                // The address behind its family.
                ("received-from", value) => {
                    flags.received_from = value.to_words().last().and_then(|a| a.parse().ok());
                }
                (key, value) => {
                    for word in value.to_words() {
                        flags.pair(key, &word);
                    }
                }
            }
        }
        flags
    }

    /// Whether a word is among the flags; written in lower case with hyphens.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.words.contains(word)
    }

    pub(crate) fn sdes_off(&self) -> bool {
        ["off", "no", "disable"].iter().any(|word| self.sdes.contains(*word))
    }

    /// Whether keys of this suite may be offered.
    pub(crate) fn allows_suite(&self, suite: &str) -> bool {
        let suite = plain_word(suite);
        let only = self.sdes.iter().filter_map(|word| word.strip_prefix("only-"));
        let mut only = only.peekable();
        let is_listed = only.peek().is_none() || only.any(|listed| listed == suite);
        is_listed && !self.sdes.contains(&format!("no-{suite}"))
    }

    /// Which interface the side that sends a description is on, and which the other.
    pub(crate) fn interfaces(&self) -> (Option<&str>, Option<&str>) {
        let from = self.from_interface.as_ref().or(self.direction.first());
        let to = self.to_interface.as_ref().or(self.direction.get(1));
        (from.map(String::as_str), to.map(String::as_str))
    }

    pub(crate) fn offers_osrtp(&self) -> bool {
        self.osrtp.contains("offer")
    }

    /// Whether an offer lets RTCP go to the port of RTP; `None` leaves it to the other side.
    pub(crate) fn offers_mux(&self) -> Option<bool> {
        if self.mux.contains("offer") || self.mux.contains("require") {
            return Some(true);
        }
        (self.mux.contains("demux") || self.mux.contains("reject")).then_some(false)
    }

    /// The same for an answer.
    pub(crate) fn accepts_mux(&self) -> Option<bool> {
        let accepts = self.mux.contains("accept") || self.mux.contains("require");
        accepts.then_some(true).or(self.mux.contains("reject").then_some(false))
    }

    fn word(&mut self, word: &str) {
        if let Some((key, value)) = word.split_once('=') {
            return self.pair(&plain_word(key), value);
        }
        let plain = plain_word(word);
        for prefix in ["replace", "sdes", "ice", "osrtp", "rtcp-mux", "dtls"] {
            let rest = plain.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
            if let Some(rest) = rest {
                return self.pair(prefix, rest);
            }
        }
        let codec = plain.strip_prefix("codec-").unwrap_or(&plain);
        for rule in ["strip", "except", "offer", "transcode", "mask", "consume", "accept"] {
            let spec = codec.strip_prefix(rule).and_then(|rest| rest.strip_prefix('-'));
            // Only `transcode-…` may stand without its prefix.
            if let Some(spec) = spec.filter(|_| rule == "transcode" || codec.len() < plain.len()) {
                return self.codec(rule, spec);
            }
        }
        if is_transport(&plain) {
            self.pair("transport-protocol", word);
        } else if self.words.len() < MAX_ENTRIES {
            self.words.insert(plain);
        }
    }

    /// `key` is plain.
    fn pair(&mut self, key: &str, value: &str) {
        let plain = plain_word(value);
        match key {
            "replace" => keep(&mut self.replace, plain),
            "sdes" => keep(&mut self.sdes, plain),
            "osrtp" => keep(&mut self.osrtp, plain),
            "rtcp-mux" => keep(&mut self.mux, plain),
            "transport-protocol" => self.transport = transport(value),
            "ice" => {
                self.ice = match plain.as_str() {
                    "remove" => Some(Ice::Remove),
                    "force" | "optional" => Some(Ice::Force),
                    "default" => Some(Ice::Default),
                    _ => self.ice,
                }
            }
            "dtls" => {
                self.dtls = match plain.as_str() {
                    "off" | "no" | "disable" => Some(Dtls::Off),
                    "passive" => Some(Dtls::Passive),
                    "active" => Some(Dtls::Active),
                    _ => self.dtls,
                }
            }
            "media-address" => self.media_address = value.trim_matches(['[', ']']).parse().ok(),
            "received-from" => self.received_from = value.parse().ok(),
            "dtmf-log-dest" | "dtmf-log-destination" => self.dtmf_log = value.parse().ok(),
            "label" => self.label = Some(value.to_owned()),
            "direction" if self.direction.len() < 2 => self.direction.push(value.to_owned()),
            "from-interface" => self.from_interface = Some(value.to_owned()),
            "to-interface" | "interface" => self.to_interface = Some(value.to_owned()),
            _ => {}
        }
    }

    fn codec(&mut self, rule: &str, spec: &str) {
        let Some(spec) = Spec::parse(spec) else { return };
        let rules = &mut self.codecs;
        let list = match rule {
            "strip" => &mut rules.strip,
            "except" => &mut rules.except,
            "offer" => &mut rules.offer,
            "transcode" => &mut rules.transcode,
            // What is consumed or masked is translated when it is used.
            "mask" | "consume" => &mut rules.mask,
            _ => return,
        };
        if list.len() < MAX_ENTRIES {
            list.push(spec);
        }
    }

    /// All flags in one text: words, `key=value`, and `key=[value value]`.
    fn text(&mut self, text: &str) {
        let mut key: Option<String> = None;
        for word in text.split_whitespace().take(MAX_ENTRIES) {
            match (&key, word.split_once("=[")) {
                (None, Some((name, value))) => {
                    let name = plain_word(name);
                    let list = value.strip_suffix(']');
                    self.listed(&name, list.unwrap_or(value));
                    key = list.is_none().then_some(name);
                }
                (None, None) => self.word(word),
                (Some(name), _) => {
                    let (name, list) = (name.clone(), word.strip_suffix(']'));
                    self.listed(&name, list.unwrap_or(word));
                    if list.is_some() {
                        key = None;
                    }
                }
            }
        }
    }

    fn listed(&mut self, key: &str, value: &str) {
        match key.strip_prefix("codec-") {
            Some(rule) => self.codec(rule, value),
            None => self.pair(key, value),
        }
    }
}

fn keep(set: &mut BTreeSet<String>, word: String) {
    if set.len() < MAX_ENTRIES {
        set.insert(word);
    }
}

fn is_transport(plain: &str) -> bool {
    transport(plain).is_some()
}

/// The profile a word names: Kamailio's modules also know short forms.
fn transport(word: &str) -> Option<String> {
    let full = match plain_word(word).as_str() {
        "rtp" | "avp" | "rtp/avp" => "RTP/AVP",
        "avpf" | "rtp/avpf" => "RTP/AVPF",
        "srtp" | "rtp/savp" => "RTP/SAVP",
        "rtp/savpf" => "RTP/SAVPF",
        "udp/tls/rtp/savp" => "UDP/TLS/RTP/SAVP",
        "dtls" | "udp/tls/rtp/savpf" | "webrtc" => "UDP/TLS/RTP/SAVPF",
        _ => return None,
    };
    Some(full.to_owned())
}

const MAX_ENTRIES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(request: &Dictionary) -> Flags {
        Flags::read(request)
    }

    fn words(list: &[&str]) -> Value {
        Value::List(list.iter().map(|w| Value::from(*w)).collect())
    }

    /// Captured of Kamailio 5.6, and the same as one text by newer ones.
    #[test]
    fn every_form_of_the_same_wish_is_understood() {
        let keys = Dictionary::new()
            .with("ICE", "force")
            .with("DTLS", "passive")
            .with("replace", words(&["origin", "session-connection"]))
            .with("transport-protocol", "RTP/SAVPF")
            .with("SDES", words(&["off"]))
            .with("rtcp-mux", words(&["demux"]))
            .with("flags", words(&["trust-address", "generate mid"]))
            .with("received-from", words(&["IP4", "127.0.0.1"]))
            .with("codec", Dictionary::new().with("strip", words(&["G729", "opus/48000/2"])));
        let list = Dictionary::new().with(
            "flags",
            words(&[
                "ICE-force",
                "DTLS=passive",
                "replace-origin",
                "RTP/SAVPF",
                "SDES-off",
                "rtcp-mux-demux",
                "trust-address",
                "generate-mid",
                "received-from=127.0.0.1",
                "codec-strip-G729",
                "codec-strip-opus/48000/2",
            ]),
        );
        let text = Dictionary::new().with(
            "rtpp-flags",
            "ICE=force DTLS=passive replace=[origin session-connection] RTP/SAVPF SDES-off \
             rtcp-mux=[demux] trust-address generate-mid received-from=127.0.0.1 \
             codec-strip=[G729 opus/48000/2]",
        );
        for request in [keys, list, text] {
            let flags = flags(&request);
            assert_eq!((flags.ice, flags.dtls), (Some(Ice::Force), Some(Dtls::Passive)));
            assert_eq!(flags.transport.as_deref(), Some("RTP/SAVPF"));
            assert!(flags.replace.contains("origin") && flags.sdes_off());
            assert_eq!((flags.offers_mux(), flags.accepts_mux()), (Some(false), None));
            assert!(flags.has("trust-address") && flags.has("generate-mid"));
            assert_eq!(flags.received_from, "127.0.0.1".parse().ok());
            let [g729, opus] = &flags.codecs.strip[..] else { panic!("{request:?}") };
            assert_eq!((g729.name.as_str(), opus.clock), ("g729", Some(48_000)));
        }
    }

    #[test]
    fn a_word_that_begins_like_a_rule_is_a_word() {
        let flags = flags(&Dictionary::new().with("flags", words(&["strip-extmap", "x"])));
        assert!(flags.has("strip-extmap") && flags.codecs.strip.is_empty());
    }

    #[test]
    fn suites_are_listed_or_left_out() {
        let sdes = |list: &[&str]| flags(&Dictionary::new().with("SDES", words(list)));
        let suite = "AES_CM_128_HMAC_SHA1_80";
        assert!(sdes(&[]).allows_suite(suite));
        assert!(!sdes(&["no-AES_CM_128_HMAC_SHA1_80"]).allows_suite(suite));
        assert!(sdes(&["only-AES_CM_128_HMAC_SHA1_80"]).allows_suite(suite));
        assert!(!sdes(&["only-AEAD_AES_128_GCM"]).allows_suite(suite));
    }

    #[test]
    fn floods_of_flags_stay_bounded() {
        let many: Vec<Value> = (0..4000).map(|n| Value::from(format!("w{n}"))).collect();
        let flags = flags(&Dictionary::new().with("flags", many.clone()).with("SDES", many));
        assert!(flags.words.len() <= MAX_ENTRIES && flags.sdes.len() <= MAX_ENTRIES);
    }
}
