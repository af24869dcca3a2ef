//! Behaviour of the SIP machines, told as stories.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod dialog;
mod differential;
mod endpoint;
mod message;
mod timers;
mod torture;
