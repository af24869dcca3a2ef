//! The command line. Every command is scriptable: `--json` output, passwords by standard input,
//! and exit codes that mean something. `docs/cli.md` describes it for operators.

mod ban;
mod call;
pub(crate) mod cdr;
mod check;
mod completions;
mod failure;
mod init;
mod man;
mod media;
mod operator;
mod output;
mod route_test;
mod running;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, CommandFactory, Parser, Subcommand};
use crosspoint_base::Rng;

pub(crate) use failure::Failure;
pub(crate) use output::Output;

use crate::home::Home;
use crate::run::{self, Overrides};

/// Joins browsers and telephones.
#[derive(Debug, Parser)]
#[command(name = "crosspoint", version = env!("CROSSPOINT_VERSION"), max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Debug, Args)]
struct Place {
    /// The configuration file [default: crosspoint.toml here, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The data folder [default: what the file says, or crosspoint-data here]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Run(Overrides),
    /// Serve media to SIP proxies that speak rtpengine's ng protocol
    Media(media::Arguments),
    /// Write a commented configuration file and create the data folder
    Init(init::Arguments),
    /// Check the configuration and print everything that is wrong with it
    Check,
    /// Have the running gateway read its configuration and certificates again
    Reload,
    /// Have the running gateway take no new calls, and perhaps end when the last is over
    Drain(running::Drain),
    /// Add, list, change and remove users
    #[command(subcommand)]
    User(user::Command),
    /// Add, list, change and remove operators of the console
    #[command(subcommand)]
    Operator(operator::Command),
    /// Say where a call would go, and why
    RouteTest(route_test::Arguments),
    /// List, add and lift bans of addresses
    #[command(subcommand)]
    Ban(ban::Command),
    /// The last calls, and what was said in them
    #[command(subcommand)]
    Call(call::Command),
    /// Call records
    #[command(subcommand)]
    Cdr(cdr::Command),
    /// Print a script that completes the command line in a shell
    Completions(completions::Arguments),
    /// Print the manual page, or write one for each command
    Man(man::Arguments),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no failures; clap knows where each text belongs.
            let code = if error.use_stderr() { failure::USAGE } else { 0 };
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let output = Output::new(arguments.place.json);
    match run(arguments, &output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(arguments: Arguments, output: &Output) -> Result<(), Failure> {
    let Place { config, data, .. } = &arguments.place;
    let home = || Home::find(config.as_deref(), data.as_deref());
    let running = || Home::data_folder(config.as_deref(), data.as_deref());
    match arguments.command {
        Command::Run(overrides) => run::run(config.clone(), overrides, home()?, output),
        Command::Media(options) => media::run(options, home()?, output),
        Command::Init(options) => init::run(&options, config.as_deref(), data.as_deref(), output),
        Command::Check => check::run(&home()?, output),
        Command::Reload => running::reload(&running(), output),
        Command::Drain(options) => running::drain(&options, &running(), output),
        Command::User(command) => user::run(command, &home()?, output),
        Command::Operator(command) => operator::run(&command, &home()?, output),
        Command::RouteTest(options) => route_test::run(&options, &home()?, output),
        Command::Ban(command) => ban::run(&command, &home()?, output),
        Command::Call(command) => call::run(&command, &running(), home, output),
        Command::Cdr(command) => cdr::run(&command, &home()?, output),
        Command::Completions(options) => completions::run(&options, Arguments::command()),
        Command::Man(options) => man::run(&options, Arguments::command()),
    }
}

/// A generator seeded by the operating system.
pub(crate) fn system_rng() -> Result<Rng, Failure> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)
        .map_err(|error| Failure::failed("the system's random numbers".to_owned(), error))?;
    Ok(Rng::from_seed(seed))
}

/// Unix seconds.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
