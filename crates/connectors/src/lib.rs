//! One module per outside protocol, each translating its wire format to the `call` vocabulary.

pub mod rtcengine;
pub mod sip_ua;
