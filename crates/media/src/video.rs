//! Video formats, as descriptions name them: VP8 (RFC 7741) and H.264 (RFC 6184).
//!
//! Nothing here looks into a picture: video is passed on, never translated.

use std::fmt;

/// A codec, for figures and records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VideoCodec {
    Vp8,
    H264,
}

impl VideoCodec {
    /// As descriptions write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::H264 => "H264",
        }
    }
}

impl fmt::Display for VideoCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What two parties must have in common for one's pictures to be the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum VideoKind {
    Vp8,
    H264 {
        profile: H264Profile,
        /// 0 is one NAL unit in a packet, 1 is not interleaved (RFC 6184 §5.4).
        mode: u8,
    },
}

/// RFC 6184 §8.1, table 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    Extended,
    High,
    ConstrainedHigh,
    /// `profile_idc` and `profile-iop` as they are.
    Other(u8, u8),
}

impl H264Profile {
    /// Of the first two bytes of `profile-level-id`.
    #[must_use]
    pub fn new(idc: u8, iop: u8) -> Self {
        match (idc, iop) {
            (0x42, iop) if iop & 0x4f == 0x40 => Self::ConstrainedBaseline,
            (0x4d, iop) if iop & 0x8f == 0x80 => Self::ConstrainedBaseline,
            (0x58, iop) if iop & 0xcf == 0xc0 => Self::ConstrainedBaseline,
            (0x42, iop) if iop & 0x4f == 0 => Self::Baseline,
            (0x58, iop) if iop & 0xcf == 0x80 => Self::Baseline,
            (0x4d, iop) if iop & 0xaf == 0 => Self::Main,
            (0x58, iop) if iop & 0xcf == 0 => Self::Extended,
            (0x64, 0) => Self::High,
            (0x64, 0x0c) => Self::ConstrainedHigh,
            (idc, iop) => Self::Other(idc, iop),
        }
    }
}

impl VideoKind {
    #[must_use]
    pub fn codec(self) -> VideoCodec {
        match self {
            Self::Vp8 => VideoCodec::Vp8,
            Self::H264 { .. } => VideoCodec::H264,
        }
    }

    #[must_use]
    pub fn name(self) -> &'static str {
        self.codec().name()
    }

    /// Whether one is the other but for the constraints of Baseline, which no encoder of today
    /// makes use of.
    #[must_use]
    pub fn is_like(self, other: Self) -> bool {
        use H264Profile::{Baseline, ConstrainedBaseline};
        let is_baseline = |p| matches!(p, Baseline | ConstrainedBaseline);
        match (self, other) {
            (Self::H264 { profile: a, mode: m }, Self::H264 { profile: b, mode: n }) => {
                m == n && (a == b || (is_baseline(a) && is_baseline(b)))
            }
            _ => self == other,
        }
    }
}

/// A format with what its receiver asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoFormat {
    pub kind: VideoKind,
    /// Cleaned: known names with values of their form.
    pub parameters: Option<String>,
}

impl VideoFormat {
    /// `None` for what we do not pass on.
    #[must_use]
    pub fn from_description(codec: &crosspoint_sdp::Codec) -> Option<Self> {
        let parameters = codec.fmtp.as_deref().unwrap_or_default();
        if codec.is("VP8", 90_000) {
            let parameters = cleaned(parameters, &["max-fr", "max-fs"]);
            return Some(Self { kind: VideoKind::Vp8, parameters });
        }
        if !codec.is("H264", 90_000) {
            return None;
        }
        // RFC 6184 §8.1: Baseline at level 1, one NAL unit in a packet.
        let (mut id, mut mode) = ([0x42, 0, 0x0a], 0);
        for (name, value) in pairs(parameters) {
            if name.eq_ignore_ascii_case("profile-level-id") {
                id = profile_level_id(value)?;
            } else if name.eq_ignore_ascii_case("packetization-mode") {
                mode = value.parse().ok()?;
            }
        }
        // Interleaved mode is nobody's.
        if mode > 1 {
            return None;
        }
        let profile = H264Profile::new(id[0], id[1]);
        let parameters = cleaned(parameters, H264_PARAMETERS);
        Some(Self { kind: VideoKind::H264 { profile, mode }, parameters })
    }
}

fn pairs(parameters: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = parameters.split(';').filter_map(|p| p.trim().split_once('='));
    pairs.map(|(name, value)| (name.trim(), value.trim()))
}

fn profile_level_id(value: &str) -> Option<[u8; 3]> {
    if value.len() != 6 || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let [_, idc, iop, level] = u32::from_str_radix(value, 16).ok()?.to_be_bytes();
    Some([idc, iop, level])
}

