//! `crosspoint man`: manual pages in roff, made of the same definition that reads the command line.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use clap_mangen::Man;

use crate::cli::{Failure, output};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Write the pages of all commands into this folder instead
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(options: &Arguments, command: clap::Command) -> Result<(), Failure> {
    // Help is on every page; a page about help is nobody's wish.
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let write = |error: io::Error| Failure::failed("the manual pages".to_owned(), error);
    match &options.out {
        Some(folder) => fs::create_dir_all(folder)
            .and_then(|()| write_all(&command, command.get_name(), folder))
            .map_err(write),
        None => output::print_bytes(&first_page(command).map_err(write)?),
    }
}

/// A page for each command under this one, named as people look for it: `crosspoint-user-add`.
fn write_all(command: &clap::Command, name: &str, folder: &Path) -> io::Result<()> {
    let page = match name.contains('-') {
        false => first_page(command.clone())?,
        true => rendered(&page_of(command.clone()))?,
    };
    fs::write(folder.join(format!("{name}.1")), page)?;
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        write_all(command, &format!("{name}-{}", command.get_name()), folder)?;
    }
    Ok(())
}

/// The page of `crosspoint` itself has what holds for all commands.
fn first_page(command: clap::Command) -> io::Result<Vec<u8>> {
    let mut page = rendered(&page_of(command))?;
    page.write_all(EVERYWHERE.as_bytes())?;
    Ok(page)
}

fn page_of(command: clap::Command) -> Man {
    Man::new(command).manual("Crosspoint").source(concat!("Crosspoint ", env!("CARGO_PKG_VERSION")))
}

fn rendered(page: &Man) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    page.render(&mut text)?;
    Ok(text)
}

const EVERYWHERE: &str = r#".SH "EXIT STATUS"
.TP
0
Done.
.TP
1
Something outside failed: a disk, a port that is taken, a certificate that cannot be used.
.TP
2
The command line or the configuration is wrong.
.TP
3
The user or trunk named does not exist, or exists already.
.TP
4
\fBroute\-test\fR: the call would be refused.
.SH SIGNALS
.TP
SIGTERM, SIGINT
Stop gracefully: no new calls, those that run may go on for drain.time, then everybody hears BYE. A second one stops at once.
.TP
SIGHUP
Read the configuration and certificates again, as \fBcrosspoint reload\fR does.
.SH FILES
.TP
\fIcrosspoint.toml\fR
The configuration, in the working folder unless \fB\-\-config\fR names another.
.TP
\fI/etc/crosspoint/crosspoint.toml\fR, \fI/var/lib/crosspoint\fR
Configuration and data of the service that the Debian package installs.
"#;
