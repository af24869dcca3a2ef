//! The crosspoint binary.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// A call costs some thousand small allocations; the system's allocator needs three times as long
/// for them.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    crosspoint_gateway::cli::main()
}
