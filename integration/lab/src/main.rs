//! `adit-lab`: runs scenarios as root, in a VM or in plain namespaces; and is the sink and the source of their traffic.

mod capture;
mod counters;
mod daemon;
mod evidence;
mod flow;
mod host;
mod judge;
mod pki;
mod run;
mod runner;
mod secrets;
mod snapshot;
mod steps;
mod survive;
mod topology;
mod traffic;
mod wire;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((command, rest)) if command == "run" => runner::run(rest),
        Some((command, _)) if command == "sink" => traffic::sink().map(|()| true),
        Some((command, rest)) if command == "send" => traffic::send(rest).map(|()| true),
        Some((command, rest)) if command == "survive" => survive::survive(rest).map(|()| true),
        Some((command, rest)) if command == "flow" => flow::flow(rest).map(|()| true),
        Some((command, rest)) if command == "stream" => flow::stream(rest).map(|()| true),
        _ => Err("adit-lab run|sink|send|flow|stream|survive: started by `cargo xtask lab`".to_owned()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("adit-lab: {why}");
            ExitCode::from(2)
        }
    }
}
