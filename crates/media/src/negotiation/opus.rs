//! The parameters of Opus in descriptions (RFC 7587 §6.1): what one browser asks of the other
//! goes through when both speak Opus, and nothing else of its text does.

use crosspoint_sdp::Media;

/// What a section asks of those who send Opus to it, cleaned: known names with numbers.
pub(super) fn wishes(audio: &Media) -> Option<String> {
    let opus = audio.codecs.iter().find(|c| c.is("opus", 48_000))?;
    let mut wishes: Vec<String> = Vec::new();
    for parameter in opus.fmtp.as_deref()?.split(';') {
        let Some((name, value)) = parameter.trim().split_once('=') else { continue };
        let name = name.trim().to_ascii_lowercase();
        let Ok(value) = value.trim().parse::<u32>() else { continue };
        let is_new = !wishes.iter().any(|w| w.split('=').next() == Some(name.as_str()));
        if PASSED.contains(&name.as_str()) && is_new {
            wishes.push(format!("{name}={value}"));
        }
    }
    (!wishes.is_empty()).then(|| wishes.join(";"))
}

/// Whether next to nothing is to be sent in pauses.
pub(super) fn wants_dtx(audio: &Media) -> bool {
    wishes(audio).is_some_and(|wishes| wishes.split(';').any(|wish| wish == "usedtx=1"))
}

/// Our own parameters, with the far side's wishes behind them.
pub(super) fn print(wishes: Option<&str>) -> String {
    match wishes {
        Some(wishes) => format!("{OURS};{wishes}"),
        None => OURS.to_owned(),
    }
}

const OURS: &str = "minptime=10;useinbandfec=1";
const PASSED: [&str; 7] = [
    "stereo",
    "sprop-stereo",
    "maxaveragebitrate",
    "maxplaybackrate",
    "sprop-maxcapturerate",
    "cbr",
    "usedtx",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_numbers_pass() {
        let mut audio = Media::new("audio", "RTP/AVP");
        let mut check = |fmtp: &str, expected: Option<&str>| {
            audio.codecs = vec![crosspoint_sdp::Codec {
                pt: 111,
                name: "OPUS".to_owned(),
                clock_rate: 48_000,
                channels: 2,
                fmtp: Some(fmtp.to_owned()),
            }];
            assert_eq!(wishes(&audio).as_deref(), expected, "{fmtp}");
        };
        check("minptime=10;useinbandfec=1", None);
        check("stereo=1; sprop-stereo=1", Some("stereo=1;sprop-stereo=1"));
        check("Stereo=1;stereo=0;x-evil=1;cbr=yes", Some("stereo=1"));
        check("maxaveragebitrate=99999999999999", None);
        check("", None);
    }
}
