//! The ladder of a call: every message, media step and decision of ours on one time line, under the
//! call's global id, for the last calls and in bounded memory.
//!
//! [`Ladders`] keeps what the node hands it: bytes that are there already, and notes. Nothing is
//! read, printed or hidden until somebody looks: [`redact`] takes credentials and keys out of what
//! leaves, [`explain`] says in plain words what became of the call, [`pcap`] and [`hep`] write it
//! for other programs.

mod book;
mod entry;
pub mod explain;
pub mod hep;
pub mod pcap;
pub mod redact;
pub mod title;

pub use book::{Counters, Front, LadderConfig, Ladders, RefusedCall, Summary, Told};
pub use entry::{
    CallLadder, DtlsStep, Entry, Facts, Figures, Line, Loss, Message, Note, Packet, Protocol,
    Sample, Side, What,
};
