//! Calls through the whole node, told as stories on the simulator.

mod apps;
mod calls;
mod storms;
