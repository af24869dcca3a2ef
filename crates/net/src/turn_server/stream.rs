//! Clients over TCP and TLS: a connection is read in frames and written from a queue.

use std::time::Duration;

use crosspoint_media::turn::{Client, Frame, MAX_FRAME};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::TurnServer;
use crate::{socket, within};

pub(super) async fn accept(
    server: TurnServer,
    listener_id: u16,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
) {
    loop {
        let Ok((stream, remote)) = listener.accept().await else {
            // Out of descriptors: somebody has to go first.
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Some(permit) = server.0.admission.admit(remote.ip()) else { continue };
        socket::prepare(&stream);
        let (server, tls) = (server.clone(), tls.clone());
        tokio::spawn(async move {
            let _permit = permit;
            let client = Client { listener: listener_id, is_stream: true, remote };
            greet(server, client, stream, tls).await;
        });
    }
}

async fn greet(server: TurnServer, client: Client, stream: TcpStream, tls: Option<TlsAcceptor>) {
    match tls {
        None => serve(server, client, stream).await,
        Some(tls) => {
            if let Ok(stream) = within(HANDSHAKE_TIME, tls.accept(stream)).await {
                serve(server, client, stream).await;
            }
        }
    }
}

pub(super) async fn serve(
    server: TurnServer,
    client: Client,
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
) {
    let (reader, writer) = tokio::io::split(stream);
    let (queue, queued) = mpsc::channel(WAITING);
    server.run(|state| state.streams.insert(client, queue));
    tokio::select! {
        () = read(&server, client, reader) => {}
        () = write(queued, writer) => {}
    }
    server.run(|state| {
        state.streams.remove(&client);
        state.machine.handle_gone(client);
    });
}

async fn read(server: &TurnServer, client: Client, mut reader: impl AsyncRead + Unpin) {
    let mut buffer = vec![0; MAX_FRAME];
    let (mut filled, begun) = (0, Instant::now());
    loop {
        let reading = reader.read(&mut buffer[filled..]);
        // Who has a relay may be silent for as long as that lasts.
        let limit = if server.is_known(client) { SILENCE } else { STRANGERS_TIME };
        match tokio::time::timeout(limit, reading).await {
            Ok(Ok(length @ 1..)) => filled += length,
            Err(_) if server.is_known(client) => continue,
            _ => return,
        }
        let mut done = 0;
        loop {
            match Frame::at_front_of(&buffer[done..filled]) {
                Frame::Whole(length) => {
                    server.take(client, &buffer[done..done + length]);
                    done += length;
                }
                Frame::Partial => break,
                Frame::Broken => return,
            }
        }
        buffer.copy_within(done..filled, 0);
        filled -= done;
        if begun.elapsed() > STRANGERS_TIME && !server.is_known(client) {
            return;
        }
    }
}

async fn write(mut queued: mpsc::Receiver<Vec<u8>>, mut writer: impl AsyncWrite + Unpin) {
    while let Some(bytes) = queued.recv().await {
        let mut bytes = bytes;
        // What waits already goes out in one record.
        while bytes.len() < MAX_FRAME
            && let Ok(more) = queued.try_recv()
        {
            bytes.extend(more);
        }
        let writing = async {
            writer.write_all(&bytes).await?;
            writer.flush().await
        };
        if within(WRITE_TIME, writing).await.is_err() {
            return;
        }
    }
}

impl TurnServer {
    pub(super) fn is_known(&self, client: Client) -> bool {
        self.state().machine.is_known(client)
    }
}

/// Packets that wait for a client to read: a second of two calls.
const WAITING: usize = 256;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// For showing credentials.
const STRANGERS_TIME: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(60);
const WRITE_TIME: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
