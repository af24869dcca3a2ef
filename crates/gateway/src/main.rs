//! The crosspoint binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    crosspoint_gateway::cli::main()
}
