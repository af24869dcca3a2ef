//! How long an INVITE of 1.2 kB takes to read and to print, beside `sipx-sip`.

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use crosspoint_sip::{HeaderName, Message};
use sipx_sip::parser::{Limits, parse_datagram};

const INVITE: &str = include_str!("../tests/data/invite.sip");

fn main() {
    let text = INVITE.replace('\n', "\r\n");
    let bytes = Bytes::from(text.into_bytes());
    let parse = measure(|| {
        black_box(Message::parse(black_box(bytes.clone())).is_ok());
    });
    // What every hop needs of it, typed, and the print.
    let whole = measure(|| {
        let Ok(Message::Request(mut request)) = Message::parse(black_box(bytes.clone())) else {
            return;
        };
        black_box((request.headers.via(), request.headers.cseq(), request.headers.from()));
        request.headers.push_front(HeaderName::VIA, Bytes::from_static(VIA));
        black_box(request.print());
    });
    let limits = Limits::default();
    let peer = measure(|| {
        black_box(parse_datagram(black_box(bytes.clone()), &limits).is_ok());
    });
    let size = bytes.len();
    let ratio = parse / peer;
    println!(
        "| µs to parse an INVITE of {size} bytes, beside sipx-sip (less is better) \
         | {parse:.2} | {peer:.2} | {ratio:.2} |"
    );
    println!("| µs to parse, type and print it with one more Via | {whole:.2} |  |  |");
}

const VIA: &[u8] = b"SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK0123456789abcdef;rport";

/// Microseconds per run: the best of some rounds, which is the one least disturbed.
fn measure(mut run: impl FnMut()) -> f64 {
    const RUNS: u32 = 20_000;
    let mut round = || clock(|| (0..RUNS).for_each(|_| run())).as_secs_f64() * 1e6;
    (0..7).map(|_| round() / f64::from(RUNS)).fold(f64::INFINITY, f64::min)
}

#[expect(clippy::disallowed_methods, reason = "a bench is the one place that needs the clock")]
fn clock(run: impl FnOnce()) -> Duration {
    let start = std::time::Instant::now();
    run();
    start.elapsed()
}
