//! From the configuration of a network and of an account on it to what is behind the account.
//!
//! A registrar may be any host: who provisions is trusted with the network that we are in, as
//! whoever writes our configuration is. Users of apps cannot choose one.

use std::time::Duration;

use bytes::Bytes;
use crosspoint_base::{Secret, Transport};
use crosspoint_call::MediaPath;
use crosspoint_connectors::rtcengine::RemoteAccount;
use crosspoint_sip::Uri;
use crosspoint_sip::uri::Scheme;
use serde_json::{Map, Value};

/// What a network's connector makes of an account.
#[derive(Debug, PartialEq)]
pub(super) enum Setup {
    Sip(SipSetup),
    Apps(MediaPath),
    /// Known by name, but not built yet.
    NotAvailable(&'static str),
}

#[derive(Debug, PartialEq)]
pub(super) struct SipSetup {
    /// Absent: the accounts are users of ours.
    registrar: Option<Place>,
    proxy: Option<Place>,
    auth_user: Option<String>,
    expires: Duration,
}

/// Where a SIP server is.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    host: String,
    port: Option<u16>,
    transport: Transport,
}

/// What a SIP account is.
#[derive(Debug, PartialEq)]
pub(super) enum SipAccount {
    /// Somebody of ours, known by this name.
    Ours(String),
    Elsewhere(Box<RemoteAccount>),
}

/// Why a configuration cannot be used: the member at fault and what it should be.
#[derive(Debug, PartialEq)]
pub(crate) struct Unusable {
    pub(crate) member: &'static str,
    pub(crate) why: String,
}

/// Reads a configuration: the text of a JSON object, or nothing.
pub(super) fn object(text: &str) -> Result<Map<String, Value>, Unusable> {
    match serde_json::from_str(text) {
        _ if text.trim().is_empty() => Ok(Map::new()),
        Ok(Value::Object(map)) => Ok(map),
        _ => Err(unusable("config", "must be the text of a JSON object, such as \"{}\"")),
    }
}

/// The configuration of a network with what an account on it says instead.
pub(super) fn merged(network: &str, account: &str) -> Result<Map<String, Value>, Unusable> {
    let mut config = object(network)?;
    config.extend(object(account)?);
    Ok(config)
}

/// Members that nobody knows are left alone.
pub(super) fn setup(connector: &str, config: &Map<String, Value>) -> Result<Setup, Unusable> {
    if let Some(known) = NOT_YET.iter().find(|known| **known == connector) {
        return Ok(Setup::NotAvailable(known));
    }
    match connector {
        SIP => sip(config).map(Setup::Sip),
        WEBRTC => match text(config, "media")? {
            None | Some("anchored") => Ok(Setup::Apps(MediaPath::Anchored)),
            Some("direct") => Ok(Setup::Apps(MediaPath::Direct)),
            Some(_) => Err(unusable("config.media", "must be \"direct\" or \"anchored\"")),
        },
        _ => {
            let known = [&[SIP, WEBRTC], &NOT_YET[..]].concat().join(", ");
            Err(unusable("connector", format!("must be one of {known}")))
        }
    }
}

fn sip(config: &Map<String, Value>) -> Result<SipSetup, Unusable> {
    let expires = match config.get("expires") {
        None | Some(Value::Null) => DEFAULT_EXPIRES,
        Some(value) => value
            .as_u64()
            .filter(|seconds| (MIN_EXPIRES..=MAX_EXPIRES).contains(seconds))
            .ok_or_else(|| {
                let why = format!("must be seconds from {MIN_EXPIRES} to {MAX_EXPIRES}");
                unusable("config.expires", why)
            })?,
    };
    let auth_user = text(config, "authUser")?;
    if auth_user.is_some_and(|user| !is_plain(user)) {
        return Err(unusable("config.authUser", "must be 1 to 256 characters without controls"));
    }
    let registrar = text(config, "registrar")?;
    let proxy = text(config, "proxy")?;
    if let (None, Some(_)) = (registrar, proxy) {
        return Err(unusable("config.proxy", "needs a registrar with it"));
    }
    Ok(SipSetup {
        registrar: registrar.map(|text| place("config.registrar", text)).transpose()?,
        proxy: proxy.map(|text| place("config.proxy", text)).transpose()?,
        auth_user: auth_user.map(str::to_owned),
        expires: Duration::from_secs(expires),
    })
}

