//! DTLS records that come before there are keys (RFC 6347 §4.1): anybody who knows two addresses
//! can make one, so what makes no sense stays outside, and the numbers of those that make sense
//! are not believed.
//!
//! A record of such a number that all honest ones count as repeated would stop the handshake.
//! Nothing signs the numbers of these records, so they are given anew in the order of arrival;
//! the messages within have numbers of their own, by which repeats are told.

/// What may be looked at of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) records: Vec<u8>,
    /// A message in the clear wants arithmetic with keys: all but the request to say hello again. What is
    /// sealed only ends a handshake, which is hashes.
    pub(super) is_much: bool,
}

/// What has been let through of one connection.
#[derive(Debug, Default)]
pub(super) struct PlainRecords {
    next: u64,
    /// Changes of the cipher since a message last came: one follows a flight of messages.
    changes: u8,
}

/// Whether a datagram begins with a ClientHello, or a piece of one.
pub(super) fn says_hello(datagram: &[u8]) -> bool {
    let record = split(datagram).map(|(record, _)| record);
    record.is_some_and(|record| {
        record[0] == HANDSHAKE && record[3..5] == [0, 0] && record.get(HEAD) == Some(&CLIENT_HELLO)
    })
}

impl PlainRecords {
    /// The records of a datagram that may be looked at, renumbered where they are in the clear.
    pub(super) fn admit(&mut self, datagram: &[u8]) -> Admitted {
        let mut out = Vec::with_capacity(datagram.len());
        let mut is_much = false;
        let mut rest = datagram;
        while let Some((record, behind)) = split(rest) {
            rest = behind;
            if record[3..5] != [0, 0] {
                out.extend_from_slice(record);
            } else if self.is_plausible(record) {
                let at = out.len();
                out.extend_from_slice(record);
                out[at + 5..at + 11].copy_from_slice(&self.next.to_be_bytes()[2..]);
                self.next += 1;
                is_much |=
                    record[0] == HANDSHAKE && record.get(HEAD) != Some(&HELLO_VERIFY_REQUEST);
            }
        }
        // Records of version 1.3 have another head, and are sealed; so is what follows them.
        out.extend_from_slice(rest);
        Admitted { records: out, is_much }
    }

    fn is_plausible(&mut self, record: &[u8]) -> bool {
        let body = &record[HEAD..];
        match record[0] {
            HANDSHAKE => {
                let Some(head) = body.first_chunk::<12>() else { return false };
                let len = u32::from_be_bytes([0, head[1], head[2], head[3]]);
                let number = u16::from_be_bytes([head[4], head[5]]);
                let is_message = len <= LONGEST_MESSAGE && number <= MOST_MESSAGES;
                self.changes = if is_message { 0 } else { self.changes };
                is_message
            }
            CHANGE_CIPHER_SPEC if self.next > 0 && self.changes < MOST_CHANGES && body == [1] => {
                self.changes += 1;
                true
            }
            // An alert in the clear proves nothing; data, and what is not known, never is.
            _ => false,
        }
    }
}

/// The first record that has the head of version 1.2, and what is behind it.
fn split(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = datagram.get(..HEAD).filter(|head| (20..=25).contains(&head[0]))?;
    let len = usize::from(u16::from_be_bytes([head[11], head[12]]));
    datagram.split_at_checked(HEAD + len)
}

const HEAD: usize = 13;
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
/// RFC 6347 §4.3.2.
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// Certificates with all that is above them have room in it.
const LONGEST_MESSAGE: u32 = 16 * 1024;
/// A handshake has at most eight messages of one side; a hello may be said again.
const MOST_MESSAGES: u16 = 16;
const MOST_CHANGES: u8 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, epoch: u8, number: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, number, 0];
        out.push(u8::try_from(body.len()).expect("a short record"));
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn numbers_in_the_clear_are_given_in_the_order_of_arrival() {
        let mut records = PlainRecords::default();
        let hello = [1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 7];
        for (n, number) in [(0, 200), (1, 3), (2, 3)] {
            let admitted = records.admit(&record(HANDSHAKE, 0, number, &hello)).records;
            assert_eq!(admitted, record(HANDSHAKE, 0, n, &hello));
        }
        let sealed = record(HANDSHAKE, 1, 77, &[9; 40]);
        let both = [record(CHANGE_CIPHER_SPEC, 0, 5, &[1]), sealed.clone()].concat();
        let admitted = records.admit(&both).records;
        assert_eq!(admitted, [record(CHANGE_CIPHER_SPEC, 0, 3, &[1]), sealed].concat());
    }

    #[test]
    fn what_makes_no_sense_stays_outside() {
        let mut records = PlainRecords::default();
        let endless = [1, 0x0f, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 1, 7];
        let far = [1, 0, 0, 1, 0, 99, 0, 0, 0, 0, 0, 1, 7];
        for (kind, body) in [
            (HANDSHAKE, &[][..]),
            (HANDSHAKE, &[1]),
            (HANDSHAKE, &endless),
            (HANDSHAKE, &far),
            (CHANGE_CIPHER_SPEC, &[]),
            (CHANGE_CIPHER_SPEC, &[1]),
            (21, &[2, 40]),
            (23, &[7]),
            (24, &[7]),
        ] {
            let nothing = Admitted { records: vec![], is_much: false };
            assert_eq!(records.admit(&record(kind, 0, 1, body)), nothing, "{kind}: {body:?}");
        }
        let refused = records.admit(&[22, 0xfe]).records;
        assert_eq!(refused, [22, 0xfe], "that is for the engine to refuse");
    }

    #[test]
    fn only_messages_in_the_clear_want_much() {
        let message =
            |kind: u8| record(HANDSHAKE, 0, 0, &[kind, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 7]);
        let [hello, request, server_hello, key] = [1, HELLO_VERIFY_REQUEST, 2, 12].map(message);
        let change = record(CHANGE_CIPHER_SPEC, 0, 0, &[1]);
        let sealed = record(HANDSHAKE, 1, 0, &[9; 40]);
        for (datagram, is_much) in [
            (hello, true),
            (request.clone(), false),
            ([request, server_hello].concat(), true),
            ([change.clone(), sealed.clone()].concat(), false),
            ([key, change, sealed].concat(), true),
        ] {
            let mut records = PlainRecords { next: 1, changes: 0 };
            assert_eq!(records.admit(&datagram).is_much, is_much, "{datagram:?}");
        }
    }
}
