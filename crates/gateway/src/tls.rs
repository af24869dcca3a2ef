//! TLS towards phones, browsers and trunks: certificates from their files to `rustls`, and who has
//! shown which (RFC 5922).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use crosspoint_net::{Certificate, CertificateReader};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::server::{
    ClientHello, NoClientAuth, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
};
pub(crate) use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion, version,
};
use x509_parser::extensions::GeneralName;

use crate::cli::Failure;
use crate::config::{Trunk, TrunkTls};

/// The certificate that every TLS port of ours shows. Handshakes from now on see another one when
/// it is replaced; open connections stay as they are.
#[derive(Debug)]
pub(crate) struct Shown {
    usual: RwLock<Arc<CertifiedKey>>,
    /// What an authority alone is shown, by the names that it looks for.
    proofs: RwLock<BTreeMap<String, Arc<CertifiedKey>>>,
}

impl Shown {
    pub(crate) fn new(certificate: Arc<CertifiedKey>) -> Arc<Self> {
        Arc::new(Self { usual: RwLock::new(certificate), proofs: RwLock::default() })
    }

    pub(crate) fn replace(&self, certificate: Arc<CertifiedKey>) {
        *self.usual.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }

    /// When it is no longer good, in Unix seconds.
    pub(crate) fn expires(&self) -> Option<i64> {
        let shown = self.usual.read().unwrap_or_else(PoisonError::into_inner).clone();
        life_of(&shown).map(|(_, until, _)| until)
    }

    /// Shows a certificate to an authority that looks for `name` (RFC 8737). Both are DER.
    pub(crate) fn prove(&self, name: &str, certificate: &[u8], key: &[u8]) -> Result<(), String> {
        let key = PrivateKeyDer::try_from(key.to_vec()).map_err(str::to_owned)?;
        let chain = vec![CertificateDer::from(certificate.to_vec())];
        let key = aws_lc_rs::default_provider().key_provider.load_private_key(key);
        // Nobody else could read it: what the proof is in is critical.
        let certified = CertifiedKey::new(chain, key.map_err(|error| error.to_string())?);
        let mut proofs = self.proofs.write().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(name.to_owned(), Arc::new(certified));
        Ok(())
    }