fn place(member: &'static str, text: &str) -> Result<Place, Unusable> {
    let bad = || unusable(member, "must be sip:HOST, with a port or ;transport=tcp if need be");
    let uri = Uri::parse(Bytes::copy_from_slice(text.as_bytes())).ok_or_else(bad)?;
    let is_secure = match uri.scheme() {
        Scheme::Sip => false,
        Scheme::Sips => true,
        Scheme::Tel | Scheme::Other => return Err(bad()),
    };
    if uri.user().is_some() || uri.headers().is_some() || uri.is_invalid_host() {
        return Err(bad());
    }
    let named = uri.param("transport").map(|name| name.to_ascii_lowercase());
    let transport = match (named.as_deref(), is_secure) {
        (None | Some(b"udp"), false) => Transport::Udp,
        (Some(b"tcp"), false) => Transport::Tcp,
        (Some(b"tls"), _) | (None | Some(b"tcp"), true) => Transport::Tls,
        _ => return Err(unusable(member, "knows the transports udp, tcp and tls")),
    };
    let host = uri.host_ip().map_or_else(|| uri.host_text(), |ip| ip.to_string());
    if uri.port() == Some(0) || !crate::config::is_host(&host) {
        return Err(bad());
    }
    Ok(Place { host: host.to_ascii_lowercase(), port: uri.port(), transport })
}

impl SipSetup {
    /// Who `identifier` is: `sip:alice@example.com`, `alice@example.com` or `alice`.
    pub(super) fn account(
        self,
        identifier: &str,
        password: &Secret<String>,
        is_ours: impl Fn(&str, Option<u16>) -> bool,
    ) -> Result<SipAccount, Unusable> {
        let (user, domain) = user_and_domain(identifier)?;
        let registrar = match self.registrar {
            Some(registrar) if !is_ours(&registrar.host, registrar.port) => registrar,
            _ => return Ok(SipAccount::Ours(user)),
        };
        let domain = domain.unwrap_or_else(|| registrar.host.clone());
        let Place { host, port, transport } = self.proxy.unwrap_or(registrar);
        Ok(SipAccount::Elsewhere(Box::new(RemoteAccount {
            user,
            domain,
            host,
            port,
            transport,
            auth_user: self.auth_user,
            password: password.clone(),
            expires: self.expires,
        })))
    }
}

fn user_and_domain(identifier: &str) -> Result<(String, Option<String>), Unusable> {
    let bad = || unusable("identifier", "must be sip:USER@DOMAIN or USER");
    let lower = identifier.to_ascii_lowercase();
    let has_scheme = lower.starts_with("sip:") || lower.starts_with("sips:");
    if !has_scheme && !identifier.contains('@') {
        return if is_plain(identifier) { Ok((identifier.to_owned(), None)) } else { Err(bad()) };
    }
    let text = if has_scheme { identifier.to_owned() } else { format!("sip:{identifier}") };
    let uri = Uri::parse(Bytes::from(text)).ok_or_else(bad)?;
    let user = uri.user_decoded().filter(|user| is_plain(user)).ok_or_else(bad)?;
    let host = uri.host_ip().map_or_else(|| uri.host_text(), |ip| ip.to_string());
    if !crate::config::is_host(&host) {
        return Err(bad());
    }
    Ok((user, Some(host.to_ascii_lowercase())))
}

/// A text member that may be missing.
fn text<'a>(config: &'a Map<String, Value>, key: &str) -> Result<Option<&'a str>, Unusable> {
    match config.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(unusable("config", format!("its member {key} must be a text"))),
    }
}

