//! Whom a relay may talk to.
//!
//! A relay stands inside our network and speaks for whoever holds credentials, so everything that
//! is not plainly the public Internet is refused: loopback, private, link-local (cloud metadata),
//! and every way of writing an IPv4 address as an IPv6 one. Of this host only the media port and
//! other relays can be reached.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// What an operator decided, and which addresses are ours.
#[derive(Debug, Clone, Default)]
pub struct PeerPolicy {
    pub peers: Peers,
    /// Networks that may be reached although they are not public.
    pub allowed: Vec<Network>,
    /// Ours, as peers are told.
    pub own: Vec<OwnAddress>,
    /// Every other address of this host.
    pub host: Vec<IpAddr>,
    /// The ports of the media plane on our own addresses.
    pub media_ports: Vec<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Peers {
    /// Our media plane and relays of ours.
    Gateway,
    /// Those and public addresses.
    #[default]
    Public,
}

/// An address of ours, and how it is reached from here: a NAT in front of us may not turn packets
/// around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnAddress {
    pub advertised: IpAddr,
    pub local: IpAddr,
}

/// Addresses that begin with the same bits: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u32,
}

impl PeerPolicy {
    /// Whether a permission may be made for this address.
    #[must_use]
    pub fn permits_address(&self, ip: IpAddr) -> bool {
        self.is_own(ip) || self.permits_stranger(ip)
    }

    /// Whether packets may go to this peer and come from it.
    #[must_use]
    pub fn permits(&self, peer: SocketAddr, is_relay: impl FnOnce(SocketAddr) -> bool) -> bool {
        if self.is_own(peer.ip()) {
            return self.media_ports.contains(&peer.port()) || is_relay(peer);
        }
        let is_allowed = self.allowed.iter().any(|network| network.contains(peer.ip()));
        // Below are name servers and the like, which would answer for our clients.
        let is_port = peer.port() >= 1024 || (is_allowed && peer.port() != 0);
        is_port && self.permits_stranger(peer.ip())
    }

    /// Where packets for this peer go from here.
    #[must_use]
    pub fn to_local(&self, peer: SocketAddr) -> SocketAddr {
        let own = self.own.iter().find(|own| own.advertised == peer.ip());
        own.map_or(peer, |own| SocketAddr::new(own.local, peer.port()))
    }

    /// Which of our addresses, with which media port, this is.
    #[must_use]
    pub fn is_media(&self, peer: SocketAddr) -> Option<usize> {
        let own = self.own.iter().position(|own| own.advertised == peer.ip())?;
        let port = self.media_ports.iter().position(|port| *port == peer.port())?;
        Some(own * self.media_ports.len() + port)
    }

    /// One of our addresses with a media port.
    #[must_use]
    pub fn media(&self, own: usize) -> Option<SocketAddr> {
        let address = self.own.get(own.checked_div(self.media_ports.len())?)?;
        let port = self.media_ports.get(own.checked_rem(self.media_ports.len())?)?;
        Some(SocketAddr::new(address.advertised, *port))
    }

    /// As whom a client knows the sender of a packet.
    #[must_use]
    pub fn to_advertised(&self, from: SocketAddr) -> SocketAddr {
        let own = self.own.iter().find(|own| own.local == from.ip());
        own.map_or(from, |own| SocketAddr::new(own.advertised, from.port()))
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        self.own.iter().any(|own| own.advertised == ip)
    }

    fn permits_stranger(&self, ip: IpAddr) -> bool {
        if is_mapped(ip) || self.host.contains(&ip) || ip.is_unspecified() || ip.is_multicast() {
            return false;
        }
        let is_allowed = self.allowed.iter().any(|network| network.contains(ip));
        is_allowed || (self.peers == Peers::Public && is_public(ip))
    }
}

impl Network {
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        let differ = match (self.first, ip) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits() ^ b.to_bits()).leading_zeros(),
            _ => return false,
        };
        differ >= self.bits
    }
}

/// Text that is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an IP address with a number of bits")]
pub struct NotANetwork;

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let first: IpAddr = ip.parse().map_err(|_| NotANetwork)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).map_err(|_| NotANetwork)?;
        if bits <= most { Ok(Self { first, bits }) } else { Err(NotANetwork) }
    }
}

/// Whether it is an IPv4 address written as an IPv6 one: the kernel takes `::ffff:10.0.0.1` for
/// `10.0.0.1`.
#[must_use]
pub fn is_mapped(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some())
}

