//! The call API over gRPC and gRPC-Web (`docs/protocols/webterminal.md`): who may open a stream,
//! and the streams themselves. What is said on them is the node's business.

mod pages;
mod streams;
mod tokens;
mod wire;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::{Router, middleware};
use crosspoint_base::{Conduct, ConnectionId, Offence, Secret};
use crosspoint_connectors::webterminal::{Mode, Opening, StreamEnd};
use futures_util::Stream;
use tokio::sync::{mpsc, oneshot};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};
use tower::Layer;

pub(crate) use streams::{StreamCounters, TerminalStreams};
pub(crate) use tokens::{Bearer, NotGranted, Tokens};
pub use wire::{read_terminal_message, written_terminal_message};

use super::{Arrival, Backend, Lodger};
use crate::config::Origins;
use crate::permissions::{self, Action, Reach};
use wire::pb::WebTerminalMessage;
use wire::pb::web_terminal_service_server::{WebTerminalService, WebTerminalServiceServer};

/// The service and those beside it.
pub(super) fn router(api: CallApi, backend: Arc<dyn Backend>, origins: Arc<Origins>) -> Router {
    let terminals = Terminals { api, backend };
    let server = WebTerminalServiceServer::new(terminals)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let (health, health_server) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        health.set_serving::<WebTerminalServiceServer<Terminals>>().await;
    });
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(wire::SCHEMA)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut router = Router::new()
        .route_service(
            "/wgtwo.webterminal.v0.WebTerminalService/{method}",
            tonic_web::GrpcWebLayer::new().layer(server),
        )
        .route_service("/grpc.health.v1.Health/{method}", health_server);
    // Clients of either age ask for the schema.
    if let Ok(v1) = reflection().build_v1() {
        router = router.route_service("/grpc.reflection.v1.ServerReflection/{method}", v1);
    }
    if let Ok(v1) = reflection().build_v1alpha() {
        router = router.route_service("/grpc.reflection.v1alpha.ServerReflection/{method}", v1);
    }
    router.layer(middleware::from_fn_with_state(origins, pages::guard))
}

/// What the service is made of.
#[derive(Clone)]
pub(crate) struct CallApi {
    pub(crate) streams: TerminalStreams,
    pub(crate) tokens: Arc<Tokens>,
}

#[derive(Clone)]
struct Terminals {
    api: CallApi,
    backend: Arc<dyn Backend>,
}

type Opens = Result<Response<Outgoing>, Status>;

#[tonic::async_trait]
impl WebTerminalService for Terminals {
    type PipeStream = Outgoing;
    type MultiPipeStream = Outgoing;

    async fn pipe(&self, request: Request<Streaming<WebTerminalMessage>>) -> Opens {
        self.open(Mode::Pipe, request).await
    }

    async fn multi_pipe(&self, request: Request<Streaming<WebTerminalMessage>>) -> Opens {
        self.open(Mode::MultiPipe, request).await
    }
}

impl Terminals {
    async fn open(&self, mode: Mode, request: Request<Streaming<WebTerminalMessage>>) -> Opens {
        let arrival = request.extensions().get::<Arrival>();
        let from = arrival.map(|arrival| arrival.remote);
        let opening = self.allow(mode, request.metadata(), from).await;
        let mut opening = opening.inspect_err(|_| self.api.streams.refused())?;
        opening.is_half_duplex = request.extensions().get::<pages::ByPage>().is_some();
        // A connection with a stream in it is not over.
        let arrival = request.extensions().get::<Arrival>();
        let lodger = arrival.map(|arrival| arrival.patience.lodge());
        let begun = self.api.streams.begin(opening).await;
        let taken = tokio::time::timeout(TAKING_TIME, begun.taken).await;
        let opened = match taken {
            Ok(Ok(Ok(opened))) => opened,
            Ok(Ok(Err(why))) => {
                let status = streams::status_of(why);
                return Err(status.unwrap_or_else(|| Status::internal("closed")));
            }
            Ok(Err(_)) | Err(_) => {
                self.api.streams.closed(begun.connection, StreamEnd::Cancelled).await;
                return Err(Status::unavailable("the server is overloaded"));
            }
        };
        let (over, is_over) = oneshot::channel();
        let (streams, connection) = (self.api.streams.clone(), begun.connection);
        tokio::spawn(listen(streams, connection, request.into_inner(), is_over));
        let outgoing = Outgoing {
            messages: begun.messages,
            is_cut: begun.is_cut,
            _over: over,
            _lodger: lodger,
        };
        let mut response = Response::new(outgoing);
        let metadata = response.metadata_mut();
        if let Ok(key) = MetadataValue::try_from(opened.resume.expose().as_str()) {
            metadata.insert(RESUME, key);
        }
        metadata
            .insert(RESUMED, MetadataValue::from_static(if opened.is_resumed { "1" } else { "0" }));
        Ok(response)
    }

