//! Our parser beside an independent one: what both take must be read the same way.

use bytes::Bytes;
use crosspoint_base::Rng;
use crosspoint_sip::Message;
use sipx_sip::parser;

use crate::message::INVITE;

const MUTATIONS: u32 = 20_000;

/// Damages a message in up to three places.
fn damage(rng: &mut Rng) -> Bytes {
    let mut bytes = INVITE.as_bytes().to_vec();
    for _ in 0..=rng.below(3) {
        let Ok(length) = u32::try_from(bytes.len()) else { break };
        let at = rng.below(length.max(1)) as usize;
        match rng.below(3) {
            0 if at < bytes.len() => bytes[at] = rng.next_u32().to_le_bytes()[0],
            1 if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.insert(at, b"\r\n;,<>\":@[]%\\ \t"[rng.below(15) as usize]),
        }
    }
    Bytes::from(bytes)
}

#[test]
fn both_parsers_see_the_same_kind_and_body() {
    let mut rng = Rng::from_u64(11);
    let (mut both, mut only_one) = (0_u32, 0_u32);
    for _ in 0..MUTATIONS {
        let bytes = damage(&mut rng);
        let theirs = parser::parse_datagram(bytes.clone(), &parser::Limits::default());
        match (Message::parse(bytes.clone()), theirs) {
            (Ok(ours), Ok(theirs)) => {
                both += 1;
                let body = match &ours {
                    Message::Request(request) => &request.body,
                    Message::Response(response) => &response.body,
                };
                let theirs = theirs.to_bytes();
                assert!(theirs.ends_with(body), "{}", String::from_utf8_lossy(&bytes));
            }
            (Err(_), Err(_)) => {}
            _ => only_one += 1,
        }
    }
    // They differ in where they are lenient; most cases must still be judged alike.
    assert!(both > MUTATIONS / 4, "only {both} were taken by both");
    assert!(only_one < MUTATIONS / 2, "{only_one} were taken by one alone");
}