/// The parameters with these names, each once, as far as their values are what they should be.
fn cleaned(parameters: &str, names: &[&str]) -> Option<String> {
    let mut out: Vec<(String, &str)> = Vec::new();
    for (name, value) in pairs(parameters) {
        let name = name.to_ascii_lowercase();
        let is_good = match name.as_str() {
            "profile-level-id" => profile_level_id(value).is_some(),
            "sprop-parameter-sets" => {
                let is_set = |b: u8| b.is_ascii_alphanumeric() || b"+/=,".contains(&b);
                value.len() <= 512 && value.bytes().all(is_set)
            }
            _ => value.len() <= 10 && value.bytes().all(|b| b.is_ascii_digit()),
        };
        let is_new = !out.iter().any(|(n, _)| *n == name);
        if is_good && !value.is_empty() && is_new && names.contains(&name.as_str()) {
            out.push((name, value));
        }
    }
    let text = out.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join(";");
    (!text.is_empty()).then_some(text)
}

/// RFC 6184 §8.1, as far as they say what a receiver can take or what a stream begins with.
const H264_PARAMETERS: &[&str] = &[
    "level-asymmetry-allowed",
    "packetization-mode",
    "profile-level-id",
    "sprop-parameter-sets",
    "max-mbps",
    "max-smbps",
    "max-fs",
    "max-cpb",
    "max-dpb",
    "max-br",
    "max-rcmd-nalu-size",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn format(name: &str, fmtp: &str) -> Option<VideoFormat> {
        VideoFormat::from_description(&crosspoint_sdp::Codec {
            pt: 97,
            name: name.to_owned(),
            clock_rate: 90_000,
            channels: 1,
            fmtp: (!fmtp.is_empty()).then(|| fmtp.to_owned()),
        })
    }

    #[test]
    fn profiles_are_told_apart_as_rfc_6184_does() {
        use H264Profile::*;
        for (id, profile) in [
            ("42e01f", ConstrainedBaseline),
            ("42C00A", ConstrainedBaseline),
            ("4D8015", ConstrainedBaseline),
            ("58c01f", ConstrainedBaseline),
            ("42001f", Baseline),
            ("42801f", Baseline),
            ("58801f", Baseline),
            ("4d001f", Main),
            ("4d401f", Main),
            ("58001f", Extended),
            ("640c1f", ConstrainedHigh),
            ("64001f", High),
            ("f4001f", Other(0xf4, 0)),
        ] {
            let fmtp = format!("profile-level-id={id};packetization-mode=1");
            let kind = format("h264", &fmtp).unwrap().kind;
            assert_eq!(kind, VideoKind::H264 { profile, mode: 1 }, "{id}");
        }
        // Nothing said is Baseline in single packets.
        let kind = VideoKind::H264 { profile: Baseline, mode: 0 };
        assert_eq!(format("H264", "").unwrap().kind, kind);
    }

    #[test]
    fn what_cannot_be_read_or_passed_on_is_no_format() {
        for fmtp in [
            "packetization-mode=2",
            "packetization-mode=x",
            "profile-level-id=42e0",
            "profile-level-id=+2e01f",
            "profile-level-id=42e01f00",
        ] {
            assert_eq!(format("H264", fmtp), None, "{fmtp}");
        }
        assert_eq!(format("AV1", ""), None);
        assert_eq!(format("rtx", "apt=96"), None);
    }

    #[test]
    fn only_known_parameters_of_the_right_form_go_through() {
        let check = |name, fmtp: &str, expected: Option<&str>| {
            assert_eq!(format(name, fmtp).unwrap().parameters.as_deref(), expected, "{fmtp}");
        };
        check("VP8", "max-fs=3600; Max-FR=30;x-evil=1", Some("max-fs=3600;max-fr=30"));
        check("VP8", "max-fs=99999999999;max-fr=a", None);
        let h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
        check("H264", h264, Some(h264));
        check(
            "H264",
            "sprop-parameter-sets=Z0LgHw==,aM48gA==",
            Some("sprop-parameter-sets=Z0LgHw==,aM48gA=="),
        );
        check("H264", "sprop-parameter-sets=a b;max-br=1;max-br=2", Some("max-br=1"));
    }

    #[test]
    fn baseline_is_taken_for_its_constrained_kind_in_the_same_mode_only() {
        let kind = |profile, mode| VideoKind::H264 { profile, mode };
        use H264Profile::{Baseline, ConstrainedBaseline, Main};
        assert!(kind(Baseline, 0).is_like(kind(ConstrainedBaseline, 0)));
        assert!(!kind(Baseline, 0).is_like(kind(ConstrainedBaseline, 1)));
        assert!(!kind(Baseline, 0).is_like(kind(Main, 0)));
        assert!(!kind(Baseline, 0).is_like(VideoKind::Vp8));
        assert!(VideoKind::Vp8.is_like(VideoKind::Vp8));
    }
}
