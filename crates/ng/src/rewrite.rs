//! The description that a proxy sends on: the sender's own, with our transport in place of its.
//!
//! Lines that say nothing of addresses, keys or numbers stay as they are, known to us or not.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use crosspoint_media::codec::Codec;
use crosspoint_media::negotiation::Format;
use crosspoint_sdp::{Media, Origin, Session};

use crate::flags::{CodecRules, Flags, Spec};

/// What the sender's description becomes.
#[derive(Debug)]
pub(crate) struct Rewrite<'r> {
    /// The sender's text.
    pub(crate) source: &'r str,
    /// Ours for the leg that it goes to.
    pub(crate) ours: &'r Session,
    /// Which section is the sound, and its formats.
    pub(crate) index: usize,
    pub(crate) formats: &'r [Format],
    pub(crate) flags: &'r Flags,
    /// The profile's name in the section, when it is not ours.
    pub(crate) protocol: Option<&'r str>,
    /// Sections with a way of their own, by their places.
    pub(crate) own: &'r BTreeMap<usize, OwnSection<'r>>,
}

/// A section with a way of its own: where it is sent to, and of sound its formats and what its
/// profile is called when it is not ours. Others pass as they are.
#[derive(Debug)]
pub(crate) struct OwnSection<'r> {
    pub(crate) told: &'r Media,
    pub(crate) sound: Option<(&'r [Format], Option<&'r str>)>,
}

/// How a section of sound is printed.
#[derive(Clone, Copy)]
struct Sound<'s> {
    media: &'s Media,
    formats: &'s [Format],
    protocol: Option<&'s str>,
    /// What it is called where it has to have a name.
    number: usize,
}

