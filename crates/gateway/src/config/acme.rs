//! `[acme]`: certificates from an authority that gives them by itself.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::ClientConfig;

use super::Acme;
use super::reader::Section;
use super::sections::{file_beside, is_host};

pub(super) fn read(section: &Section<'_>, folder: &Path, is_served: bool) -> Acme {
    let domains = section.strings("domains");
    let domains = section.required("domains", "domains = [\"sip.example.com\"]", domains);
    let domains = domains.unwrap_or_default();
    let is_name = |name: &str| is_host(name) && name.parse::<std::net::IpAddr>().is_err();
    for name in domains.iter().filter(|name| !is_name(&name.value)) {
        let message = format!("{:?} is not a host name", name.value);
        section.document().complain_about(name, message, "write for example \"sip.example.com\"");
    }
    let contact = section.strings("contact").unwrap_or_default();
    for address in contact.iter().filter(|address| !address.value.contains('@')) {
        let message = format!("{:?} is not an e-mail address", address.value);
        section.document().complain_about(address, message, "write \"admin@example.com\"");
    }
    if section.boolean("accept_terms") != Some(true) {
        let message = "the authority's terms are not accepted";
        let remedy = "read them, and write accept_terms = true";
        section.document().complain_about(&section.here(), message, remedy);
    }
    if !is_served {
        let message = "names are proved on the port of HTTPS, which speaks no TLS here";
        let remedy = "remove tls = false from [http], or get certificates where the TLS is";
        section.document().complain_about(&section.here(), message, remedy);
    }
    let directory = section.string("directory");
    if let Some(url) = directory.as_ref().filter(|url| !url.value.starts_with("https://")) {
        let message = format!("{:?} is not an address of HTTPS", url.value);
        section.document().complain_about(url, message, "write https://.. as the authority says");
    }
    Acme {
        directory: directory.map_or_else(|| LETS_ENCRYPT.to_owned(), |url| url.value),
        domains: domains.into_iter().map(|name| name.value.to_ascii_lowercase()).collect(),
        contact: contact.into_iter().map(|c| format!("mailto:{}", c.value)).collect(),
        tls: authority(section, folder),
    }
}

fn authority(section: &Section<'_>, folder: &Path) -> Option<Arc<ClientConfig>> {
    let Some(name) = section.string("ca_file") else { return crate::tls::client_config() };
    let (path, _) = file_beside(section, folder, &name)?;
    let config = crate::tls::client_config_of(&path).map_err(|failure| {
        let remedy = "give the certificates of authorities in PEM";
        section.document().complain_about(&name, failure.to_string(), remedy);
    });
    config.ok()
}

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
