//! Calls through the whole node, told as stories on the simulator.

mod calls;
mod storms;
