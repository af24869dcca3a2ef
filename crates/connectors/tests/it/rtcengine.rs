//! The RTC:engine connector, told as stories about apps and those they call.

mod accounts;
pub(crate) mod app;
mod called;
mod calling;
mod change;
mod forks;
mod incall;
mod opening;
mod permission;
mod replace;
mod resume;
mod storm;
mod texts;
mod trickle;
