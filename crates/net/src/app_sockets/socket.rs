//! The task of one socket.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Utf8Bytes};

use super::OpenSocket;
use super::counters::Happening;
use super::queue::{Closing, Next};
use crate::within;

/// How a conversation ends.
enum Ending {
    /// There is nobody left to say anything to.
    Gone,
    /// The peer took leave; its own close has to be answered.
    Answered,
    Close(Closing),
}

/// Serves the socket to its end.
pub(super) async fn serve(
    mut open: OpenSocket,
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    origin: Option<String>,
) {
    let config = config(open.config().max_message);
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    open.opened(origin).await;
    let queue = open.queue.clone();
    let ending = tokio::select! {
        ending = converse(&open, &mut socket) => ending,
        () = queue.until_cut() => Ending::Gone,
    };
    open.ended();
    let limit = open.config().write;
    let frame = match ending {
        Ending::Gone => return,
        Ending::Answered => None,
        Ending::Close(Closing { code, reason }) => {
            Some(CloseFrame { code: code.into(), reason: Utf8Bytes::from_static(reason) })
        }
    };
    // Boxed: what is needed once at the end takes no room while the socket is idle.
    Box::pin(leave(socket, frame, limit)).await;
}

async fn converse(
    open: &OpenSocket,
    socket: &mut WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
) -> Ending {
    let limits = open.config();
    let mut ping = pings(limits.ping_period);
    let mut heard = Instant::now();
    let mut controls = 0;
    loop {
        let outgoing = tokio::select! {
            incoming = socket.next() => {
                heard = Instant::now();
                match incoming {
                    Some(Ok(Message::Text(text))) => {
                        open.deliver(text).await;
                        continue;
                    }
                    // Pings are answered by the library.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {
                        controls += 1;
                        if controls > MAX_CONTROLS {
                            return refuse(open, TOO_MANY);
                        }
                        continue;
                    }
                    Some(Ok(Message::Close(_))) => return Ending::Answered,
                    Some(Ok(Message::Binary(_))) => return refuse(open, NOT_TEXT),
                    Some(Err(error)) => return misread(open, &error),
                    None => return Ending::Gone,
                }
            }
            next = open.queue.next() => match next {
                Next::Text(text) => Message::Text(text),
                Next::Close(closing) => return Ending::Close(closing),
            },
            // A browser answers pings for its pages, so silence means that the host is gone.
            now = ping.tick() => {
                if now.duration_since(heard) > limits.ping_period * 2 {
                    open.count(Happening::CutSilent);
                    return Ending::Gone;
                }
                controls = 0;
                Message::Ping(Bytes::new())
            }
        };
        let sent =
            within(limits.write, async { socket.send(outgoing).await.map_err(io::Error::other) });
        if let Err(error) = sent.await {
            if error.kind() == io::ErrorKind::TimedOut {
                open.count(Happening::CutUnread);
            }
            return Ending::Gone;
        }
    }
}

/// Says good-bye. The peer may be in the middle of a long message: what it sends is read and
/// thrown away for a while, because closing with bytes unread would reset the connection, and the
/// reason with it.
async fn leave(
    mut socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>,
    frame: Option<CloseFrame>,
    limit: Duration,
) {
    let farewell = async {
        match frame {
            Some(_) => socket.close(frame).await,
            None => SinkExt::close(&mut socket).await,
        }
        .map_err(io::Error::other)?;
        let io = socket.get_mut();
        io.shutdown().await?;
        let mut rest = io.take(MAX_REST);
        let mut buffer = [0; 1024];
        while rest.read(&mut buffer).await? > 0 {}
        Ok(())
    };
    let _ = within(limit, farewell).await;
}

fn misread(open: &OpenSocket, error: &Error) -> Ending {
    tracing::debug!(%error, "an app's WebSocket cannot be read on");
    match error {
        Error::Capacity(_) => refuse(open, TOO_LONG),
        Error::Utf8(_) => refuse(open, NOT_UTF8),
        Error::Protocol(_) => refuse(open, NOT_WEBSOCKET),
        _ => Ending::Gone,
    }
}

fn refuse(open: &OpenSocket, closing: Closing) -> Ending {
    open.count(Happening::Malformed);
    Ending::Close(closing)
}

fn pings(period: Duration) -> Interval {
    let mut ping = tokio::time::interval_at(Instant::now() + period, period);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ping
}

fn config(max_message: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(max_message))
        .max_frame_size(Some(max_message))
        .read_buffer_size(READ_SIZE)
        .write_buffer_size(0)
}

/// Kept for as long as a socket lives, so small: most messages have a few hundred bytes.
const READ_SIZE: usize = 2048;
/// Bytes that are still read of a peer that was told to go.
const MAX_REST: u64 = 1024 * 1024;
/// Between two pings of ours: libraries send one in ten seconds or more.
const MAX_CONTROLS: u32 = 100;
const TOO_MANY: Closing = Closing { code: 1008, reason: "too many pings" };
const NOT_WEBSOCKET: Closing = Closing { code: 1002, reason: "this is no WebSocket frame" };
const NOT_TEXT: Closing = Closing { code: 1003, reason: "only text is understood" };
const NOT_UTF8: Closing = Closing { code: 1007, reason: "this text is not UTF-8" };
const TOO_LONG: Closing = Closing { code: 1009, reason: "the message is too long" };
