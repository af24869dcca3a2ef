//! What the call API over gRPC costs: memory per idle stream, and processor time per message.

use std::io::{self, Write};

use bytes::{Buf, Bytes};
use h2::client::{self, SendRequest};
use h2::{RecvStream, SendStream};
use hyper::Request;
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::Outcome;
use crate::app::Dialer;
use crate::process::{Gateway, PATIENCE, text};
use crate::table::{row, thousands};

const STREAMS: u32 = 10_000;
/// The first ones pay for what all share.
const WARM: u32 = 100;
const PER_USER: u32 = 20;
/// A server has many on a connection, a terminal has one for itself.
const OF_A_SERVER: u32 = 50;
const OF_A_TERMINAL: u32 = 1;
const TALKERS: u32 = 1000;
/// Fewer than a stream may say at once.
const QUESTIONS: u32 = 150;

pub(crate) fn run() -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (of_a_server, rate) = measure(&runtime, OF_A_SERVER)?;
    let what = format!("KiB of memory per idle gRPC stream, {OF_A_SERVER} on a connection");
    row(&what, &format!("{of_a_server:.1}"), "", None);
    let (of_a_terminal, _) = measure(&runtime, OF_A_TERMINAL)?;
    let what = "KiB of memory per idle gRPC stream with a connection of its own";
    row(what, &format!("{of_a_terminal:.1}"), "", None);
    row("gRPC messages with an answer each per second and core", &thousands(rate), "", None);
    Ok(())
}

/// KiB for an idle stream, and messages answered in a second of processor time.
fn measure(runtime: &Runtime, per_connection: u32) -> Outcome<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("token");
    writeln!(std::fs::File::create(&file)?, "{TOKEN}")?;
    let config = format!("[[grpc_token]]\ntoken_file = {:?}\nany_number = true\n", text(&file));
    let gateway = Gateway::start(&config, (WARM + STREAMS).div_ceil(PER_USER))?;
    let dialer = Dialer::new(&gateway)?;
    runtime.block_on(async {
        let mut streams = Vec::new();
        let (mut connection, mut before) = (None, 0);
        for number in 0..WARM + STREAMS {
            if number % per_connection == 0 {
                connection = Some(connect(&dialer, &gateway).await?);
            }
            let connection = connection.as_ref().ok_or("no connection")?;
            streams.push(Stream::open(connection, number / PER_USER).await?);
            if number + 1 == WARM {
                before = gateway.server.memory();
            }
        }
        let memory = gateway.server.memory().saturating_sub(before) as f64 / f64::from(STREAMS);
        let spent = gateway.server.spent();
        for _ in 0..QUESTIONS {
            for stream in streams.iter_mut().take(TALKERS as usize) {
                stream.ask()?;
            }
            for stream in streams.iter_mut().take(TALKERS as usize) {
                stream.await_answer().await?;
            }
        }
        let spent = gateway.server.spent() - spent;
        Ok((memory / 1024.0, f64::from(TALKERS * QUESTIONS) / spent.as_secs_f64()))
    })
}

async fn connect(dialer: &Dialer, gateway: &Gateway) -> Outcome<SendRequest<Bytes>> {
    let stream = TcpStream::connect(gateway.address("https")?).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from("localhost")?;
    let stream = TlsConnector::from(dialer.tls(b"h2")).connect(name, stream).await?;
    let (requests, connection) = client::handshake(stream).await?;
    tokio::spawn(connection);
    Ok(requests)
}

/// One of a terminal, opened by `MultiPipe`.
struct Stream {
    to: SendStream<Bytes>,
    from: RecvStream,
    received: usize,
}

impl Stream {
    async fn open(connection: &SendRequest<Bytes>, user: u32) -> Outcome<Self> {
        let request =
            Request::post("https://localhost/wgtwo.webterminal.v0.WebTerminalService/MultiPipe")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("authorization", format!("Bearer {TOKEN}"))
                .header("wg2-msisdn", format!("user{user}"))
                .body(())?;
        let mut connection = connection.clone().ready().await?;
        let (response, to) = connection.send_request(request, false)?;
        let response = timeout(PATIENCE, response).await??;
        if let Some(status) = response.headers().get("grpc-status") {
            return Err(format!("no stream: {status:?}").into());
        }
        Ok(Self { to, from: response.into_body(), received: 0 })
    }

    /// Speaks of a call whose id is none: it is told so.
    fn ask(&mut self) -> Outcome<()> {
        // Field 3 is `ringing`, empty; field 10 is the id.
        const MESSAGE: &[u8] = b"\0\0\0\0\x08\x1a\0\x52\x04none";
        self.to.send_data(Bytes::from_static(MESSAGE), false)?;
        Ok(())
    }

    async fn await_answer(&mut self) -> Outcome<()> {
        while self.received == 0 {
            let data = timeout(PATIENCE, self.from.data()).await?;
            let data = data.ok_or_else(|| io::Error::other("the stream is over"))??;
            self.from.flow_control().release_capacity(data.len())?;
            self.received += messages(data)?;
        }
        self.received -= 1;
        Ok(())
    }
}

/// How many there are in a frame, which holds whole ones here.
fn messages(mut data: Bytes) -> Outcome<usize> {
    let mut count = 0;
    while data.len() >= 5 {
        data.advance(1);
        let length = data.get_u32() as usize;
        if data.len() < length {
            return Err("part of a message".into());
        }
        data.advance(length);
        count += 1;
    }
    Ok(count)
}

const TOKEN: &str = "only-for-this-bench-and-long-enough";
