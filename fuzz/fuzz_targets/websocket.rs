//! Any bytes from a browser whose WebSocket is open: no panic, memory bounded, and the connection
//! ends when the browser is gone. The first byte chooses: raw frames, or one message in a frame.
#![no_main]

use std::cell::LazyCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use crosspoint_base::Transport;
use crosspoint_net::{
    Admission, Arrival, ConnectionLimits, OriginCheck, SipTransport, SipTransportConfig,
};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::server::ResolvesServerCertUsingSni;

thread_local! {
    static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    });
}

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let sent = if choice & 1 == 0 { rest.to_vec() } else { frame(rest) };
    RUNTIME.with(|runtime| runtime.block_on(converse(sent)));
});

async fn converse(sent: Vec<u8>) {
    let (sender, mut arrivals) = mpsc::channel(16);
    let transport = SipTransport::bind(config(), sender).await.expect("no listener can fail");
    let (browser, ours) = tokio::io::duplex(4096);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    transport.adopt_websocket(ours, address, address, Transport::Ws);
    let (mut reader, mut writer) = tokio::io::split(browser);
    let write = async move {
        // The other side may close first.
        let _ = writer.write_all(&sent).await;
        let _ = writer.shutdown().await;
    };
    let read = async move {
        let mut buffer = [0; 4096];
        while let Ok(1..) = reader.read(&mut buffer).await {}
    };
    let hear = async { while !matches!(arrivals.recv().await, Some(Arrival::Closed(_))) {} };
    tokio::join!(write, read, hear);
    let counters = transport.counters();
    assert_eq!((counters.panics, counters.open), (0, [0; 5]));
}

/// A masked text frame whose mask changes nothing (RFC 6455 §5.2).
fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81];
    match u16::try_from(payload.len()) {
        Ok(length @ ..126) => frame.push(0x80 | length.to_be_bytes()[1]),
        Ok(length) => {
            frame.push(0x80 | 126);
            frame.extend(length.to_be_bytes());
        }
        Err(_) => {
            frame.push(0x80 | 127);
            frame.extend((payload.len() as u64).to_be_bytes());
        }
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

fn config() -> SipTransportConfig {
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
    SipTransportConfig {
        listeners: Vec::new(),
        tls_server: Arc::new(tls),
        tls_client: None,
        certificates: None,
        admission: Admission::new(1, 1),
        tell_local_address: false,
        origins: OriginCheck::default(),
        limits: ConnectionLimits { messages_per_second: 1_000_000, ..ConnectionLimits::default() },
    }
}
