//! The protocol's messages as they are on the wire.

use crosspoint_base::Private;
use crosspoint_connectors::webterminal::{Body, Fault, Message};
use prost::Message as _;

/// Made from `proto/` when this crate is built.
#[allow(clippy::all, clippy::too_many_lines, unreachable_pub, reason = "generated")]
mod wgtwo {
    pub(crate) mod common {
        pub(crate) mod v0 {
            tonic::include_proto!("wgtwo.common.v0");
        }
    }
    pub(crate) mod webterminal {
        pub(crate) mod v0 {
            tonic::include_proto!("wgtwo.webterminal.v0");
        }
    }
}

pub(super) use wgtwo::common::v0::PhoneNumber;
pub(super) use wgtwo::webterminal::v0 as pb;

use pb::web_terminal_message::Message as Inner;

/// The schema with all that it imports, for reflection.
pub(super) const SCHEMA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/webterminal.bin"));

/// A message out of its bytes, if it is one.
#[must_use]
pub fn read_terminal_message(bytes: &[u8]) -> Option<Message> {
    pb::WebTerminalMessage::decode(bytes).ok().map(read)
}

/// The bytes of a message.
#[must_use]
pub fn written_terminal_message(message: Message) -> Vec<u8> {
    write(message).encode_to_vec()
}

pub(super) fn read(message: pb::WebTerminalMessage) -> Message {
    let number = |number: Option<PhoneNumber>| number.map(|number| Private(number.e164));
    let body = match message.message {
        None => Body::Empty,
        Some(Inner::Offer(pb::Offer { sdp, msisdn })) => {
            Body::Offer { sdp: Private(sdp), number: number(msisdn) }
        }
        Some(Inner::Answer(pb::Answer { sdp })) => Body::Answer { sdp: Private(sdp) },
        Some(Inner::Ringing(_)) => Body::Ringing,
        Some(Inner::Bye(_)) => Body::Bye,
        Some(Inner::Idle(_)) => Body::Idle,
        Some(Inner::InCall(pb::InCall { msisdn })) => {
            Body::InCall { number: number(msisdn).unwrap_or_default() }
        }
        Some(Inner::Error(pb::Error { err })) => Body::Error(fault(err)),
        Some(Inner::Action(pb::Action { message: Some(pb::action::Message::ToPhone(_)) })) => {
            Body::ToPhone
        }
        // An action that is newer than we are.
        Some(Inner::Action(pb::Action { message: None })) => Body::Empty,
    };
    Message { call: message.call_id, body }
}

pub(super) fn write(message: Message) -> pb::WebTerminalMessage {
    let number = |number: Private<String>| PhoneNumber { e164: number.0 };
    let inner = match message.body {
        Body::Empty => None,
        Body::Offer { sdp, number: caller } => {
            Some(Inner::Offer(pb::Offer { sdp: sdp.0, msisdn: caller.map(number) }))
        }
        Body::Answer { sdp } => Some(Inner::Answer(pb::Answer { sdp: sdp.0 })),
        Body::Ringing => Some(Inner::Ringing(pb::Ringing {})),
        Body::Bye => Some(Inner::Bye(pb::Bye {})),
        Body::Idle => Some(Inner::Idle(pb::Idle {})),
        Body::InCall { number: peer } => {
            Some(Inner::InCall(pb::InCall { msisdn: Some(number(peer)) }))
        }
        Body::Error(fault) => Some(Inner::Error(pb::Error { err: code(fault).into() })),
        Body::ToPhone => Some(Inner::Action(pb::Action {
            message: Some(pb::action::Message::ToPhone(pb::ToPhone {})),
        })),
    };
    pb::WebTerminalMessage { call_id: message.call, message: inner }
}

fn code(fault: Fault) -> pb::error::Code {
    match fault {
        Fault::Unknown => pb::error::Code::Unknown,
        Fault::NotInCall => pb::error::Code::NotIncall,
        Fault::TryAgain => pb::error::Code::TryAgain,
        Fault::InvalidCallId => pb::error::Code::InvalidCallId,
        Fault::RateLimitHit => pb::error::Code::RateLimitHit,
    }
}

fn fault(code: i32) -> Fault {
    match pb::error::Code::try_from(code) {
        Ok(pb::error::Code::NotIncall) => Fault::NotInCall,
        Ok(pb::error::Code::TryAgain) => Fault::TryAgain,
        Ok(pb::error::Code::InvalidCallId) => Fault::InvalidCallId,
        Ok(pb::error::Code::RateLimitHit) => Fault::RateLimitHit,
        Ok(pb::error::Code::Unknown) | Err(_) => Fault::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use crosspoint_base::hex;

    use super::*;

    /// What the public schema makes of the same messages.
    #[test]
    fn the_bytes_are_those_of_the_public_schema() {
        let message = |call: &str, body| Message { call: call.to_owned(), body };
        let number = |number: &str| Private(number.to_owned());
        for (message, bytes) in [
            (message("", Body::Empty), ""),
            (message("a", Body::Bye), "22005201 61"),
            (message("", Body::Idle), "2a00"),
            (message("", Body::InCall { number: number("+4799") }), "3209 0a07 0a05 2b34373939"),
            (message("a", Body::ToPhone), "4a020a00 520161"),
            (message("", Body::Error(Fault::InvalidCallId)), "3a020803"),
        ] {
            let written = write(message.clone()).encode_to_vec();
            assert_eq!(hex(&written), bytes.replace(' ', ""));
            let read_again = read(pb::WebTerminalMessage::decode(&*written).unwrap());
            assert_eq!(read_again, message);
        }
    }

    /// Candidates of old clients, and whatever is invented later.
    #[test]
    fn unknown_fields_are_an_empty_message() {
        for bytes in [&[0x42, 0x02, 0x0a, 0x00][..], &[0x4a, 0x02, 0x12, 0x00], &[0x78, 0x01]] {
            let message = read(pb::WebTerminalMessage::decode(bytes).unwrap());
            assert_eq!(message, Message { call: String::new(), body: Body::Empty });
        }
    }
}