    pub(crate) fn end_proofs(&self) {
        self.proofs.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let is_authority = hello.alpn().is_some_and(|mut all| all.any(|p| p == ACME.as_bytes()));
        if is_authority {
            let proofs = self.proofs.read().unwrap_or_else(PoisonError::into_inner);
            return proofs.get(&hello.server_name()?.to_ascii_lowercase()).cloned();
        }
        Some(self.usual.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// From when until when a certificate is good, in Unix seconds, and for which names.
pub(crate) fn life_of(certified: &CertifiedKey) -> Option<(i64, i64, Vec<String>)> {
    let own = certified.cert.first()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(own).ok()?;
    let life = parsed.validity();
    Some((life.not_before.timestamp(), life.not_after.timestamp(), names_in(own)))
}

/// What an authority speaks that looks for a proof.
pub(crate) const ACME: &str = "acme-tls/1";

/// A certificate with its chain and its key, which fit together.
pub(crate) fn certified(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, Failure> {
    let (chain, private) = pair(certificate, key)?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map(Arc::new)
        .map_err(|error| bad(certificate, error))
}

/// Whether a certificate with its key can be used, before anything is done with it.
pub(crate) fn check(certificate: &Path, key: &Path) -> Result<(), String> {
    certified(certificate, key).map(drop).map_err(|failure| failure.to_string())
}

/// What a TLS listener needs. `protocols` are offered by ALPN (RFC 7301).
pub(crate) fn server_config(
    shown: &Arc<Shown>,
    protocols: &[&str],
) -> Result<Arc<ServerConfig>, Failure> {
    let mut config = server(shown, Arc::new(NoClientAuth))?;
    config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

/// For SIP over TLS: peers are asked for a certificate where trunks are known by theirs. Whose it
/// is, is judged when it is read; nobody is turned away for it.
pub(crate) fn sip_server_config(
    shown: &Arc<Shown>,
    asks_peers: bool,
) -> Result<Arc<ServerConfig>, Failure> {
    let verifier: Arc<dyn ClientCertVerifier> =
        if asks_peers { Arc::new(AnyCertificate) } else { Arc::new(NoClientAuth) };
    server(shown, verifier).map(Arc::new)
}

fn server(
    shown: &Arc<Shown>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, Failure> {
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(VERSIONS)
        .map(|b| b.with_client_cert_verifier(verifier).with_cert_resolver(shown.clone()))
        .map_err(|error| Failure::failed("TLS".to_owned(), error))
}

/// A certificate with its chain, and its key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(certificate: &Path, key: &Path) -> Result<Pair, Failure> {
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| bad(key, error))?;
    Ok((certificates(certificate)?, private))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(path, error))
}

fn bad(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::failed(path.display().to_string(), error)
}

/// For connections to services: their certificates are checked against the system's roots. None
/// when the system has none.
pub(crate) fn client_config() -> Option<Arc<ClientConfig>> {
    with_roots(system_roots()?).ok()
}

/// The same with the authorities of a file, and no others.
pub(crate) fn client_config_of(file: &Path) -> Result<Arc<ClientConfig>, Failure> {
    with_roots(authority(file)?).map_err(|error| bad(file, error))
}

fn with_roots(roots: RootCertStore) -> Result<Arc<ClientConfig>, Error> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(VERSIONS)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// For connections to SIP peers: the same, and names as SIP has them.
pub(crate) fn sip_client_config() -> Option<Arc<ClientConfig>> {
    let verifier = SipServerVerifier::new(system_roots()?).ok()?;
    client(verifier, None).ok().map(Arc::new)
}

/// For connections to one trunk that has a certificate or an authority of its own.
pub(crate) fn trunk_client_config(tls: &TrunkTls) -> Result<Option<Arc<ClientConfig>>, Failure> {
    if tls.own.is_none() && tls.authority.is_none() {
        return Ok(None);
    }
    let roots = match &tls.authority {
        Some(path) => authority(path)?,
        None => system_roots().ok_or_else(|| {
            let what = "the system's certificate authorities".to_owned();
            Failure::failed(what, "there are none; name one in tls_ca")
        })?,
    };
    let failed = |error: String| Failure::failed("trunk".to_owned(), error);
    let verifier = SipServerVerifier::new(roots).map_err(|error| failed(error.to_string()))?;
    let own = tls.own.as_ref().map(|(certificate, key)| pair(certificate, key)).transpose()?;
    let config = client(verifier, own).map_err(|error| failed(error.to_string()))?;
    Ok(Some(Arc::new(config)))
}

fn client(verifier: SipServerVerifier, own: Option<Pair>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(VERSIONS)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    match own {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key),
        None => Ok(builder.with_no_client_auth()),
    }
}

fn system_roots() -> Option<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    (!roots.is_empty()).then_some(roots)
}

fn authority(path: &Path) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| bad(path, error))?;
    }
    if roots.is_empty() { Err(bad(path, "it has no certificate")) } else { Ok(roots) }
}

/// Which authority signs the certificates of a trunk: its own, else one of the system's. The
/// number stays the same as long as the authority does, whatever else the configuration says.
pub(crate) fn authority_of(trunk: &Trunk) -> usize {
    trunk.tls.authority.as_ref().map_or(0, |_| trunk.tls.authority_mark)
}

