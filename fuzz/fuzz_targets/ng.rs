//! Messages of the ng protocol, as datagrams and as a stream cut anywhere: dictionaries that are
//! read print to what reads the same, and a server answers every cookie once, whether its media
//! control takes descriptions or not.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crosspoint_base::{LegId, WallClock};
use crosspoint_media::clip::Clip;
use crosspoint_media::control::{Accepted, Command, Event, LegStats, Loss, Refusal};
use crosspoint_ng::{
    Dictionary, ForwardOrder, ForwardRefusal, Framer, Output, RecordOrder, Server, ServerConfig,
};
use crosspoint_sdp::Session;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((how, data)) = data.split_first() else { return };
    if let Ok((dictionary, format)) = Dictionary::decode(data) {
        let printed = dictionary.encode(format);
        assert_eq!(Dictionary::decode(&printed), Ok((dictionary, format)));
    }
    let mut whole = Framer::default();
    whole.push(data);
    let all = messages(&mut whole);
    let mut parts = Framer::default();
    let mut joined = Vec::new();
    for part in data.chunks(usize::from(*how).max(1)) {
        parts.push(part);
        joined.extend(messages(&mut parts));
    }
    assert_eq!(all, joined);
    serve(data, &all, how % 2 == 1);
});

fn messages(framer: &mut Framer) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let Ok(Some(message)) = framer.next_message() {
        out.push(message);
    }
    out
}

/// Media control that takes every description, or none, and is asked in order.
fn serve(datagram: &[u8], messages: &[Vec<u8>], takes: bool) {
    let now = Instant::now();
    let mut server = Server::new(ServerConfig {
        max_calls: 4,
        can_record: true,
        can_forward: true,
        interfaces: vec![],
        clock: WallClock::new(now, Duration::ZERO),
    });
    let mut asked = 0;
    let mut legs = Vec::new();
    let mut replies = 0;
    for message in messages.iter().map(Vec::as_slice).chain([datagram]) {
        asked +=
            usize::from(message.iter().take(257).position(|b| *b == b' ').is_some_and(|p| p > 0));
        server.handle_message(now, (), message);
        loop {
            match server.poll_output() {
                Output::Reply { .. } => replies += 1,
                Output::Media(command) => {
                    if let Command::Open { leg, .. } | Command::OpenRaw { leg, .. } = *command {
                        legs.push(leg);
                    }
                    if let Some(event) = answer(*command, takes) {
                        server.handle_media(now, event);
                    }
                }
                Output::Record(RecordOrder::Begin(beginning)) => {
                    let begun = Ok("day/file.wav".to_owned());
                    server.handle_recording(beginning.recording, begun);
                }
                Output::Forward(ForwardOrder::Open { stream, url, .. }) => {
                    let taken = url.map(drop).ok_or(ForwardRefusal::NoTarget);
                    server.handle_forward(stream, taken);
                }
                Output::Load { ticket, .. } => {
                    let clip = Clip::tone(440.0, Duration::from_millis(20), 0.1);
                    server.handle_sound(ticket, Some(Arc::new(clip)));
                }
                Output::Record(_) | Output::Forward(_) | Output::Notify { .. } => {}
                Output::Timeout(_) => break,
            }
        }
    }
    assert_eq!(asked, replies);
    let later = now + Duration::from_secs(7200);
    server.handle_timeout(later);
    drain(&mut server, later, takes);
    // What was answered ends when nobody says anything any more.
    for leg in legs {
        server.handle_media(later, Event::Lost { leg, loss: Loss::Silent });
        drain(&mut server, later, takes);
    }
    assert!(server.is_empty());
}

fn drain(server: &mut Server<()>, now: Instant, takes: bool) {
    loop {
        match server.poll_output() {
            Output::Media(command) => {
                if let Some(event) = answer(*command, takes) {
                    server.handle_media(now, event);
                }
            }
            Output::Timeout(_) => return,
            Output::Reply { .. }
            | Output::Record(_)
            | Output::Forward(_)
            | Output::Load { .. }
            | Output::Notify { .. } => {}
        }
    }
}

fn answer(command: Command, takes: bool) -> Option<Event> {
    let refused = |leg: LegId| Event::Refused { leg, refusal: Refusal::NoCommonCodec };
    match command {
        Command::Accept { leg, .. } if takes => {
            let accepted = Accepted {
                far_side_concerned: true,
                passed_news: false,
                only_fax: false,
                on_hold: false,
                telephone_event: true,
            };
            Some(Event::Accepted { leg, accepted })
        }
        Command::Describe { leg, .. } if takes => {
            let description = Session::parse(OURS.as_bytes()).expect("a good description");
            Some(Event::Described { leg, description })
        }
        Command::Accept { leg, .. } | Command::Describe { leg, .. } => Some(refused(leg)),
        Command::Report { leg } => Some(Event::Figures { leg, stats: LegStats::default() }),
        Command::Close { leg } => Some(Event::Closed { leg, stats: LegStats::default() }),
        _ => None,
    }
}

const OURS: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\n\
m=audio 10000 RTP/AVP 0 101\r\nc=IN IP4 192.0.2.1\r\na=rtpmap:101 telephone-event/8000\r\n\
m=audio 10002 RTP/AVP 8\r\nc=IN IP4 192.0.2.1\r\n";
