//! `cargo xtask bench`: what the control plane costs, measured on this machine.

use std::process::Command;

use crate::shell::{cargo, has, is_root, root, run, target};

const USAGE: &str = "cargo xtask bench ike [--record] [--sizes N,N…] [--rounds N] [--window N]
cargo xtask bench flood [--record] [--seconds N] [--rate N] [--clients N]

  ike       IKE_SAs a second, processor time and memory of one, at several sizes
  flood     spoofed first messages, and honest clients who all get in
  --record  write the figures into docs/performance.md

Times are this machine's; none of them makes it fail.";

/// What is measured, optimised as it is shipped.
const PROGRAMS: [&str; 3] = ["aditd-record", "ctl", "adit-bench"];

/// Builds what is measured, and measures.
///
/// # Errors
/// Wrong arguments, a build that failed, or somebody who was not let in.
pub(crate) fn bench(arguments: &[String]) -> Result<(), String> {
    let (Some(what), rest) = (arguments.first(), arguments.get(1..).unwrap_or_default()) else {
        return Err(USAGE.into());
    };
    match what.as_str() {
        "ike" | "flood" => {
            ready()?;
            run(programs(what).args(recorded(rest)))
        }
        other => Err(format!("no bench {other:?}\n\n{USAGE}")),
    }
}

fn ready() -> Result<(), String> {
    if !is_root() {
        return Err(
            "a bench makes a network namespace and gives the daemon its capabilities: it needs root".into()
        );
    }
    for (program, package) in [("setpriv", "util-linux"), ("ip", "iproute2")] {
        if !has(program) {
            return Err(format!("{program} is missing: apt-get install {package}"));
        }
    }
    let mut build = cargo();
    build.args(["build", "--quiet", "--release"]);
    PROGRAMS.iter().for_each(|program| {
        build.args(["-p", program]);
    });
    run(&mut build)
}

fn programs(what: &str) -> Command {
    let built = target().join("release");
    let mut command = Command::new(built.join("adit-bench"));
    command.arg(what);
    command.arg("--daemon").arg(built.join("aditd-record"));
    command.arg("--ctl").arg(built.join("ctl"));
    command.arg("--work").arg(target().join("bench"));
    command
}

/// `--record` names no file here: there is one.
fn recorded(arguments: &[String]) -> Vec<String> {
    let document = root().join("docs/performance.md").display().to_string();
    let both = |a: &String| match a.as_str() {
        "--record" => vec![a.clone(), document.clone()],
        _ => vec![a.clone()],
    };
    arguments.iter().flat_map(both).collect()
}
