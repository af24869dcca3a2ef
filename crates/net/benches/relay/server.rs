//! A media thread of ours as a process, told what to join over its standard input.

use std::io::{BufRead, Write};
use std::net::IpAddr;
use std::sync::mpsc;
use std::time::Duration;

use crosspoint_base::{LegId, Rng};
use crosspoint_media::control::{Command, Event, Profile, SdpKind, SrtpPolicy};
use crosspoint_net::packet_io::IoKind;
use crosspoint_net::{MediaPool, MediaPoolConfig};
use crosspoint_sdp::Session;

use crate::Outcome;
use crate::front::Pairing;
use crate::namespaces::Namespaces;
use crate::subject::{AWAKE, REALTIME};

const OURS: IpAddr = IpAddr::V4(Namespaces::OURS);

pub(crate) fn kind(name: &str) -> Outcome<IoKind> {
    IoKind::ALL.into_iter().find(|kind| kind.as_str() == name).ok_or_else(|| "no I/O".into())
}

/// For each call, a line comes in with a phone's offer, one goes out with ours to the front, one
/// comes in with the front's answer and one goes out with ours to the phone; line ends within
/// them are bars. Ends with its input.
pub(crate) fn serve(name: &str, pairing: &str, settings: &[&str]) -> Outcome<()> {
    let (io, pairing) = (kind(name)?, Pairing::named(pairing).ok_or("no pairing")?);
    let config = MediaPoolConfig {
        browser_listen: (OURS, 8443).into(),
        addresses: vec![OURS],
        tcp_addresses: Vec::new(),
        rtp_bind: OURS,
        rtp_ports: (10_000, 59_999),
        io: Some(io),
        ice_lite: true,
        timeout: Duration::from_secs(3600),
        max_legs: 100_000,
        threads: 1,
        codec_threads: 0,
        opus_complexity: 5,
        keep_awake: settings.contains(&AWAKE),
        realtime: settings.contains(&REALTIME),
    };
    let (sender, events) = mpsc::channel();
    let pool = MediaPool::start(&config, Rng::from_u64(1), move |event| {
        if matches!(event, Event::Described { .. } | Event::Refused { .. }) {
            let _ = sender.send(event);
        }
    })?;
    if pool.io() != io {
        return Err(format!("{name} cannot be had here").into());
    }
    let described = || match events.recv_timeout(Duration::from_secs(20))? {
        Event::Described { description, .. } => Outcome::Ok(description.to_string()),
        other => Err(format!("{other:?}").into()),
    };
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    let mut lines = input.lines();
    let mut describe = |session: Option<String>| -> Outcome<Option<Session>> {
        if let Some(text) = session {
            writeln!(output, "{}", text.replace("\r\n", "|"))?;
            output.flush()?;
        }
        let Some(line) = lines.next() else { return Ok(None) };
        Ok(Some(Session::parse(line?.replace('|', "\r\n").as_bytes())?))
    };
    let mut answer = None;
    for number in 0.. {
        let (a, b) = (LegId(2 * number + 1), LegId(2 * number + 2));
        let Some(description) = describe(answer.take())? else { return Ok(()) };
        pool.send(Command::Open { leg: a, profile: Profile::Rtp(SrtpPolicy::Off) });
        pool.send(Command::Open { leg: b, profile: pairing.profile() });
        pool.send(Command::Accept { leg: a, kind: SdpKind::Offer, description });
        pool.send(Command::Describe { leg: b, kind: SdpKind::Offer, peer: Some(a) });
        let offer = described()?;
        let Some(description) = describe(Some(offer))? else { return Ok(()) };
        pool.send(Command::Accept { leg: b, kind: SdpKind::Answer, description });
        pool.send(Command::Bridge { a, b });
        pool.send(Command::Describe { leg: a, kind: SdpKind::Answer, peer: Some(b) });
        answer = Some(described()?);
    }
    Ok(())
}
