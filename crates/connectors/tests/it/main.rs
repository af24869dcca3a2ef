//! The SIP connector, told as stories about its peers, message by message.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod answering;
mod caller;
mod cancel;
mod conduct;
mod elsewhere;
mod flows;
mod forking;
mod forwarding;
mod glare;
mod harness;
mod info;
mod late_offer;
mod location;
mod phones;
mod pressing;
mod redirecting;
mod refusals;
mod registration;
mod reliable;
mod replacing;
mod resume;
mod rtcengine;
mod session_timer;
mod storm;
mod texts;
mod torture;
mod transfer;
mod trunk_auth;
mod trunk_changes;
mod trunks;
mod update;
mod webterminal;
