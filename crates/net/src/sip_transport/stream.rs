//! SIP over TCP and TLS, both ways.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{Flow, Transport};
use crosspoint_sip::Limits;
use crosspoint_sip::framing::{Frame, StreamDecoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::{SipTransport, prepare, websocket, within};
use crate::Permit;

/// Takes connections for as long as the process lives.
pub(super) async fn accept(
    transport: SipTransport,
    kind: Transport,
    listener: TcpListener,
    tls: TlsAcceptor,
) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(permit) = transport.0.admission.admit(remote.ip()) else { continue };
        let (transport, tls) = (transport.clone(), tls.clone());
        tokio::spawn(async move {
            if let Err(error) = greet(&transport, kind, stream, remote, tls, permit).await {
                tracing::debug!(%error, transport = %kind, "a handshake failed");
            }
        });
    }
}

async fn greet(
    transport: &SipTransport,
    kind: Transport,
    stream: TcpStream,
    remote: SocketAddr,
    tls: TlsAcceptor,
    permit: Permit,
) -> io::Result<()> {
    prepare(&stream);
    let ends = (kind, stream.local_addr()?, remote);
    match kind {
        // UDP has no connections.
        Transport::Udp => {}
        Transport::Tcp => transport.serve_stream(stream, ends, permit).await,
        Transport::Tls => {
            let stream = within(HANDSHAKE_TIME, tls.accept(stream)).await?;
            transport.serve_stream(stream, ends, permit).await;
        }
        Transport::Ws => websocket::greet(transport, stream, ends, permit).await?,
        Transport::Wss => {
            let stream = within(HANDSHAKE_TIME, tls.accept(stream)).await?;
            websocket::greet(transport, stream, ends, permit).await?;
        }
    }
    Ok(())
}

/// Opens a connection and serves it to its end; false when it never came about.
pub(super) async fn connect(
    transport: &SipTransport,
    flow: Flow,
    outbound: mpsc::Receiver<Bytes>,
    _permit: Permit,
) -> bool {
    let stream = match within(HANDSHAKE_TIME, TcpStream::connect(flow.remote)).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a peer cannot be connected to");
            return false;
        }
    };
    prepare(&stream);
    if flow.transport == Transport::Tcp {
        converse(transport, stream, flow, outbound).await;
        return true;
    }
    let Some(config) = transport.0.tls_client.clone() else { return false };
    let name = {
        let names = transport.0.tls_names.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(&flow.remote).cloned()
    };
    let name = match name.map(ServerName::try_from) {
        Some(Ok(name)) => name,
        Some(Err(_)) => return false,
        None => ServerName::from(ip_of(flow.remote)),
    };
    match within(HANDSHAKE_TIME, TlsConnector::from(config).connect(name, stream)).await {
        Ok(stream) => {
            converse(transport, stream, flow, outbound).await;
            true
        }
        Err(error) => {
            tracing::warn!(%error, "the TLS handshake with a peer failed");
            false
        }
    }
}

fn ip_of(address: SocketAddr) -> IpAddr {
    address.ip().to_canonical()
}

/// Reads and writes until either side has had enough.
pub(super) async fn converse(
    transport: &SipTransport,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    flow: Flow,
    outbound: mpsc::Receiver<Bytes>,
) {
    let (reader, writer) = tokio::io::split(io);
    let (answers, keep_alives) = mpsc::channel(KEEP_ALIVES);
    tokio::select! {
        () = read(transport, reader, flow, answers) => {}
        () = write(writer, outbound, keep_alives) => {}
    }
}

async fn read<T: AsyncRead>(
    transport: &SipTransport,
    mut reader: ReadHalf<T>,
    flow: Flow,
    answers: mpsc::Sender<Bytes>,
) {
    let mut decoder = StreamDecoder::new(Limits::default());
    let mut buffer = vec![0; READ_SIZE];
    let mut deadline = Instant::now() + FIRST_MESSAGE_TIME;
    let mut idle = FIRST_MESSAGE_TIME;
    loop {
        let read = tokio::time::timeout_at(deadline, reader.read(&mut buffer)).await;
        let Ok(Ok(length @ 1..)) = read else { return };
        let was_partial = decoder.has_partial();
        decoder.push(buffer.get(..length).unwrap_or_default());
        loop {
            match decoder.next_frame() {
                Ok(Some(Frame::Message(bytes))) => {
                    transport.deliver(flow, bytes).await;
                    idle = IDLE_TIME;
                }
                // RFC 5626 §4.4.1. A peer that floods pings gets fewer answers.
                Ok(Some(Frame::Ping)) => {
                    let _ = answers.try_send(Bytes::from_static(b"\r\n"));
                }
                Ok(Some(Frame::Pong)) => {}
                Ok(None) => break,
                Err(error) => {
                    transport.0.counters.malformed();
                    tracing::debug!(%error, "a stream cannot be read on");
                    return;
                }
            }
        }
        // Part of a message has to become whole soon, however slowly it trickles in.
        match (was_partial, decoder.has_partial()) {
            (_, false) => deadline = Instant::now() + idle,
            (false, true) => deadline = Instant::now() + MESSAGE_TIME,
            (true, true) => {}
        }
    }
}

async fn write<T: AsyncWrite>(
    mut writer: WriteHalf<T>,
    mut outbound: mpsc::Receiver<Bytes>,
    mut keep_alives: mpsc::Receiver<Bytes>,
) {
    loop {
        let bytes = tokio::select! {
            bytes = outbound.recv() => bytes,
            Some(bytes) = keep_alives.recv() => Some(bytes),
        };
        let Some(bytes) = bytes else { break };
        let written = within(WRITE_TIME, async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        });
        if written.await.is_err() {
            return;
        }
    }
    let _ = within(WRITE_TIME, writer.shutdown()).await;
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
pub(super) const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
const FIRST_MESSAGE_TIME: Duration = Duration::from_secs(30);
const MESSAGE_TIME: Duration = Duration::from_secs(15);
/// Longer than any registration: phones without keep-alives refresh at least that often.
const IDLE_TIME: Duration = Duration::from_secs(2 * 3600);
pub(super) const WRITE_TIME: Duration = Duration::from_secs(10);
const READ_SIZE: usize = 8192;
const KEEP_ALIVES: usize = 4;
