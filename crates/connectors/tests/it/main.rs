//! The SIP connector, told as stories about its peers, message by message.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod answering;
mod cancel;
mod forking;
mod harness;
mod late_offer;
mod reliable;
