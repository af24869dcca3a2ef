//! `Via` (RFC 3261 §20.42, RFC 3581).

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use crosspoint_base::{push_ip, push_number};

use super::Params;
use super::params::parts;
use crate::message_trim as trim;
use crate::uri::{ip_literal, split_host_port};

/// One `Via` value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// As it stands: `UDP`, `WSS`, or a transport we do not know.
    pub transport: Bytes,
    pub host: Bytes,
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    #[must_use]
    pub fn parse(value: &Bytes) -> Option<Self> {
        // sent-protocol = "SIP" SLASH "2.0" SLASH transport, with white space around each slash.
        let mut parts = value.splitn(3, |b| *b == b'/');
        let protocol = trim(parts.next()?);
        let version = trim(parts.next()?);
        if !protocol.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
            return None;
        }
        let rest = trim(parts.next()?);
        let space = rest.iter().position(|b| b.is_ascii_whitespace())?;
        let transport = value.slice_ref(&rest[..space]);
        let rest = trim(&rest[space..]);
        let end = rest.iter().position(|b| *b == b';').unwrap_or(rest.len());
        let (host, port) = split_host_port(trim(&rest[..end]))?;
        let params = if end < rest.len() { value.slice_ref(&rest[end..]) } else { Bytes::new() };
        Some(Self { transport, host: value.slice_ref(host), port, params: Params::new(params) })
    }

    #[must_use]
    pub fn branch(&self) -> Option<Bytes> {
        self.params.value("branch").filter(|b| !b.is_empty())
    }

    /// The address the request really came from, as our side or a proxy noted it.
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let value = self.params.value("received")?;
        ip_literal(&value)
    }

    /// `None` without the parameter, `Some(None)` when it asks to be filled (RFC 3581 §3).
    #[must_use]
    pub fn rport(&self) -> Option<Option<u16>> {
        let value = self.params.value("rport")?;
        Some(std::str::from_utf8(&value).ok().and_then(|v| v.parse().ok()))
    }

    /// The value with what the receiver saw noted in it (RFC 3261 §18.2.1, RFC 3581 §4).
    #[must_use]
    pub fn with_source(&self, value: &Bytes, source: SocketAddr) -> Option<Bytes> {
        let same_host = ip_literal(&self.host) == Some(source.ip());
        let wants_port = self.params.has("rport");
        if same_host && !wants_port {
            return None;
        }
        let head = value.len() - self.params.as_bytes().len();
        let mut out = Vec::with_capacity(value.len() + 64);
        out.extend_from_slice(&value[..head]);
        for (name, param) in parts(self.params.as_bytes()) {
            if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
                continue;
            }
            out.push(b';');
            out.extend_from_slice(name);
            if let Some(param) = param {
                out.push(b'=');
                out.extend_from_slice(param);
            }
        }
        let mut noted = String::with_capacity(64);
        noted.push_str(";received=");
        push_ip(&mut noted, source.ip());
        if wants_port {
            noted.push_str(";rport=");
            push_number(&mut noted, source.port());
        }
        out.extend_from_slice(noted.as_bytes());
        Some(Bytes::from(out))
    }
}
