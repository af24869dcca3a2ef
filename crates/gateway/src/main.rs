//! The crosspoint binary.

use std::process::ExitCode;

use crosspoint_net::Allocator;

/// A call costs some thousand small allocations; the system's allocator needs three times as long
/// for them.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    Allocator::take_small_pages();
    crosspoint_gateway::cli::main()
}