    /// Whose calls a stream may be for.
    async fn allow(
        &self,
        mode: Mode,
        metadata: &MetadataMap,
        from: Option<SocketAddr>,
    ) -> Result<Opening, Status> {
        let text = |key: &str| metadata.get(key).and_then(|value| value.to_str().ok());
        let token = text("authorization").and_then(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
        });
        let token = token.ok_or_else(|| Status::unauthenticated("a bearer token is missing"))?;
        let granted = self.api.tokens.grant(token).await;
        // Nobody is locked out by others behind its address, as with passwords: a token is not
        // guessed. Who tries all the same may be banned.
        let conduct = match &granted {
            Ok(_) => Some(Conduct::SignedIn("a terminal".into())),
            Err(NotGranted::Unknown) => Some(Conduct::Offended(Offence::Password)),
            Err(NotGranted::Other(_)) => None,
        };
        if let (Some(from), Some(conduct)) = (from, conduct) {
            // Its connection ends with the answer.
            let _ = self.backend.bans().note(from, false, conduct);
        }
        let granted = granted?;
        let named = text(MSISDN).map(str::trim).filter(|number| !number.is_empty());
        let who = granted.bearer.principal();
        let reach = permissions::check(Some(&who), Action::Call);
        let name = match (reach, granted.bearer, named) {
            (Ok(Reach::Own | Reach::Everything), Bearer::One(name), _) => name,
            (Ok(Reach::Everything), Bearer::Client, Some(number)) => number.to_owned(),
            (Err(_) | Ok(Reach::Nothing), _, _) | (Ok(Reach::Own), Bearer::Client, _) => {
                return Err(Status::permission_denied("this token opens no streams"));
            }
            (Ok(Reach::Everything), Bearer::Client, None) => {
                let text = "this token is nobody's own: name a number in wg2-msisdn";
                return Err(Status::invalid_argument(text));
            }
        };
        let subscriber = self.backend.subscriber(name).await;
        // A token of one user tells nothing of the others.
        let subscriber =
            subscriber.ok_or_else(|| Status::permission_denied("nobody here has this number"))?;
        let resume = text(RESUME).map(|key| Secret::new(key.to_owned()));
        let (session, expires) = (granted.session, granted.expires);
        Ok(Opening { subscriber, mode, resume, session, expires, is_half_duplex: false })
    }
}

/// Hands on what a client says, until it is over.
async fn listen(
    streams: TerminalStreams,
    connection: ConnectionId,
    mut incoming: Streaming<WebTerminalMessage>,
    mut is_over: oneshot::Receiver<()>,
) {
    let end = loop {
        let said = tokio::select! {
            said = incoming.message() => said,
            // Nobody takes our half any more; why, the client's half may know.
            _ = &mut is_over => break last_words(&streams, connection, &mut incoming).await,
        };
        match said {
            Ok(Some(message)) => {
                let message = wire::read(message);
                streams.said(connection, message).await;
            }
            Ok(None) => {
                streams.half_closed(connection).await;
                let _ = (&mut is_over).await;
                break StreamEnd::Cancelled;
            }
            Err(status) => break ended_by(Some(&status)),
        }
    };
    streams.closed(connection, end).await;
}

/// Hands on what is there already, and finds out why there is no more.
async fn last_words(
    streams: &TerminalStreams,
    connection: ConnectionId,
    incoming: &mut Streaming<WebTerminalMessage>,
) -> StreamEnd {
    let reading = async {
        loop {
            match incoming.message().await {
                Ok(Some(message)) => streams.said(connection, wire::read(message)).await,
                Ok(None) => return StreamEnd::Cancelled,
                Err(status) => return ended_by(Some(&status)),
            }
        }
    };
    tokio::time::timeout(LAST_WORD, reading).await.unwrap_or(StreamEnd::Broken)
}

/// A client that means to go cancels its stream; all else befell it.
fn ended_by(status: Option<&Status>) -> StreamEnd {
    match status.map(Status::code) {
        None | Some(Code::Cancelled | Code::InvalidArgument | Code::OutOfRange) => {
            StreamEnd::Cancelled
        }
        Some(_) => StreamEnd::Broken,
    }
}

/// Our half of a stream.
pub(crate) struct Outgoing {
    messages: mpsc::Receiver<Result<WebTerminalMessage, Status>>,
    is_cut: Arc<AtomicBool>,
    /// Tells the other half when this one is gone.
    _over: oneshot::Sender<()>,
    _lodger: Option<Lodger>,
}

impl Stream for Outgoing {
    type Item = Result<WebTerminalMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        match self.messages.poll_recv(context) {
            Poll::Ready(None) if self.is_cut.swap(false, Ordering::Relaxed) => {
                let status = Status::resource_exhausted("messages are not read");
                Poll::Ready(Some(Err(status)))
            }
            next => next,
        }
    }
}

/// In metadata: what a terminal shows when its stream broke and it comes back.
const RESUME: &str = "crosspoint-resume";
/// In metadata of the answer: whether it is the terminal that it was.
const RESUMED: &str = "crosspoint-resumed";
/// In metadata: the number that a client's token is used for.
const MSISDN: &str = "wg2-msisdn";
/// Bytes of one message: a description of many codecs and candidates has some thousand.
const MAX_MESSAGE: usize = 64 * 1024;
const TAKING_TIME: Duration = Duration::from_secs(5);
/// How long the reason of an end may take to come.
const LAST_WORD: Duration = Duration::from_millis(500);
