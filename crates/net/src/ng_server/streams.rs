//! Connections to the ng server: TCP streams cut into messages, and WebSockets.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crosspoint_ng::{Framer, MAX_MESSAGE};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::{NgServer, Request, Way};
use crate::{Admission, socket, within};

/// Takes connections until the server is gone.
pub(super) async fn accept(listener: TcpListener, server: NgServer, admission: Admission) {
    loop {
        let (stream, remote) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(permit) = admission.admit(remote.ip()) else { continue };
        socket::prepare(&stream);
        let server = server.clone();
        tokio::spawn(async move {
            let _permit = permit;
            let _ = converse(stream, &server).await;
        });
    }
}

/// Serves a stream until it ends or cannot be cut into messages any further.
async fn converse(stream: TcpStream, server: &NgServer) -> io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let (replies, mut going) = mpsc::channel::<Arc<[u8]>>(WAITING_REPLIES);
    let writing = async {
        while let Some(reply) = going.recv().await {
            within(WRITE_TIME, writer.write_all(&reply)).await?;
        }
        Ok(())
    };
    let reading = async move {
        let mut framer = Framer::default();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let length = reader.read(&mut buffer).await?;
            if length == 0 {
                return Ok(());
            }
            framer.push(buffer.get(..length).unwrap_or_default());
            while let Some(bytes) = match framer.next_message() {
                Ok(message) => message,
                Err(error) => {
                    // Whoever waits is told, as far as it can be seen who.
                    tracing::debug!(%error, "a stream of requests ends");
                    if let Some(cookie) = framer.cookie() {
                        send(server, &replies, [cookie, b" "].concat(), false).await;
                    }
                    return Ok(());
                }
            } {
                send(server, &replies, bytes, false).await;
            }
        }
    };
    // When reading is over, replies under way still go out: the queue ends with its senders.
    tokio::try_join!(writing, reading).map(|((), ())| ())
}

async fn send(
    server: &NgServer,
    replies: &mpsc::Sender<Arc<[u8]>>,
    bytes: Vec<u8>,
    is_plain: bool,
) {
    let from = Way::Stream(replies.clone());
    // It fails only when the server is gone.
    let _ = server.requests.send(Request { from, bytes, is_plain }).await;
}

impl NgServer {
    /// Serves a WebSocket after its handshake: a message each way, replies always binary.
    pub async fn converse(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        is_plain: bool,
    ) {
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
        let (replies, mut going) = mpsc::channel::<Arc<[u8]>>(WAITING_REPLIES);
        loop {
            let outgoing = tokio::select! {
                incoming = socket.next() => match incoming {
                    Some(Ok(Message::Text(text))) => {
                        send(self, &replies, text.as_bytes().to_vec(), is_plain).await;
                        continue;
                    }
                    Some(Ok(Message::Binary(bytes))) => {
                        send(self, &replies, bytes.to_vec(), is_plain).await;
                        continue;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => continue,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                },
                Some(reply) = going.recv() => Message::binary(reply.to_vec()),
            };
            match tokio::time::timeout(WRITE_TIME, socket.send(outgoing)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return,
            }
        }
    }
}

/// Replies that wait for a client to read.
const WAITING_REPLIES: usize = 256;
const WRITE_TIME: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
