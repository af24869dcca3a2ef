//! `crosspoint completions`: a script for a shell, made of the same definition that reads the command line.

use clap::Args;
use clap_complete::Shell;

use crate::cli::{Failure, output};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The shell that is to complete
    shell: Shell,
}

pub(super) fn run(options: &Arguments, mut command: clap::Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(options.shell, &mut command, name, &mut script);
    output::print_bytes(&script)
}