impl Rewrite<'_> {
    pub(crate) fn print(&self) -> String {
        let sections: Vec<Media> = self.ours.media().collect();
        let used = sections.get(self.index).filter(|m| m.port != 0);
        let any = used.or(self.own.values().next().map(|own| own.told));
        let address = self.flags.media_address.or(any.and_then(|m| m.address));
        let mut parts = parts(self.source).into_iter();
        let mut out = String::with_capacity(self.source.len() + 1024);
        if let Some(session) = parts.next() {
            self.session(&session, &sections, address, &mut out);
        }
        for (index, lines) in parts.enumerate() {
            let number = index + 1;
            match self.own.get(&index) {
                Some(OwnSection { told, sound: None }) => {
                    self.raw_section(&lines, told, &mut out);
                    continue;
                }
                Some(OwnSection { told: media, sound: Some((formats, protocol)) })
                    if media.port != 0 =>
                {
                    let sound = Sound { media, formats, protocol: *protocol, number };
                    let address = self.flags.media_address.or(media.address);
                    self.section(&lines, sound, address, &mut out);
                    continue;
                }
                Some(_) | None => {}
            }
            match sections.get(index) {
                Some(media) if index == self.index && media.port != 0 => {
                    let (formats, protocol) = (self.formats, self.protocol);
                    let sound = Sound { media, formats, protocol, number: 1 };
                    self.section(&lines, sound, address, &mut out);
                }
                Some(media) if media.is_video() && media.port != 0 => {
                    self.video(media, &mut out);
                }
                // A section of a kind that is not relayed stays in its place, refused.
                _ => refuse(&lines, &mut out),
            }
        }
        out
    }

    fn session(
        &self,
        lines: &[&str],
        sections: &[Media],
        address: Option<IpAddr>,
        out: &mut String,
    ) {
        for line in lines {
            match (line.get(..2).unwrap_or_default(), address) {
                ("o=", Some(address)) => self.origin(line, address, out),
                ("s=", _) if self.flags.replace.contains("session-name") => {
                    push(out, "s=crosspoint")
                }
                ("c=", Some(address)) => push(out, &connection(address)),
                ("a=", _) if is_transport(line) || is_direction(line) => {}
                _ => push(out, line),
            }
        }
        let bundled = sections.iter().filter(|m| m.is_bundled && m.port != 0);
        let mids: Vec<&str> = bundled.filter_map(|m| m.mid.as_deref()).collect();
        if !mids.is_empty() {
            push(out, &format!("a=group:BUNDLE {}", mids.join(" ")));
        }
        if self.ours.is_ice_lite() {
            push(out, "a=ice-lite");
        }
    }

    /// `o=<username> <id> <version> IN IP4 <address>`.
    fn origin(&self, line: &str, address: IpAddr, out: &mut String) {
        let mut words: Vec<&str> = line.get(2..).unwrap_or_default().split_whitespace().collect();
        let replace = &self.flags.replace;
        let (family, text) = (family(address), address.to_string());
        if let [username, _, _, _, of, at] = words.as_mut_slice() {
            if replace.contains("origin") || replace.contains("origin-full") {
                (*of, *at) = (family, text.as_str());
            }
            if replace.contains("username") || replace.contains("origin-full") {
                *username = "crosspoint";
            }
        }
        push(out, &format!("o={}", words.join(" ")));
    }

    fn section(&self, lines: &[&str], sound: Sound<'_>, address: Option<IpAddr>, out: &mut String) {
        let Sound { media, formats, protocol, number } = sound;
        let numbers: Vec<String> = formats.iter().map(|f| f.pt.to_string()).collect();
        let protocol = protocol.unwrap_or(&media.protocol);
        push(out, &format!("m={} {} {protocol} {}", media.kind, media.port, numbers.join(" ")));
        for line in lines.iter().filter(|l| l.starts_with("i=")) {
            push(out, line);
        }
        if let Some(address) = address {
            push(out, &connection(address));
        }
        for line in lines.iter().skip(1).filter(|l| !l.starts_with("c=") && !l.starts_with("i=")) {
            if !line.starts_with("a=") {
                push(out, line);
            }
        }
        for codec in formats.iter().filter_map(|f| f.codec.as_ref()) {
            let channels =
                if codec.channels > 1 { format!("/{}", codec.channels) } else { String::new() };
            push(
                out,
                &format!("a=rtpmap:{} {}/{}{channels}", codec.pt, codec.name, codec.clock_rate),
            );
            if let Some(fmtp) = &codec.fmtp {
                push(out, &format!("a=fmtp:{} {fmtp}", codec.pt));
            }
        }
        let keeps_direction = self.flags.has("original-sendrecv");
        for line in lines.iter().filter(|l| l.starts_with("a=")) {
            let is_dropped = is_transport(line) || is_of_codec(line);
            if !is_dropped && (keeps_direction || !is_direction(line)) {
                push(out, line);
            }
        }
        self.transport((media, number), address, keeps_direction, out);
    }

    fn transport(
        &self,
        (media, number): (&Media, usize),
        address: Option<IpAddr>,
        keeps: bool,
        out: &mut String,
    ) {
        let mut ours = media.clone();
        (ours.formats, ours.codecs) = (vec!["0".to_owned()], vec![]);
        (ours.ptime, ours.maxptime) = (None, None);
        ours.cryptos.retain(|crypto| self.flags.allows_suite(&crypto.suite));
        if !self.flags.has("no-rtcp-attribute") && ours.ice_ufrag.is_none() {
            let beside = if ours.rtcp_mux { Some(media.port) } else { media.port.checked_add(1) };
            ours.rtcp_port = beside;
            ours.rtcp_address = address.filter(|_| self.flags.has("full-rtcp-attribute"));
        }
        if ours.mid.is_none() && self.flags.has("generate-mid") {
            ours.mid = Some(number.to_string());
        }
        for line in printed(&ours).lines().filter(|l| l.starts_with("a=")) {
            if !(keeps && is_direction(line)) {
                self.line(line, out);
            }
        }
    }

    /// Video is not passed on as it is described: losses and key frames end at each leg, so the
    /// section is ours.
    fn video(&self, media: &Media, out: &mut String) {
        let mut ours = media.clone();
        ours.address = self.flags.media_address.or(media.address);
        ours.cryptos.retain(|crypto| self.flags.allows_suite(&crypto.suite));
        if let Some(protocol) = self.protocol {
            protocol.clone_into(&mut ours.protocol);
        }
        if !self.flags.has("no-rtcp-attribute") && ours.ice_ufrag.is_none() && !ours.rtcp_mux {
            ours.rtcp_port = media.port.checked_add(1);
        }
        for line in printed(&ours).lines() {
            self.line(line, out);
        }
    }

    /// The sender's lines, with our address and port.
    fn raw_section(&self, lines: &[&str], told: &Media, out: &mut String) {
        let Some(line) = lines.first().and_then(|l| l.strip_prefix("m=")) else { return };
        let mut words: Vec<&str> = line.split_whitespace().collect();
        let port = told.port.to_string();
        if let Some(word) = words.get_mut(1) {
            *word = &port;
        }
        push(out, &format!("m={}", words.join(" ")));
        if let Some(address) = self.flags.media_address.or(told.address) {
            push(out, &connection(address));
        }
        for line in lines.iter().skip(1).filter(|l| !l.starts_with("c=")) {
            if !(line.starts_with("a=") && is_transport(line)) {
                push(out, line);
            }
        }
    }

    /// A line of ours; candidates have the address that the proxy wants told.
    fn line(&self, line: &str, out: &mut String) {
        match (line.strip_prefix("a=candidate:"), self.flags.media_address) {
            (Some(candidate), Some(address)) => {
                let mut words: Vec<String> = candidate.split(' ').map(str::to_owned).collect();
                if let Some(word) = words.get_mut(4) {
                    *word = address.to_string();
                }
                push(out, &format!("a=candidate:{}", words.join(" ")));
            }
            _ => push(out, line),
        }
    }
}

