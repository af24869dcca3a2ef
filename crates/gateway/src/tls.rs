//! TLS towards phones and browsers: the certificate from its files to `rustls`.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig, version};

use crate::cli::Failure;

/// What a TLS listener needs. `protocols` are offered by ALPN (RFC 7301).
pub(crate) fn server_config(
    certificate: &Path,
    key: &Path,
    protocols: &[&str],
) -> Result<Arc<ServerConfig>, Failure> {
    let bad = |path: &Path| {
        let what = path.display().to_string();
        move |error: &dyn std::fmt::Display| Failure::failed(what, error)
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(certificate)(&error))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key)(&error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| bad(certificate)(&error))?;
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// For connections to trunks: their certificates are checked against the system's roots. None
/// when the system has none.
pub(crate) fn client_config() -> Option<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return None;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(Arc::new(config))
}
