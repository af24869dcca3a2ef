//! `crosspoint media`: a media server for SIP proxies that speak rtpengine's ng protocol.

use std::net::SocketAddr;

use clap::Args;

use crate::cli::{Failure, Output};
use crate::home::Home;
use crate::media_server;

/// Options that go before those of the file; port 0 lets the system choose.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Take requests here instead (UDP and TCP)
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Take requests over HTTP and WebSocket here
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Take browsers' media (UDP) here instead
    #[arg(long, value_name = "ADDR:PORT")]
    media_browser: Option<SocketAddr>,
}

pub(super) fn run(arguments: Arguments, mut home: Home, output: &Output) -> Result<(), Failure> {
    let config = &mut home.config;
    config.ng.listen = arguments.listen.unwrap_or(config.ng.listen);
    config.ng.http_listen = arguments.http.or(config.ng.http_listen);
    config.media.browser_listen = arguments.media_browser.unwrap_or(config.media.browser_listen);
    media_server::run(&home, output)
}
