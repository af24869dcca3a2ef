//! Everyday work for a binary that counts what it does (decision 23): whatever should be fast
//! in one that was built by those counts has to be done here, as the compiler takes the rest for rare.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crosspoint_sip::{HeaderName, Message, Method, Request, Response, StatusCode};

use crate::Outcome;
use crate::app::{App, Dialer};
use crate::browser::{Browser, Identity, Phone};
use crate::calls::PAST_US;
use crate::process::{Gateway, PATIENCE, free_port};
use crate::signaling::{PLAIN, Page, Trunk, register_many, register_phone};
use crate::talk::spoken;

const REGISTRATIONS: u32 = 2000;
/// Between phones, with their media through us, and past us.
const CALLS: u32 = 2000;
const PAGES: u32 = 50;
/// Users of the gateway beside those of the pages.
const PHONE: &str = "user50";
const PAGE: &str = "user51";
const APP: &str = "user52";
/// From browsers, and to each kind of them.
const BROWSERS_CALLS: u32 = 100;
/// What is said in a call, each way.
const PACKETS: u32 = 320;
const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

pub(crate) fn run() -> Outcome<()> {
    let [called, caller, past] = [free_port()?, free_port()?, free_port()?];
    let trunks = format!(
        "[[trunk]]\nname = \"in\"\nhost = \"127.0.0.1\"\nport = {caller}\n\
         [[trunk]]\nname = \"past\"\nhost = \"127.0.0.1\"\nport = {past}\nmedia = \"direct\"\n"
    );
    let gateway = Gateway::start_with(PAST_US, &trunks, PAGES + 3)?;
    register_phone(&gateway, PHONE, called)?;
    let phone = UdpSocket::bind((LOOPBACK, called))?;
    phone.set_read_timeout(Some(Duration::from_millis(100)))?;
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| pick_up(&phone, &is_over).map_err(|e| e.to_string()));
        let work = work(&gateway, caller, past);
        is_over.store(true, Ordering::Relaxed);
        answers.join().map_err(|_| "the phone panicked")??;
        work
    })
}

fn work(gateway: &Gateway, caller: u16, past: u16) -> Outcome<()> {
    let trunk = Trunk::open(gateway, caller)?;
    register_many(gateway.address("udp")?, 0, REGISTRATIONS, PAGES, 16)?;
    // Who is signed in there as well would be rung.
    let phone = Phone::new(LOOPBACK, LOOPBACK, 0)?;
    for number in 0..CALLS {
        trunk.call(number, PHONE, &phone, || Ok(()))?;
    }
    let past = Trunk::open(gateway, past)?;
    for number in 0..CALLS {
        past.call(CALLS + number, PHONE, &phone, || Ok(()))?;
    }
    let identity = Identity::new(LOOPBACK, LOOPBACK)?;
    let dialer = Dialer::new(gateway)?;
    for number in 0..PAGES {
        let user = format!("user{number}");
        let stream = TcpStream::connect(gateway.address("ws")?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Page::open(Box::new(stream), &user, 10_000 + number)?;
        Page::open(Box::new(dialer.dial(gateway, "wss")?), &user, 20_000 + number)?;
    }
    let mut page = Page::open(Box::new(dialer.dial(gateway, "wss")?), PAGE, 1)?;
    let mut app = App::open(&dialer, gateway, APP)?;
    for number in 0..BROWSERS_CALLS {
        let offer = Browser::new(&identity, number)?.describe(&identity, true);
        page.call(PHONE, number, &offer)?;
        let mut call = 2 * (CALLS + number);
        let server = &gateway.server;
        spoken(server, &trunk, &identity, (call, PAGE, PACKETS), |browser| {
            page.take_call(&identity, number, browser)
        })?;
        page.await_end()?;
        call += 1;
        spoken(server, &trunk, &identity, (call, APP, PACKETS), |browser| {
            app.take_call(&identity, browser)
        })?;
        app.await_end()?;
    }
    Ok(())
}

/// Takes every call that comes to a phone, until it is over.
fn pick_up(phone: &UdpSocket, is_over: &AtomicBool) -> Outcome<()> {
    let mut buffer = vec![0; 65_536];
    while !is_over.load(Ordering::Relaxed) {
        // Now and then nothing comes.
        let Ok((length, from)) = phone.recv_from(&mut buffer) else { continue };
        let message = Message::parse(Bytes::copy_from_slice(&buffer[..length]));
        let Ok(Message::Request(request)) = message else { continue };
        if request.method == Method::INVITE {
            respond(phone, from, &request, StatusCode::RINGING)?;
        }
        if request.method != Method::ACK {
            respond(phone, from, &request, StatusCode::OK)?;
        }
    }
    Ok(())
}

fn respond(
    phone: &UdpSocket,
    to: SocketAddr,
    request: &Request,
    status: StatusCode,
) -> Outcome<()> {
    let mut response = Response::for_request(request, status);
    response.add_tag("phone");
    let contact = format!("<sip:phone@{}>", phone.local_addr()?);
    response.headers.push(HeaderName::CONTACT, contact);
    if request.method == Method::INVITE && status == StatusCode::OK {
        response.set_body("application/sdp", PLAIN);
    }
    phone.send_to(&response.print(), to)?;
    Ok(())
}
