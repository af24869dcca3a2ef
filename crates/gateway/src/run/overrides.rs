//! Addresses given on the command line, which go before those of the file.

use std::net::SocketAddr;

use clap::Args;
use crosspoint_base::Transport;

use crate::config::{Config, Listener};

/// Options of `crosspoint run`. Each replaces what the file says of that kind; port 0 lets the
/// system choose.
#[derive(Debug, Args)]
pub(crate) struct Overrides {
    /// Hear SIP over UDP here instead (may be repeated)
    #[arg(long, value_name = "ADDR:PORT")]
    sip_udp: Vec<SocketAddr>,
    /// Hear SIP over TCP here instead (may be repeated)
    #[arg(long, value_name = "ADDR:PORT")]
    sip_tcp: Vec<SocketAddr>,
    /// Hear SIP over TLS here instead (may be repeated)
    #[arg(long, value_name = "ADDR:PORT")]
    sip_tls: Vec<SocketAddr>,
    /// Serve the web phone and its WebSocket here instead
    #[arg(long, value_name = "ADDR:PORT")]
    https: Option<SocketAddr>,
    /// Take browsers' media (UDP) here instead
    #[arg(long, value_name = "ADDR:PORT")]
    media_browser: Option<SocketAddr>,
    /// Create no users at the first start: a service would print their passwords into its journal
    #[arg(long)]
    pub(super) no_users: bool,
}

impl Overrides {
    pub(super) fn apply(&self, config: &mut Config) {
        let kinds = [
            (Transport::Udp, &self.sip_udp),
            (Transport::Tcp, &self.sip_tcp),
            (Transport::Tls, &self.sip_tls),
        ];
        for (transport, addresses) in kinds {
            if addresses.is_empty() {
                continue;
            }
            config.listeners.retain(|listener| listener.transport != transport);
            let listener = |address: &SocketAddr| Listener { transport, address: *address };
            config.listeners.extend(addresses.iter().map(listener));
        }
        if let Some(address) = self.https {
            config.http.listen = address;
        }
        if let Some(address) = self.media_browser {
            config.media.browser_listen = address;
        }
    }
}
