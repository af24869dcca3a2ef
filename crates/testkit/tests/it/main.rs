//! Calls through the whole node, told as stories on the simulator.

mod apps;
mod bans;
mod bypass;
mod calls;
mod draining;
mod forwarding;
mod ladders;
mod parking;
mod passed;
mod rfc3665;
mod rfc5359;
mod routing;
mod storms;
mod terminals;
mod texts;
mod topology;
