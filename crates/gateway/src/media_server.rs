//! `crosspoint media`: media under the command of SIP proxies, by rtpengine's ng protocol.
//!
//! No user, no store and no signalling: a socket for requests, media, and a page for monitoring.

mod web;

use std::time::Duration;

use crosspoint_net::packet_io::IoKind;
use crosspoint_net::{
    Admission, MediaPoolConfig, NgForwarding, NgRecording, NgServer, NgServerConfig,
    RecorderConfig, RecordingId, RecordingName,
};
use crosspoint_ng::ServerConfig;

use crate::cli::{Failure, Output, system_rng};
use crate::config::{Config, Recording, Stream};
use crate::events::Events;
use crate::home::Home;
use crate::run::announcement::{Open, ready};
use crate::run::ledger::Ledger;
use crate::run::name_of;
use crate::run::signals::Signals;
use crate::{addresses, log, tls};

/// Runs until told to stop.
pub(crate) fn run(home: &Home, output: &Output) -> Result<(), Failure> {
    log::start(&home.config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the runtime's threads".to_owned(), error))?;
    let outcome = runtime.block_on(serve(home, output));
    runtime.shutdown_background();
    outcome
}

async fn serve(home: &Home, output: &Output) -> Result<(), Failure> {
    let config = &home.config;
    let mut signals =
        Signals::listen().map_err(|error| Failure::failed("signals".to_owned(), error))?;
    let limits = &config.limits;
    let admission = Admission::new(limits.connections, limits.connections_per_address);
    let server = NgServer::start(
        NgServerConfig {
            listen: config.ng.listen,
            media: media_config(config),
            server: ServerConfig {
                max_calls: limits.calls,
                can_record: config.recording.is_some(),
                can_forward: config.stream.is_some(),
                interfaces: config.ng.interfaces.clone(),
                clock: crate::run::clock::now(),
            },
            admission: admission.clone(),
            recording: config.recording.as_ref().map(|recording| recording_of(home, recording)),
            prompts: config.sound.prompts.clone(),
            dtmf_log: config.ng.dtmf_log,
            forwarding: config.stream.as_ref().map(|s| forwarding_of(config, s)).transpose()?,
        },
        system_rng()?,
    )
    .map_err(|error| Failure::failed("ng.listen".to_owned(), error))?;
    let (udp, tcp) = server.addresses();
    let mut open =
        vec![Open { kind: "ng-udp", address: udp }, Open { kind: "ng-tcp", address: tcp }];
    let media = server.browser_addresses().into_iter();
    open.extend(media.map(|address| Open { kind: "media", address }));
    if let Some(address) = config.ng.http_listen {
        let bad = |error| Failure::failed(format!("ng.http_listen: {address}"), error);
        let listener = tokio::net::TcpListener::bind(address).await.map_err(bad)?;
        let address = listener.local_addr().map_err(bad)?;
        open.push(Open { kind: "ng-http", address });
        tokio::spawn(web::serve(listener, server.clone(), admission));
    }
    ready(&open, &[], output);
    signals.next().await;
    tracing::info!("stopping: calls end with their media");
    let stopping = tokio::task::spawn_blocking(move || server.stop_recording(STOP_TIME));
    // It fails only when it panicked, and then there is nothing left to wait for.
    let _ = stopping.await;
    Ok(())
}

/// The recorder that the configuration asks for, with its list of files.
fn recording_of(home: &Home, config: &Recording) -> NgRecording {
    let folder = config.folder.clone().unwrap_or_else(|| home.data.join("recordings"));
    // A media server has no readers of events.
    let ledger = Ledger::open(folder.join("index.jsonl"), Events::new());
    let told = ledger.clone();
    NgRecording {
        recorder: RecorderConfig {
            folder,
            format: config.format,
            min_free: config.min_free,
            keep: config.keep,
            keep_bytes: config.keep_bytes,
            max: config.at_once,
        },
        name: Box::new(move |beginning| {
            let (id, millis) = (RecordingId(beginning.recording), beginning.at / 1000);
            let note = ledger.begin_of(id, &beginning.call, millis, beginning.metadata.clone());
            let path = name_of(millis, beginning.name.as_deref().unwrap_or(&beginning.call), id);
            RecordingName { path, note }
        }),
        news: Box::new(move |news| told.note(news)),
    }
}

/// Where the configuration lets calls be streamed to.
fn forwarding_of(config: &Config, stream: &Stream) -> Result<NgForwarding, Failure> {
    let tls = match &stream.ca_file {
        Some(file) => Some(tls::client_config_of(file)?),
        None => tls::client_config(),
    };
    let (usual, token, allowed) =
        (config.ng.forward_to.clone(), stream.token.clone(), stream.clone());
    Ok(NgForwarding { permits: Box::new(move |url| allowed.permits(url)), usual, token, tls })
}

fn media_config(config: &Config) -> MediaPoolConfig {
    let addresses = match config.media.addresses.as_slice() {
        [] => addresses::of_this_host(),
        configured => configured.to_vec(),
    };
    let timeout = config.ng.timeout.max(Duration::from_secs(5));
    let media = crate::run::media_config(config, &addresses);
    // Only sockets of their own send from the address that each leg is at.
    let io = if config.ng.interfaces.is_empty() { media.io } else { Some(IoKind::Sockets) };
    MediaPoolConfig { timeout, io, ..media }
}

/// For the ends of files that are being written.
const STOP_TIME: Duration = Duration::from_secs(5);
