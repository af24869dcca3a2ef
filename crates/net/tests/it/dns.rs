//! Names to addresses, asked of a name server of our own.

use std::net::SocketAddr;

use crosspoint_base::{Rng, Transport};
use crosspoint_net::{ResolveError, Resolver};
use tokio::net::UdpSocket;

const A: u16 = 1;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

/// A name server that knows a few names; gives its address.
async fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut query).await {
            socket.send_to(&answer(&query[..length]), peer).await.unwrap();
        }
    });
    address
}

fn answer(query: &[u8]) -> Vec<u8> {
    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let end = at + 1 + usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_ascii_lowercase());
        at = end;
    }
    let question = &query[12..at + 5];
    let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
    let records: Vec<Vec<u8>> = match (labels.join(".").as_str(), kind) {
        ("_sip._udp.trunk.test", SRV) => vec![srv(20, 5070, "b.test"), srv(10, 5080, "a.test")],
        ("_sip._tcp.trunk.test", SRV) => vec![srv(0, 0, "")],
        ("_sip._udp.named.test", SRV) => vec![srv(10, 5090, "a.test")],
        ("named.test", NAPTR) => vec![
            naptr(20, "s", "SIP+D2U", "_sip._udp.named.test"),
            naptr(10, "s", "SIPS+D2T", "_sips._tcp.other.test"),
            naptr(5, "u", "E2U+sip", ""),
            naptr(1, "s", "SIP+D2S", "_sip._sctp.named.test"),
        ],
        ("_sips._tcp.other.test", SRV) => vec![srv(1, 5061, "b.test"), srv(2, 1, "x.invalid")],
        ("trunk.test", A) => vec![vec![192, 0, 2, 1]],
        ("a.test", A) => vec![vec![192, 0, 2, 10]],
        ("b.test", A) => vec![vec![192, 0, 2, 20]],
        _ => Vec::new(),
    };
    // A response with recursion; an unknown name is NXDOMAIN.
    let code = if records.is_empty() { 3 } else { 0 };
    let count = u8::try_from(records.len()).unwrap();
    let mut answer = vec![query[0], query[1], 0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0];
    answer.extend(question);
    for data in records {
        answer.extend([0xc0, 12]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        answer.extend(data);
    }
    answer
}

fn srv(priority: u16, port: u16, target: &str) -> Vec<u8> {
    let mut data: Vec<u8> = [priority, 1, port].iter().flat_map(|n| n.to_be_bytes()).collect();
    for label in target.split('.').filter(|label| !label.is_empty()) {
        data.push(u8::try_from(label.len()).unwrap());
        data.extend(label.bytes());
    }
    data.push(0);
    data
}

fn naptr(order: u16, flags: &str, service: &str, replacement: &str) -> Vec<u8> {
    let mut data: Vec<u8> = [order, 1].iter().flat_map(|n| n.to_be_bytes()).collect();
    for text in [flags, service, ""] {
        data.push(u8::try_from(text.len()).unwrap());
        data.extend(text.bytes());
    }
    for label in replacement.split('.').filter(|label| !label.is_empty()) {
        data.push(u8::try_from(label.len()).unwrap());
        data.extend(label.bytes());
    }
    data.push(0);
    data
}

async fn resolve(
    host: &str,
    port: Option<u16>,
    transport: Transport,
) -> Result<Vec<String>, ResolveError> {
    let resolver = Resolver::with_servers(&[name_server().await], Rng::from_u64(1));
    let found = resolver.resolve(host, port, transport).await?;
    Ok(found.iter().map(ToString::to_string).collect())
}

#[tokio::test]
async fn a_host_without_a_port_is_found_by_its_service_records() {
    let found = resolve("trunk.test", None, Transport::Udp).await.unwrap();
    assert_eq!(found, ["192.0.2.10:5080", "192.0.2.20:5070"]);
}

#[tokio::test]
async fn a_port_or_no_records_lead_to_the_host_itself() {
    let found = resolve("trunk.test", Some(5062), Transport::Udp).await.unwrap();
    assert_eq!(found, ["192.0.2.1:5062"]);
    let found = resolve("a.test", None, Transport::Tls).await.unwrap();
    assert_eq!(found, ["192.0.2.10:5061"]);
}

#[tokio::test]
async fn literal_addresses_are_taken_as_they_are() {
    assert_eq!(resolve("[::1]", None, Transport::Tcp).await.unwrap(), ["[::1]:5060"]);
    assert_eq!(resolve("192.0.2.7", Some(9), Transport::Udp).await.unwrap(), ["192.0.2.7:9"]);
}

#[tokio::test]
async fn what_leads_nowhere_says_why() {
    let refused = resolve("trunk.test", None, Transport::Tcp).await;
    assert!(matches!(refused, Err(ResolveError::Refused)), "{refused:?}");
    let unknown = resolve("nobody.test", None, Transport::Udp).await;
    assert!(matches!(unknown, Err(ResolveError::NoAddress)), "{unknown:?}");
    let browser = resolve("q8x.invalid", None, Transport::Wss).await;
    assert!(matches!(browser, Err(ResolveError::Invalid)), "{browser:?}");
}

async fn locate(
    host: &str,
    port: Option<u16>,
    transport: Option<Transport>,
) -> Result<Vec<(Transport, String, u32)>, ResolveError> {
    let resolver = Resolver::with_servers(&[name_server().await], Rng::from_u64(1));
    let found = resolver.locate(host, port, transport).await?;
    Ok(found.iter().map(|l| (l.transport, l.address.to_string(), l.priority)).collect())
}

/// RFC 3263 §4.1: the owner of a name says by which transports it wants to be reached.
#[tokio::test]
async fn a_host_without_a_transport_is_asked_which_it_wants() {
    let mut found = locate("named.test", None, None).await.unwrap();
    found.sort_by_key(|(.., priority)| *priority);
    let secure = (Transport::Tls, "192.0.2.20:5061".to_owned(), 1);
    let plain = (Transport::Udp, "192.0.2.10:5090".to_owned(), (1 << 16) + 10);
    assert_eq!(found, [secure, plain]);
}

#[tokio::test]
async fn without_naptr_records_any_service_record_will_do_and_at_last_the_host() {
    let mut found = locate("trunk.test", None, None).await.unwrap();
    found.sort_by_key(|(.., priority)| *priority);
    let addresses: Vec<_> = found.into_iter().map(|(_, address, _)| address).collect();
    assert_eq!(addresses, ["192.0.2.10:5080", "192.0.2.20:5070"]);
    let host = locate("a.test", None, None).await.unwrap();
    assert_eq!(host, [(Transport::Udp, "192.0.2.10:5060".to_owned(), 0)]);
}

#[tokio::test]
async fn every_server_of_a_transport_is_told_with_its_place() {
    let found = locate("trunk.test", None, Some(Transport::Udp)).await.unwrap();
    assert_eq!(found.len(), 2);
    assert!(found.contains(&(Transport::Udp, "192.0.2.10:5080".to_owned(), 10)));
    assert!(found.contains(&(Transport::Udp, "192.0.2.20:5070".to_owned(), 20)));
    let one = locate("trunk.test", Some(5062), Some(Transport::Tcp)).await.unwrap();
    assert_eq!(one, [(Transport::Tcp, "192.0.2.1:5062".to_owned(), 0)]);
    let refused = locate("trunk.test", None, Some(Transport::Tcp)).await;
    assert!(matches!(refused, Err(ResolveError::Refused)), "{refused:?}");
    let invalid = locate("q8x.invalid", None, None).await;
    assert!(matches!(invalid, Err(ResolveError::Invalid)), "{invalid:?}");
}
