//! The SIP connector, told as stories about its peers, message by message.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod answering;
mod cancel;
mod elsewhere;
mod flows;
mod forking;
mod glare;
mod harness;
mod info;
mod late_offer;
mod phones;
mod refusals;
mod registration;
mod reliable;
mod replacing;
mod resume;
mod rtcengine;
mod session_timer;
mod storm;
mod torture;
mod transfer;
mod trunk_auth;
mod update;
