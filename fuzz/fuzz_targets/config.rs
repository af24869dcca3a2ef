//! A configuration file of any kind: taken whole, or refused with a place and a remedy each.
#![no_main]

use std::path::Path;

use crosspoint_gateway::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // A folder that does not exist: nothing outside the text is read.
    let Err(error) = Config::parse(text, Path::new("/nonexistent/crosspoint.toml")) else { return };
    assert!(!error.problems.is_empty());
    let lines = text.lines().count().max(1);
    for problem in &error.problems {
        assert!(problem.line >= 1 && problem.line <= lines + 1, "line {}", problem.line);
        assert!(!problem.message.is_empty() && !problem.remedy.is_empty());
    }
    let _ = (error.to_string(), error.to_json());
});
