//! SIP as machines: messages, framing, transactions, dialogs, digest, registrar rules.
//!
//! Bodies are bytes here; session descriptions belong to the `sdp` crate.

pub mod dialog;
pub mod digest;
pub mod endpoint;
pub mod framing;
pub mod header;
pub mod message;
pub mod registrar;
mod transaction;
pub mod uri;

pub use header::{CSeq, NameAddr, Params, Via};
pub use message::{
    HeaderName, Headers, Limits, Message, Method, ParseError, Request, Response, StatusCode,
};
pub use transaction::Timing;
pub use uri::{Scheme, Uri};

pub(crate) use message::{decimal as message_decimal, trim as message_trim};
