//! The certificate that `crosspoint run` makes for itself when it is given none.
//!
//! ECDSA P-256, good for localhost, this host's name and its addresses. It is kept in the data
//! folder, so that a browser's exception for it lasts.

use std::io;
use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType,
};

use crate::cli::Failure;
use crate::home::Home;
use crate::run::acme;
use crate::tls;

/// The PEM files to serve TLS with: those that an authority gave, the configured ones, or our own,
/// made if need be.
pub(crate) fn ensure(home: &Home) -> Result<(std::path::PathBuf, std::path::PathBuf), Failure> {
    let given = acme::files(&home.data);
    if home.config.acme.is_some() && tls::certified(&given.0, &given.1).is_ok() {
        return Ok(given);
    }
    if let Some(files) = &home.config.tls {
        return Ok((files.certificate.clone(), files.key.clone()));
    }
    let (certificate, key) = home.certificate_files();
    if !(certificate.exists() && key.exists()) {
        let (certificate_pem, key_pem) = generate(&home.config.general.domains)
            .map_err(|error| Failure::failed("the self-signed certificate".to_owned(), error))?;
        let written = write_private(&key, &key_pem)
            .and_then(|()| write_private(&certificate, &certificate_pem));
        written.map_err(|error| Failure::failed(format!("{}", certificate.display()), error))?;
    }
    Ok((certificate, key))
}

fn generate(domains: &[String]) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "Crosspoint (self-signed)");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut names = vec!["localhost".to_owned()];
    names.extend(gethostname::gethostname().into_string().ok());
    names.extend_from_slice(domains);
    names.sort();
    names.dedup();
    for name in names {
        match name.parse::<IpAddr>() {
            Ok(address) => params.subject_alt_names.push(SanType::IpAddress(address)),
            // A host whose name is no DNS name is still reachable by its addresses.
            Err(_) => params.subject_alt_names.extend(name.try_into().map(SanType::DnsName)),
        }
    }
    for interface in if_addrs::get_if_addrs().unwrap_or_default() {
        params.subject_alt_names.push(SanType::IpAddress(interface.ip()));
    }
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&unfinished)?;
    io::Write::write_all(&mut file, text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)
}
