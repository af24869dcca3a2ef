//! SIP over TCP and TLS, both ways.

use std::io;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::Transport;
use crosspoint_sip::Limits;
use crosspoint_sip::framing::{Frame, StreamDecoder};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::counters::Happening;
use super::table::Outbound;
use super::{OpenConnection, SipTransport, websocket};
use crate::{Permit, socket, within};

/// Takes connections for as long as the process lives.
pub(super) async fn accept(transport: SipTransport, kind: Transport, listener: TcpListener) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(permit) = transport.0.admission.admit(remote.ip()) else {
            transport.count(Happening::Refused);
            continue;
        };
        let transport = transport.clone();
        tokio::spawn(async move {
            if let Err(error) = greet(&transport, kind, stream, remote, permit).await {
                transport.count(Happening::HandshakeFailed);
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
    permit: Permit,
) -> io::Result<()> {
    socket::prepare(&stream);
    let ends = (kind, stream.local_addr()?, remote);
    let tls = transport.0.tls_acceptor();
    let limit = transport.0.limits.handshake;
    match kind {
        // UDP has no connections.
        Transport::Udp => {}
        Transport::Tcp => transport.serve_stream(stream, ends, None, permit),
        Transport::Tls => {
            let stream = within(limit, tls.accept(stream)).await?;
            let certificate = transport.0.certificate(stream.get_ref().1.peer_certificates());
            transport.serve_stream(stream, ends, certificate, permit);
        }
        Transport::Ws => websocket::greet(transport, stream, ends, permit).await?,
        Transport::Wss => {
            let stream = within(limit, tls.accept(stream)).await?;
            websocket::greet(transport, stream, ends, permit).await?;
        }
    }
    Ok(())
}

/// Opens a connection and serves it to its end; false when it never came about, or the peer ended
/// it without a word: nobody will answer what was sent. With TLS 1.3 a client learns only by the
/// end of the connection that its certificate was refused (RFC 8446 §4.4.2.4).
pub(super) async fn connect(open: &OpenConnection, outbound: Outbound) -> bool {
    let (remote, limit) = (open.flow.remote, open.limits().handshake);
    let stream = match within(limit, TcpStream::connect(remote)).await {
        Ok(stream) => stream,
        Err(error) => {
            tracing::debug!(%error, "a peer cannot be connected to");
            return false;
        }
    };
    socket::prepare(&stream);
    if open.flow.transport == Transport::Tcp {
        return converse(open, stream, outbound).await;
    }
    let shared = &open.transport.0;
    let peer = {
        let peers = shared.tls_peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.get(&remote).cloned()
    };
    let (name, config) = peer.map_or((None, None), |peer| (Some(peer.host), peer.config));
    let Some(config) = config.or_else(|| shared.tls_client.clone()) else { return false };
    let name = match name.map(ServerName::try_from) {
        Some(Ok(name)) => name,
        Some(Err(_)) => return false,
        None => ServerName::from(remote.ip().to_canonical()),
    };
    match within(limit, TlsConnector::from(config).connect(name, stream)).await {
        Ok(stream) => {
            let certificate = shared.certificate(stream.get_ref().1.peer_certificates());
            open.certified(certificate).await;
            converse(open, stream, outbound).await
        }
        Err(error) => {
            tracing::warn!(%error, "the TLS handshake with a peer failed");
            false
        }
    }
}

/// Reads and writes until either side has had enough; tells whether the peer said anything.
pub(super) async fn converse(
    open: &OpenConnection,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    outbound: Outbound,
) -> bool {
    open.count_connected();
    let spoke = AtomicBool::new(false);
    let (reader, writer) = tokio::io::split(io);
    let (answers, keep_alives) = mpsc::channel(KEEP_ALIVES);
    let cut = outbound.cut();
    tokio::select! {
        () = read(open, reader, answers, &spoke) => {}
        () = write(open, writer, outbound, keep_alives) => {}
        () = cut.notified() => {}
    }
    spoke.load(Ordering::Relaxed)
}

async fn read<T: AsyncRead>(
    open: &OpenConnection,
    mut reader: ReadHalf<T>,
    answers: mpsc::Sender<Bytes>,
    spoke: &AtomicBool,
) {
    let limits = open.limits();
    let mut decoder = StreamDecoder::new(Limits::default());
    let mut buffer = vec![0; READ_SIZE];
    let mut deadline = Instant::now() + limits.first_message;
    loop {
        let read = match tokio::time::timeout_at(deadline, reader.read(&mut buffer)).await {
            Ok(Ok(length @ 1..)) => buffer.get(..length).unwrap_or_default(),
            Ok(_) => return,
            Err(_) => return open.count(Happening::CutSilent),
        };
        let was_partial = decoder.has_partial();
        decoder.push(read);
        let Some(is_alive) = take_frames(open, &mut decoder, &answers).await else { return };
        spoke.fetch_or(is_alive, Ordering::Relaxed);
        // Part of a message has to become whole soon, however slowly it trickles in.
        match (was_partial && !is_alive, decoder.has_partial()) {
            (false, true) => deadline = Instant::now() + limits.message,
            (_, false) if is_alive => deadline = Instant::now() + limits.idle,
            _ => {}
        }
    }
}

/// Takes every whole frame; tells whether there was one, or nothing when the stream is lost.
async fn take_frames(
    open: &OpenConnection,
    decoder: &mut StreamDecoder,
    answers: &mpsc::Sender<Bytes>,
) -> Option<bool> {
    let mut is_alive = false;
    loop {
        match decoder.next_frame() {
            Ok(Some(Frame::Message(bytes))) => open.deliver(bytes).await,
            // RFC 5626 §4.4.1. A peer that floods pings gets fewer answers.
            Ok(Some(Frame::Ping)) => {
                if answers.try_send(Bytes::from_static(b"\r\n")).is_ok() {
                    open.count(Happening::KeepAlive);
                }
            }
            Ok(Some(Frame::Pong)) => {}
            Ok(None) => return Some(is_alive),
            Err(error) => {
                open.count(Happening::Malformed);
                open.transport.offended(&open.flow);
                tracing::debug!(%error, "a stream cannot be read on");
                return None;
            }
        }
        is_alive = true;
    }
}

async fn write<T: AsyncWrite>(
    open: &OpenConnection,
    mut writer: WriteHalf<T>,
    mut outbound: Outbound,
    mut keep_alives: mpsc::Receiver<Bytes>,
) {
    let limit = open.limits().write;
    loop {
        let bytes = tokio::select! {
            bytes = outbound.next() => bytes,
            Some(bytes) = keep_alives.recv() => Some(bytes),
        };
        let Some(bytes) = bytes else { break };
        let written = within(limit, async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        });
        if let Err(error) = written.await {
            if error.kind() == io::ErrorKind::TimedOut {
                open.count(Happening::CutUnread);
            }
            return;
        }
    }
    let _ = within(limit, writer.shutdown()).await;
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Kept for as long as a connection lives.
const READ_SIZE: usize = 4096;
const KEEP_ALIVES: usize = 4;
