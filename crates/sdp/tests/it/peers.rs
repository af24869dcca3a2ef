//! What browsers, phones and gateways write, in their own manner.

use crosspoint_sdp::{Candidate, Direction, Media, Session, Setup};

const PEERS: [(&str, &str); 11] = [
    ("chrome", include_str!("../data/chrome-offer.sdp")),
    ("firefox", include_str!("../data/firefox-offer.sdp")),
    ("jssip", include_str!("../data/jssip-answer.sdp")),
    ("baresip", include_str!("../data/baresip-offer.sdp")),
    ("asterisk", include_str!("../data/asterisk-answer.sdp")),
    ("broadworks", include_str!("../data/broadworks-offer.sdp")),
    ("webex", include_str!("../data/webex-client-offer.sdp")),
    ("linphone", include_str!("../data/linphone-osrtp-offer.sdp")),
    ("snom", include_str!("../data/snom-savp-offer.sdp")),
    ("t38", include_str!("../data/t38-reinvite.sdp")),
    ("both", include_str!("../data/both-keys-offer.sdp")),
];

fn peer(name: &str) -> Session {
    let (_, text) = PEERS.iter().find(|(n, _)| *n == name).expect("a listed peer");
    Session::parse(text.as_bytes()).expect("what a real peer writes")
}

fn audio(name: &str) -> Media {
    peer(name).media().next().expect("a first section")
}

fn codecs(media: &Media) -> Vec<String> {
    media.codecs.iter().map(|c| format!("{}={}/{}", c.pt, c.name, c.clock_rate)).collect()
}

#[test]
fn every_peer_is_printed_as_it_wrote_but_for_line_ends() {
    for (name, text) in PEERS {
        let printed = peer(name).to_string();
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&printed), sorted(text), "{name}");
        assert!(printed.lines().count() == printed.matches("\r\n").count(), "{name}");
        assert_eq!(Session::parse(printed.as_bytes()).unwrap(), peer(name), "{name}");
    }
}

#[test]
fn no_peer_shows_its_addresses_or_secrets_in_debug_output() {
    for (name, text) in PEERS {
        let session = peer(name);
        let shown = format!("{session:?} {:?}", session.media().collect::<Vec<_>>());
        let secrets = text.lines().filter_map(|line| {
            let (key, value) = line.split_once(':').or(line.split_once(' '))?;
            match key {
                "a=ice-pwd" => Some(value),
                "a=crypto" => value.split("inline:").nth(1),
                "c=IN" => value.split(' ').nth(1).filter(|a| *a != "0.0.0.0"),
                _ => None,
            }
        });
        for secret in secrets {
            assert!(!shown.contains(secret.trim()), "{name} shows {secret}");
        }
    }
}

#[test]
fn chrome() {
    let media = audio("chrome");
    assert_eq!(
        codecs(&media),
        [
            "111=opus/48000",
            "63=red/48000",
            "9=G722/8000",
            "0=PCMU/8000",
            "8=PCMA/8000",
            "13=CN/8000",
            "110=telephone-event/48000",
            "126=telephone-event/8000"
        ]
    );
    let usable: Vec<_> = media.candidates.iter().filter_map(Candidate::udp_address).collect();
    assert_eq!((media.candidates.len(), usable), (3, vec![([203, 0, 113, 9], 49_203).into()]));
    assert!(media.trickle && media.rtcp_mux && media.is_bundled && !media.end_of_candidates);
    assert!(!media.is_held() && !media.is_rejected());
    assert_eq!(media.ssrc, Some((3_735_928_559, "kT7uQe".to_owned())));
    assert_eq!(peer("chrome").media().nth(1).unwrap().direction, Direction::RecvOnly);
}

#[test]
fn firefox_says_some_things_for_all_sections() {
    let media = audio("firefox");
    assert_eq!(media.fingerprints.len(), 1);
    assert_eq!(
        media.codecs[0].fmtp.as_deref(),
        Some("maxplaybackrate=48000;stereo=1;useinbandfec=1")
    );
    assert_eq!((media.codecs[4].channels, media.codecs[4].clock_rate), (1, 8000));
    assert!(media.trickle && !media.is_held());
}

#[test]
fn phones_and_gateways() {
    let baresip = audio("baresip");
    assert_eq!(
        (baresip.rtcp_port, baresip.ptime, baresip.rtcp_mux),
        (Some(16_385), Some(20), false)
    );
    let asterisk = audio("asterisk");
    assert_eq!(asterisk.maxptime, Some(150));
    assert_eq!(codecs(&asterisk), ["8=PCMA/8000", "101=telephone-event/8000"]);
    let broadworks = audio("broadworks");
    assert!(peer("broadworks").is_ice_lite());
    assert_eq!(broadworks.fingerprints.len(), 2);
    assert_eq!((broadworks.mid, broadworks.is_bundled), (None, false));
    let webex = audio("webex");
    assert!(!webex.is_rejected(), "port 0 beside candidates is meant");
    let linphone = audio("linphone");
    assert_eq!(linphone.address.unwrap().to_string(), "2001:db8::17");
    let keys: Vec<_> =
        linphone.cryptos.iter().map(|c| (c.has_mki, c.parameters.is_some())).collect();
    assert_eq!(keys, [(true, false), (false, false), (false, true)]);
    assert_eq!(audio("snom").cryptos[1].suite, "AES_CM_128_HMAC_SHA1_80");
}

#[test]
fn fax_sections_are_kept_as_they_are() {
    let sections: Vec<Media> = peer("t38").media().collect();
    assert!(sections[0].is_rejected() && !sections[1].is_rejected());
    assert_eq!((sections[1].kind.as_str(), sections[1].protocol.as_str()), ("image", "udptl"));
    assert_eq!(sections[1].formats, ["t38"]);
    assert!(sections[1].codecs.is_empty());
    assert_eq!(sections[1].address.unwrap().to_string(), "192.0.2.91");
    let others = &sections[1].others;
    assert!(others.iter().any(|(name, value)| name == "T38FaxVersion" && value.is_some()));
    let refused = Media::refused(&sections[1]);
    assert!(refused.others.is_empty());
    assert_eq!((refused.port, refused.formats), (0, vec!["t38".to_owned()]));
}

#[test]
fn the_session_level_speaks_for_sections_that_do_not() {
    let media = audio("both");
    assert_eq!(media.ice_ufrag.as_deref(), Some("sess"));
    assert_eq!((media.fingerprints.len(), media.cryptos.len()), (1, 1));
    assert_eq!(media.setup, Some(Setup::ActPass));
}
