//! What a browser that only waits for calls costs: memory per registration over WSS, idle.

use std::net::TcpStream;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::Outcome;
use crate::process::{Gateway, PATIENCE};
use crate::signaling::Page;
use crate::table::row;

const PAGES: u32 = 1000;
/// The first ones pay for what all share.
const WARM: u32 = 50;
const PER_USER: u32 = 10;

pub(crate) fn run() -> Outcome<()> {
    let gateway = Gateway::start("", (WARM + PAGES) / PER_USER)?;
    let certificate = gateway.folder.path().join("data/certificate.pem");
    let mut roots = RootCertStore::empty();
    roots.add(
        CertificateDer::from_pem_file(&certificate).map_err(|e| format!("{certificate:?}: {e}"))?,
    )?;
    let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let tls = Arc::new(tls);
    let mut pages = Vec::new();
    let mut before = 0;
    for number in 0..WARM + PAGES {
        let stream = TcpStream::connect(gateway.address("wss")?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost")?;
        let stream = StreamOwned::new(ClientConnection::new(tls.clone(), name)?, stream);
        pages.push(Page::open(Box::new(stream), &format!("user{}", number / PER_USER), number)?);
        if number + 1 == WARM {
            before = gateway.server.memory();
        }
    }
    let memory = gateway.server.memory().saturating_sub(before) as f64 / f64::from(PAGES);
    row("KiB of memory per idle WSS registration", &format!("{:.1}", memory / 1024.0), "", None);
    Ok(())
}
