//! The bare limit: packet I/O and the cipher, and a table of where each packet goes.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crosspoint_media::shard::{BATCH, Forward, Frame, SocketId};
use crosspoint_media::srtp::Context;
use crosspoint_net::packet_io::{Gathering, IoConfig, open};

use crate::Outcome;
use crate::front::Pairing;
use crate::namespaces::Namespaces;
use crate::server::kind;

const OURS: IpAddr = IpAddr::V4(Namespaces::OURS);
const BROWSERS: SocketAddr = SocketAddr::new(OURS, 8443);
/// Ports of the first browser, the first phone and, on our side, its leg.
const BROWSER: u16 = 20_000;
const PHONE: u16 = 40_000;
const LEG: u16 = 10_000;

/// Where the parties of a call send from and to: the front's, then the phone's.
pub(crate) fn parties(pairing: Pairing, call: u32) -> [(SocketAddr, SocketAddr); 2] {
    let peer = |port| SocketAddr::from((Namespaces::PEERS, port));
    let call = call as u16;
    let leg = |side| SocketAddr::new(OURS, LEG + 4 * call + side);
    let front = if pairing == Pairing::WebRtc { BROWSERS } else { leg(2) };
    [(peer(BROWSER + call), front), (peer(PHONE + call), leg(0))]
}

/// What a front protects with, and what it is answered with.
pub(crate) fn keys(pairing: Pairing, call: u32, is_answer: bool) -> Option<Context> {
    let profile = pairing.cipher()?;
    let bytes = |len: usize, salt: u32| -> Vec<u8> {
        (0..len as u32).map(|at| (call * 7 + at * 13 + salt) as u8).collect()
    };
    let which = u32::from(is_answer);
    Context::new(profile, &bytes(profile.key_len(), which), &bytes(profile.salt_len(), 2 + which))
}

struct Call {
    inbound: Option<Context>,
    outbound: Option<Context>,
    front: SocketAddr,
    phone: SocketAddr,
}

pub(crate) fn serve(name: &str, pairing: &str, calls: &str) -> Outcome<()> {
    let (kind, pairing) = (kind(name)?, Pairing::named(pairing).ok_or("no pairing")?);
    let mut opened = open(&IoConfig {
        browser_listen: BROWSERS,
        rtp_bind: OURS,
        addresses: vec![OURS],
        kind: Some(kind),
    })?;
    if opened.kind != kind {
        return Err(format!("{name} cannot be had here").into());
    }
    let mut table = Vec::new();
    for number in 0..calls.parse()? {
        let parties = parties(pairing, number);
        for ((peer, ours), socket) in parties.iter().zip([front_of(number), phone_of(number)]) {
            if *ours == BROWSERS {
                continue;
            }
            if !opened.io.open_pair(socket, *ours) {
                return Err("a port is taken".into());
            }
            opened.io.connect(socket, Some(*peer));
        }
        let [(front, _), (phone, _)] = parties;
        let [inbound, outbound] = [false, true].map(|is_answer| keys(pairing, number, is_answer));
        table.push(Call { inbound, outbound, front, phone });
    }
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    println!("ready");
    std::io::stdout().flush()?;
    let mut forwards = Vec::with_capacity(BATCH);
    let mut spare: Vec<Frame<'static>> = Vec::with_capacity(BATCH);
    let mut gathering = Gathering::default();
    let mut ready = opened.poller.room();
    loop {
        opened.poller.wait(Duration::from_secs(1), &mut ready)?;
        let mut frames = recycled(spare);
        opened.io.receive(&ready, &mut frames);
        for (number, frame) in frames.iter_mut().enumerate() {
            forwards.extend(relay(&mut table, pairing, number, frame));
        }
        let (received, now) = (frames.len(), Instant::now());
        spare = recycled(frames);
        opened.io.forward(now, &forwards);
        forwards.clear();
        gathering.pause(now, received);
    }
}

fn front_of(call: u32) -> SocketId {
    SocketId(4 * u64::from(call) + 4)
}

fn phone_of(call: u32) -> SocketId {
    SocketId(4 * u64::from(call) + 6)
}

fn relay(
    table: &mut [Call],
    pairing: Pairing,
    number: usize,
    frame: &mut Frame<'_>,
) -> Option<Forward> {
    let index = if frame.socket == SocketId::BROWSER {
        u32::from(frame.source.port().checked_sub(BROWSER)?)
    } else {
        u32::try_from((frame.socket.0 / 4).checked_sub(1)?).ok()?
    };
    let call = table.get_mut(index as usize)?;
    Some(if frame.socket == phone_of(index) {
        let len = match &mut call.outbound {
            Some(keys) => keys.protect_rtp(frame.buffer, frame.len).ok()?,
            None => frame.len,
        };
        let is_browser = pairing == Pairing::WebRtc;
        let socket = if is_browser { SocketId::BROWSER } else { front_of(index) };
        Forward { frame: number, socket, destination: call.front, len }
    } else {
        let len = match &mut call.inbound {
            Some(keys) => keys.unprotect_rtp(frame.buffer.get_mut(..frame.len)?).ok()?,
            None => frame.len,
        };
        Forward { frame: number, socket: phone_of(index), destination: call.phone, len }
    })
}

fn recycled<'b>(mut frames: Vec<Frame<'_>>) -> Vec<Frame<'b>> {
    frames.clear();
    frames.into_iter().map(|_| Frame::empty()).collect()
}