/// Whether an address is one of the Internet's (IANA special-purpose address registries).
#[must_use]
pub fn is_public(ip: IpAddr) -> bool {
    let special = |n: &(Ipv4Addr, u32)| Network { first: n.0.into(), bits: n.1 }.contains(ip);
    let special_v6 = |n: &(Ipv6Addr, u32)| Network { first: n.0.into(), bits: n.1 }.contains(ip);
    match ip {
        IpAddr::V4(_) => !SPECIAL.iter().any(special),
        IpAddr::V6(_) => special_v6(&GLOBAL_V6) && !SPECIAL_V6.iter().any(special_v6),
    }
}

const fn v4(a: u8, b: u8, c: u8, bits: u32) -> (Ipv4Addr, u32) {
    (Ipv4Addr::new(a, b, c, 0), bits)
}

const fn v6(a: u16, b: u16, bits: u32) -> (Ipv6Addr, u32) {
    (Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), bits)
}

const SPECIAL: [(Ipv4Addr, u32); 15] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];
/// All that was ever given out. Outside lie loopback, link-local, unique local, multicast, the
/// mapped and compatible forms of IPv4, and NAT64 (64:ff9b::/96, 64:ff9b:1::/48).
const GLOBAL_V6: (Ipv6Addr, u32) = v6(0x2000, 0, 3);
/// Protocol assignments with Teredo, documentation, 6to4, documentation again.
const SPECIAL_V6: [(Ipv6Addr, u32); 4] =
    [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED: [&str; 27] = [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::10.0.0.1",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::1",
        "2002:a00:1::1",
        "2001:0:a00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
    ];

    #[test]
    fn reaches_nothing_but_public_addresses() {
        let policy = PeerPolicy::default();
        for ip in REFUSED {
            let ip: IpAddr = ip.parse().unwrap();
            assert!(!policy.permits_address(ip), "{ip}");
            assert!(!policy.permits(SocketAddr::new(ip, 40_000), |_| false), "{ip}");
        }
        for ip in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2a00::1"] {
            assert!(policy.permits_address(ip.parse().unwrap()), "{ip}");
        }
        let gateway = PeerPolicy { peers: Peers::Gateway, ..PeerPolicy::default() };
        assert!(!gateway.permits_address("8.8.8.8".parse().unwrap()));
    }

    #[test]
    fn reaches_no_service_of_the_internet() {
        let policy = PeerPolicy::default();
        assert!(!policy.permits("8.8.8.8:53".parse().unwrap(), |_| false));
        assert!(policy.permits("8.8.8.8:1024".parse().unwrap(), |_| false));
    }

    #[test]
    fn reaches_only_media_and_relays_of_this_host() {
        let own = |ip: &str| {
            let ip = ip.parse().unwrap();
            OwnAddress { advertised: ip, local: ip }
        };
        let policy = PeerPolicy {
            own: vec![own("8.8.8.8"), own("10.0.0.5")],
            host: vec!["9.9.9.9".parse().unwrap()],
            allowed: vec!["9.0.0.0/8".parse().unwrap(), "10.0.0.0/8".parse().unwrap()],
            media_ports: vec![8443, 8444],
            ..PeerPolicy::default()
        };
        let check = |peer: &str, expected| {
            let is_relay = |peer: SocketAddr| peer.port() == 50_000;
            assert_eq!(policy.permits(peer.parse().unwrap(), is_relay), expected, "{peer}");
        };
        check("8.8.8.8:8443", true);
        check("10.0.0.5:8443", true);
        check("8.8.8.8:50000", true);
        check("8.8.8.8:5060", false);
        check("10.0.0.5:22", false);
        check("10.0.0.6:22", true);
        check("9.9.9.9:8443", false);
        check("9.9.9.8:8443", true);
    }

    #[test]
    fn an_operator_may_allow_networks_but_never_mapped_addresses() {
        let allowed = ["10.0.0.0/8", "64:ff9b::/96", "::/0"].map(|n| n.parse().unwrap()).into();
        let policy = PeerPolicy { allowed, ..PeerPolicy::default() };
        assert!(policy.permits_address("10.1.2.3".parse().unwrap()));
        assert!(policy.permits_address("64:ff9b::8.8.8.8".parse().unwrap()));
        assert!(!policy.permits_address("::ffff:10.0.0.1".parse().unwrap()));
        assert!(!policy.permits_address("192.168.0.1".parse().unwrap()));
        for text in ["10.0.0.0/33", "ten/8", "10.0.0.0/-1", ""] {
            assert_eq!(text.parse::<Network>(), Err(NotANetwork), "{text}");
        }
    }
}
