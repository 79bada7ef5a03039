//! `adit-ppp-scripts`: started by systemd for each link, with the daemon's connection as its input; runs the scripts of
//! `/etc/ppp`, and nothing else.

use std::io::BufReader;
use std::process::ExitCode;
use std::time::Duration;

use adit_ppp_scripts::{Scripts, serve};

/// How long scripts may take that nobody has said anything of, in seconds.
const LIMIT: u64 = 120;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let limit = match arguments.as_slice() {
        [] => Some(LIMIT),
        ["--limit", seconds] => seconds.parse().ok().filter(|seconds| *seconds > 0),
        _ => None,
    };
    let Some(limit) = limit.map(Duration::from_secs) else {
        eprintln!("usage: adit-ppp-scripts [--limit SECONDS]   (records come by standard input)");
        return ExitCode::from(2);
    };
    serve(BufReader::new(std::io::stdin().lock()), &Scripts { folder: "/etc/ppp".into(), limit });
    ExitCode::SUCCESS
}