/// Reads what TLS peers prove; none where no trunk is known by a certificate.
pub(crate) fn certificate_reader(trunks: &[Trunk]) -> Result<Option<CertificateReader>, Failure> {
    let mut judges = Vec::new();
    for trunk in trunks {
        if trunk.sources.certificates.is_empty() {
            continue;
        }
        let number = authority_of(trunk);
        let roots = match &trunk.tls.authority {
            Some(path) => Some(authority(path)?),
            None => system_roots(),
        };
        if let Some(roots) = roots
            && judges.iter().all(|(known, _)| *known != number)
        {
            judges.push((
                number,
                SipServerVerifier::new(roots)
                    .map_err(|error| Failure::failed("trunk".to_owned(), error))?,
            ));
        }
    }
    if judges.is_empty() {
        return Ok(None);
    }
    Ok(Some(CertificateReader::new(move |chain| {
        let (own, between) = chain.split_first()?;
        let names = names_in(own);
        let now = UnixTime::now();
        let signed = judges.iter().filter(|(_, judge)| judge.has_signed(own, between, now));
        let authorities: Vec<usize> = signed.map(|(number, _)| *number).collect();
        (!authorities.is_empty()).then_some(Certificate { names, authorities })
    })))
}

/// The SIP names of a certificate (RFC 5922 §7.1): the hosts of its SIP URIs, its DNS names, and
/// its common name where it has neither. In lower case.
fn names_in(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok((_, parsed)) = x509_parser::parse_x509_certificate(certificate) else { return vec![] };
    let mut names = Vec::new();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        for name in &alternative.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => names.extend(sip_domain(uri)),
                _ => {}
            }
        }
    } else {
        let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common.map(str::to_ascii_lowercase));
    }
    names.truncate(MAX_NAMES);
    names
}

/// A SIP URI of a domain, without a user.
fn sip_domain(uri: &str) -> Option<String> {
    let (scheme, domain) = uri.split_once(':')?;
    let is_sip = scheme.eq_ignore_ascii_case("sip");
    (is_sip && !domain.contains('@')).then(|| domain.to_ascii_lowercase())
}

/// Checks the certificate of a SIP peer: the usual way, and by SIP URI where its DNS names do not
/// say whose it is (RFC 5922 §7.2).
// Deviation: RFC 5922 §7.2 wants no wildcards; carriers use them, and they prove the same.
#[derive(Debug)]
struct SipServerVerifier {
    by_name: Arc<WebPkiServerVerifier>,
    as_client: Arc<dyn ClientCertVerifier>,
}

impl SipServerVerifier {
    fn new(roots: RootCertStore) -> Result<Self, VerifierBuilderError> {
        let (roots, provider) = (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        let by_name =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let as_client = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
        Ok(Self { by_name, as_client })
    }

    /// Whether its authority stands behind a certificate, in whichever part its owner acts.
    fn has_signed(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> bool {
        if self.as_client.verify_client_cert(own, between, now).is_ok() {
            return true;
        }
        self.is_signed_server(own, between, &[], now)
    }

    fn is_signed_server(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        ocsp: &[u8],
        now: UnixTime,
    ) -> bool {
        // The chain is checked before the name.
        let Ok(name) = ServerName::try_from("name.invalid") else { return false };
        match self.by_name.verify_server_cert(own, between, &name, ocsp, now) {
            Ok(_) => true,
            Err(error) => is_about_name(&error),
        }
    }
}

fn is_about_name(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
        )
    )
}

impl ServerCertVerifier for SipServerVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.by_name.verify_server_cert(own, between, name, ocsp, now) {
            Err(error) if is_about_name(&error) => {
                let wanted = name.to_str().to_ascii_lowercase();
                if names_in(own).contains(&wanted) {
                    Ok(ServerCertVerified::assertion())
                } else {
                    Err(error)
                }
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_name.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_name.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_name.supported_verify_schemes()
    }
}

/// Takes any certificate whose key its owner has.
#[derive(Debug)]
struct AnyCertificate;

impl ClientCertVerifier for AnyCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, &known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = aws_lc_rs::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, &known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

const VERSIONS: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
/// Names of one certificate that count.
const MAX_NAMES: usize = 64;