/// A section as it is written.
fn printed(media: &Media) -> String {
    let origin = Origin { id: 0, version: 0, address: [127, 0, 0, 1].into() };
    let text = Session::build(&origin, false, std::slice::from_ref(media)).to_string();
    let from = text.find("\nm=").map_or(text.len(), |at| at + 1);
    text.get(from..).unwrap_or_default().to_owned()
}

/// The session's lines, then those of each section.
fn parts(text: &str) -> Vec<Vec<&str>> {
    let mut parts = vec![vec![]];
    for line in text.lines().map(str::trim_end).filter(|l| !l.is_empty()) {
        if line.starts_with("m=") {
            parts.push(vec![]);
        }
        if let Some(part) = parts.last_mut() {
            part.push(line);
        }
    }
    parts
}

fn push(out: &mut String, line: &str) {
    let _ = write!(out, "{line}\r\n");
}

fn refuse(lines: &[&str], out: &mut String) {
    let Some(line) = lines.first().and_then(|l| l.strip_prefix("m=")) else { return };
    let mut words: Vec<&str> = line.split_whitespace().collect();
    if let Some(port) = words.get_mut(1) {
        *port = "0";
    }
    push(out, &format!("m={}", words.join(" ")));
    for line in lines.iter().filter(|l| l.starts_with("a=mid:")) {
        push(out, line);
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IP4" } else { "IP6" }
}

fn connection(address: IpAddr) -> String {
    format!("c=IN {} {address}", family(address))
}

fn name(line: &str) -> &str {
    line.strip_prefix("a=").unwrap_or_default().split(':').next().unwrap_or_default()
}

fn is_direction(line: &str) -> bool {
    ["sendrecv", "sendonly", "recvonly", "inactive"].contains(&name(line))
}

fn is_of_codec(line: &str) -> bool {
    ["rtpmap", "fmtp", "rtcp-fb"].contains(&name(line))
}

/// What describes the way to the sender, and names the sources and header extensions that it
/// sends: none of it is true of us.
fn is_transport(line: &str) -> bool {
    const OURS: [&str; 25] = [
        "candidate",
        "connection",
        "crypto",
        "end-of-candidates",
        "extmap",
        "extmap-allow-mixed",
        "fingerprint",
        "group",
        "ice-lite",
        "ice-mismatch",
        "ice-options",
        "ice-pwd",
        "ice-ufrag",
        "mid",
        "msid",
        "msid-semantic",
        "remote-candidates",
        "rtcp",
        "rtcp-mux",
        "rtcp-mux-only",
        "rtcp-rsize",
        "setup",
        "ssrc",
        "ssrc-group",
        "tls-id",
    ];
    OURS.contains(&name(line))
}

/// What the other side is offered of a section's formats.
pub(crate) fn offered(section: &Media, rules: &CodecRules) -> Vec<Format> {
    let fits = |specs: &[Spec], format: &Format| {
        format.codec.as_ref().is_some_and(|codec| specs.iter().any(|spec| spec.fits(codec)))
    };
    let all = Format::all_of(section);
    let is_kept = |format: &&Format| {
        let is_stripped = fits(&rules.strip, format) || fits(&rules.mask, format);
        let has_exceptions = !rules.except.is_empty();
        let is_sound = format.codec.as_ref().is_some_and(|c| !is_event(c));
        let is_listed = fits(&rules.except, format) || fits(&rules.offer, format);
        if is_listed { true } else { !(is_stripped || has_exceptions && is_sound) }
    };
    let mut out: Vec<Format> = all.iter().filter(is_kept).cloned().collect();
    for spec in &rules.transcode {
        let wanted = Codec::KNOWN.into_iter().filter(|codec| spec.fits(&described(*codec, 0)));
        for codec in wanted.filter(|_| !spec.is_all()) {
            let is_there =
                |f: &Format| f.codec.as_ref().and_then(Codec::from_description) == Some(codec);
            if !out.iter().any(is_there) {
                let known = all.iter().find(|f| is_there(f)).cloned();
                out.extend(known.or_else(|| number(codec, &all, &out)));
            }
        }
    }
    out
}

/// What an offerer is answered when the answerer took `answer`: what both list, by the
/// offerer's numbers; where that is nothing, what we can translate.
pub(crate) fn answered(offer: &Media, answer: &Media) -> Vec<Format> {
    let (offered, taken) = (Format::all_of(offer), Format::all_of(answer));
    let mut out: Vec<Format> = Vec::new();
    for format in &taken {
        let same = || offered.iter().filter(|o| o.is_same(format));
        let found = same().find(|o| o.pt == format.pt).or_else(|| same().next());
        let Some(found) = found.filter(|f| !out.iter().any(|o| o.pt == f.pt)) else { continue };
        let codec = format.codec.clone();
        let codec = codec.map(|codec| crosspoint_sdp::Codec { pt: found.pt, ..codec });
        out.push(Format { pt: found.pt, codec });
    }
    let is_sound = |f: &Format| f.codec.as_ref().is_none_or(|c| !is_event(c));
    if !out.iter().any(is_sound) {
        let known = |f: &&Format| f.codec.as_ref().and_then(Codec::from_description).is_some();
        let chosen = offered.iter().find(known).cloned();
        out.splice(0..0, chosen);
    }
    out
}

fn is_event(codec: &crosspoint_sdp::Codec) -> bool {
    codec.name.eq_ignore_ascii_case("telephone-event")
}

fn described(codec: Codec, pt: u8) -> crosspoint_sdp::Codec {
    crosspoint_sdp::Codec {
        pt,
        name: codec.name().to_owned(),
        clock_rate: codec.clock_rate(),
        channels: codec.channels(),
        fmtp: None,
    }
}

/// A number for a codec that we add: its usual one, or one that is free.
fn number(codec: Codec, all: &[Format], out: &[Format]) -> Option<Format> {
    let is_free = |pt: &u8| !all.iter().chain(out).any(|f| f.pt == *pt);
    let pt = Some(codec.default_pt()).filter(is_free).or_else(|| (96..=127).find(is_free))?;
    Some(Format { pt, codec: Some(described(codec, pt)) })
}