fn is_plain(text: &str) -> bool {
    (1..=256).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn unusable(member: &'static str, why: impl Into<String>) -> Unusable {
    Unusable { member, why: why.into() }
}

pub(super) const SIP: &str = "sip-connector";
pub(super) const WEBRTC: &str = "webrtc";
const NOT_YET: [&str; 3] = ["xmpp-connector", "conference", "sipwise-connector"];
const DEFAULT_EXPIRES: u64 = 3600;
const MIN_EXPIRES: u64 = 30;
const MAX_EXPIRES: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(connector: &str, network: &str, account: &str) -> Result<Setup, Unusable> {
        setup(connector, &merged(network, account)?)
    }

    fn account(config: &str, identifier: &str) -> Result<SipAccount, Unusable> {
        let Setup::Sip(setup) = read(SIP, config, "")? else { panic!("{config}") };
        let is_ours = |host: &str, port: Option<u16>| {
            host == "gw.example" && port.is_none_or(|port| port == 5060)
        };
        setup.account(identifier, &Secret::new("pw".to_owned()), is_ours)
    }

    fn remote(config: &str, identifier: &str) -> RemoteAccount {
        match account(config, identifier) {
            Ok(SipAccount::Elsewhere(remote)) => *remote,
            other => panic!("{config} {identifier}: {other:?}"),
        }
    }

    #[test]
    fn a_registrar_elsewhere_is_signed_in_to() {
        let plain = remote(r#"{"registrar":"sip:PBX.example"}"#, "sip:alice@example.com");
        assert_eq!((plain.user.as_str(), plain.domain.as_str()), ("alice", "example.com"));
        assert_eq!((plain.host.as_str(), plain.port), ("pbx.example", None));
        assert_eq!((plain.transport, plain.expires.as_secs()), (Transport::Udp, 3600));
        let proxied = remote(
            r#"{"registrar":"sip:pbx.example:5080;transport=tcp","proxy":"sips:[2001:db8::1]:5071",
                "authUser":"a1","expires":60}"#,
            "alice",
        );
        assert_eq!(
            (proxied.domain.as_str(), proxied.host.as_str()),
            ("pbx.example", "2001:db8::1")
        );
        assert_eq!((proxied.port, proxied.transport), (Some(5071), Transport::Tls));
        assert_eq!((proxied.auth_user.as_deref(), proxied.expires.as_secs()), (Some("a1"), 60));
        let tcp = remote(r#"{"registrar":"sip:192.0.2.1;transport=TCP"}"#, "alice@example.com");
        assert_eq!((tcp.transport, tcp.host.as_str()), (Transport::Tcp, "192.0.2.1"));
    }

    #[test]
    fn without_a_registrar_or_with_ours_it_is_a_user_of_ours() {
        let ours = Ok(SipAccount::Ours("alice".to_owned()));
        assert_eq!(account("{}", "sip:alice@gw.example"), ours);
        assert_eq!(account(r#"{"xms":false}"#, "alice"), ours);
        assert_eq!(account(r#"{"registrar":"sip:GW.example"}"#, "alice@elsewhere.test"), ours);
        assert_eq!(account("{}", "sip:%61lice@gw"), ours);
        assert_eq!(account(r#"{"registrar":"sip:gw.example:5060"}"#, "alice"), ours);
        let beside = remote(r#"{"registrar":"sip:gw.example:5080"}"#, "alice");
        assert_eq!(beside.port, Some(5080), "another server on our host");
    }

    #[test]
    fn an_account_goes_before_its_network() {
        let direct = Ok(Setup::Apps(MediaPath::Direct));
        assert_eq!(read(WEBRTC, r#"{"media":"anchored"}"#, r#"{"media":"direct"}"#), direct);
        assert_eq!(read(WEBRTC, r#"{"media":"direct"}"#, "{}"), direct);
        assert_eq!(read(WEBRTC, "", ""), Ok(Setup::Apps(MediaPath::Anchored)));
        assert_eq!(read("conference", "{}", ""), Ok(Setup::NotAvailable("conference")));
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_member() {
        let check = |connector: &str, config: &str, member: &str| {
            let error = read(connector, config, "{}").expect_err(config);
            assert_eq!(error.member, member, "{config}: {}", error.why);
        };
        check("telepathy", "{}", "connector");
        check(WEBRTC, "[]", "config");
        check(WEBRTC, "{", "config");
        check(WEBRTC, &"[".repeat(10_000), "config");
        check(WEBRTC, r#"{"media":"both"}"#, "config.media");
        check(WEBRTC, r#"{"media":1}"#, "config");
        check(SIP, r#"{"registrar":5}"#, "config");
        check(SIP, r#"{"proxy":"sip:a"}"#, "config.proxy");
        for bad in [
            "",
            "pbx.example",
            "http://pbx",
            "sip:",
            "sip:a@b",
            "sip:a b",
            "tel:1",
            "sip:a;transport=ws",
            "sips:a;transport=udp",
            "sip:a:0",
            "sip:a:99999",
            "sip:a?b=c",
        ] {
            check(SIP, &format!("{{\"registrar\":\"{bad}\"}}"), "config.registrar");
        }
        for bad in ["0", "-1", "29", "86401", "\"60\"", "1.5", "1e400"] {
            let member = if bad == "1e400" { "config" } else { "config.expires" };
            check(SIP, &format!("{{\"expires\":{bad}}}"), member);
        }
        for bad in ["", "sip:", "sip:@a", "sip:a@", "a@b@c", "sip:gw.example", "a\u{0}", "x y@z"] {
            let error = account("{}", bad).expect_err(bad);
            assert_eq!(error.member, "identifier", "{bad}");
        }
    }
}
