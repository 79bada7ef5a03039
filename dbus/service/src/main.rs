//! `aditd`: the daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    adit_service::main(adit_service::daemon::Doors::real)
}
