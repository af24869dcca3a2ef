//! The RTC:engine JSON protocol over WebSocket (`docs/protocols/rtcengine.md`).

mod grant;

pub use grant::{AccountGrant, Denial, Grant, Lookup, RemoteAccount, Service};
