//! The port of HTTPS, which TURN and ICE-TCP share: what browsers are told of it, and its serving.

use std::net::{IpAddr, SocketAddr};

use crosspoint_net::{IceTcp, SharedPort, SharedPortCounts};
use tokio::sync::watch;

use crate::config::Config;
use crate::http::HttpServer;

/// What is counted on the port.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) port: SharedPortCounts,
    pub(crate) ice: Option<IceTcp>,
}

/// Where browsers reach the media plane over TCP: nowhere, unless it is served there.
pub(super) fn tcp_addresses(
    config: &Config,
    http: SocketAddr,
    advertised: &[IpAddr],
) -> Vec<SocketAddr> {
    if !config.media.ice_tcp {
        return Vec::new();
    }
    let port = advertised_port(config, http);
    // Loopback is reached by nobody else; `[::]` hears both families.
    let is_reached = |ip: &&IpAddr| match http.ip() {
        IpAddr::V6(any) if any.is_unspecified() => true,
        bound => bound.is_ipv4() == ip.is_ipv4() && (!bound.is_loopback() || ip.is_loopback()),
    };
    advertised.iter().filter(is_reached).map(|ip| SocketAddr::new(*ip, port)).collect()
}

pub(super) fn advertised_port(config: &Config, http: SocketAddr) -> u16 {
    config.http.advertised_port.unwrap_or(http.port())
}

/// Takes connections until told to stop. What they have become by then lives on.
pub(super) async fn serve(port: SharedPort, http: HttpServer, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = port.serve(move |connection| http.take(connection)) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn browsers_are_told_of_tcp_where_it_is_heard() {
        let check = |text: &str, http: &str, expected: &[&str]| {
            let config = Config::parse(text, std::path::Path::new("")).unwrap();
            let advertised = ["203.0.113.7", "2001:db8::7"].map(|ip| ip.parse().unwrap());
            let told = tcp_addresses(&config, http.parse().unwrap(), &advertised);
            let told: Vec<String> = told.iter().map(ToString::to_string).collect();
            assert_eq!(told, expected, "{text} {http}");
        };
        check("", "0.0.0.0:8443", &["203.0.113.7:8443"]);
        check("", "[::]:8443", &["203.0.113.7:8443", "[2001:db8::7]:8443"]);
        check("", "10.0.0.5:8443", &["203.0.113.7:8443"]);
        check("", "127.0.0.1:8443", &[]);
        check("[http]\nadvertised_port = 443", "0.0.0.0:8443", &["203.0.113.7:443"]);
        check("[http]\ntls = false", "0.0.0.0:8443", &[]);
        check("[media]\nice_tcp = false", "0.0.0.0:8443", &[]);
    }
}
