//! One module per outside protocol, each translating its wire format to the `call` vocabulary.

mod about;
mod allowance;
pub mod rtcengine;
pub mod sip_ua;
pub mod webterminal;
