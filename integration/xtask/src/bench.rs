//! `cargo xtask bench`: what the control plane costs, measured on this machine.

use std::process::Command;

use crate::lab;
use crate::shell::{cargo, has, is_root, root, run, target};

const USAGE: &str =
    "cargo xtask bench ike [--record] [--sizes N,N…] [--rounds N] [--window N] [--charon PROGRAM]
cargo xtask bench ike --vm [--record]
cargo xtask bench NAME [--uml] [--record], NAME one of auth, connect, roam, pptp, l2tp, sstp, ppp-setup, sstp-setup, l2tp-setup,
    strategy
cargo xtask bench flood [--record] [--seconds N] [--rate N] [--clients N]

  ike       IKE_SAs a second, processor time and memory of one, at several sizes
  ike --vm  the same of the real daemon and of strongSwan's, in the lab's VM
  auth      connections a second with EAP, FreeRADIUS deciding, Adit's gateway and strongSwan's, in the lab's VM
  connect   what it takes ctl and swanctl to come up at the same strongSwan, in the lab's VM
  roam      what a moving client loses of a thousand packets a second, Adit and strongSwan, in the lab's VM
  pptp      how PPTP comes up, and what goes through: Adit, and pptp-linux with pppd, in the lab's VM
  l2tp      the same of L2TP/IPsec: Adit, and strongSwan with xl2tpd and pppd
  sstp      the same of SSTP: Adit with either interface, and sstp-client with pppd
  ppp-setup what a PPTP session costs the server, at a hundred and at a thousand, in the lab's VM
  sstp-setup  the same of SSTP
  l2tp-setup what an L2TP/IPsec session costs the server, at a hundred
  strategy  how long until a tunnel is up, in a race and one type after the other, in the lab's VM
  flood     spoofed first messages, and honest clients who all get in
  --uml     under user-mode-linux instead, where user code runs at the processor's own speed
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
    let has = |flag: &str| rest.iter().any(|a| a == flag);
    let place = if what == "ike" && has("--vm") { "ike-vm" } else { what };
    if let Some(compared) = COMPARED.iter().find(|compared| compared.place == place) {
        return if has("--uml") {
            in_uml(compared, has("--record"))
        } else {
            in_vm(compared, has("--record"))
        };
    }
    match what.as_str() {
        "ike" | "flood" => {
            ready()?;
            run(programs(what).args(recorded(rest)))
        }
        other => Err(format!("no bench {other:?}\n\n{USAGE}")),
    }
}

/// Those that are scenarios.
const COMPARED: [&Compared; 11] =
    [&IKE, &AUTH, &CONNECT, &ROAM, &PPTP, &L2TP, &SSTP, &PPP_SETUP, &SSTP_SETUP, &L2TP_SETUP, &STRATEGY];

/// A scenario that measures several of a kind, one after the other.
struct Compared {
    scenario: &'static str,
    /// The place in the document.
    place: &'static str,
    /// What all columns have in common.
    title: &'static str,
    /// The steps that say figures, as their logs are called, with the heads of their columns.
    steps: &'static [(&'static str, &'static str)],
}

const IKE: Compared = Compared {
    scenario: "bench-ike",
    place: "ike-vm",
    title: "The same 1,000 clients.",
    steps: &[("aditd", "02-load.log"), ("strongSwan 6.0.1", "08-load.log")],
};

const AUTH: Compared = Compared {
    scenario: "bench-auth",
    place: "auth",
    title: "FreeRADIUS 3.2.7 decides; eight at a time.",
    steps: &[
        ("aditd", "03-load.log"),
        ("aditd", "04-load.log"),
        ("strongSwan 6.0.1", "09-load.log"),
        ("strongSwan 6.0.1", "10-load.log"),
    ],
};

const CONNECT: Compared = Compared {
    scenario: "bench-connect",
    place: "connect",
    title: "Medians of ten.",
    steps: &[("ctl and aditd", "06-adit.log"), ("swanctl and strongSwan 6.0.1", "07-swan.log")],
};

const PPTP: Compared = Compared {
    scenario: "bench-pptp",
    place: "pptp",
    title: "To the same Adit server, MPPE-128 without state.",
    steps: &[("ctl and aditd", "04-adit.log"), ("pptp-linux 1.10.0 and pppd 2.5.2", "05-linux.log")],
};

const L2TP: Compared = Compared {
    scenario: "bench-l2tp",
    place: "l2tp",
    title: "strongSwan 6.0.1, xl2tpd 1.3.18 and pppd 2.5.2; ESP with AES-128 and SHA-256.",
    steps: &[
        ("Adit, to Adit", "08-adit.log"),
        ("Adit, to strongSwan and xl2tpd", "09-adit.log"),
        ("strongSwan and xl2tpd, to Adit", "14-linux.log"),
        ("strongSwan and xl2tpd, to their like", "15-linux.log"),
    ],
};

const TUN: &str = "ctl and aditd, a TUN";
const UNIT: &str = "ctl and aditd, a unit of the kernel's PPP";
const SSTPC: &str = "sstp-client 1.0.20 and pppd 2.5.2";

const SSTP: Compared = Compared {
    scenario: "bench-sstp",
    place: "sstp",
    title: "To the same Adit server, TLS 1.3 with AES-256-GCM.",
    steps: &[
        (TUN, "07-client.log"),
        (TUN, "08-client.log"),
        (UNIT, "09-client.log"),
        (UNIT, "10-client.log"),
        (SSTPC, "11-pppd.log"),
        (SSTPC, "12-pppd.log"),
    ],
};

const PPP_SETUP: Compared = Compared {
    scenario: "bench-ppp-setup",
    place: "ppp-setup",
    title: "By MS-CHAPv2, with MPPE-128.",
    steps: &[("100 sessions", "02-crowd.log"), ("1,000 sessions", "05-crowd.log")],
};

const SSTP_SETUP: Compared = Compared {
    scenario: "bench-sstp-setup",
    place: "sstp-setup",
    title: "By MS-CHAPv2, TLS 1.3, a ping through each.",
    steps: &[("100 sessions", "02-crowd.log"), ("1,000 sessions", "05-crowd.log")],
};

const RACE: &str = "in a race";
const TURNS: &str = "one after the other";

const STRATEGY: Compared = Compared {
    scenario: "bench-strategy",
    place: "strategy",
    title: "Medians of five where the first type works, else of three.",
    steps: &[
        (RACE, "05-client.log"),
        (RACE, "08-client.log"),
        (RACE, "11-client.log"),
        (RACE, "14-client.log"),
        (RACE, "17-client.log"),
        (RACE, "20-client.log"),
        (TURNS, "06-client.log"),
        (TURNS, "09-client.log"),
        (TURNS, "12-client.log"),
        (TURNS, "15-client.log"),
        (TURNS, "18-client.log"),
        (TURNS, "21-client.log"),
    ],
};

const L2TP_SETUP: Compared = Compared {
    scenario: "bench-l2tp-setup",
    place: "l2tp-setup",
    title: "By IKEv1 with a pre-shared key and P-256, then MS-CHAPv2.",
    steps: &[("100 sessions", "05-crowd.log")],
};

const OURS: &str = "Adit, to Adit";
const MIXED: &str = "Adit, to strongSwan";
const THEIRS: &str = "strongSwan 6.0.1, to strongSwan";

const ROAM: Compared = Compared {
    scenario: "bench-roam",
    place: "roam",
    title: "A thousand packets a second, there and back over 50 ms: medians of ten (of strongSwan's black hole one).",
    steps: &[
        (OURS, "08-adit.log"),
        (OURS, "09-adit.log"),
        (OURS, "10-adit.log"),
        (MIXED, "13-adit.log"),
        (MIXED, "14-adit.log"),
        (MIXED, "15-adit.log"),
        (THEIRS, "18-swan.log"),
        (THEIRS, "24-swan.log"),
        (THEIRS, "25-swan.log"),
    ],
};

/// Runs a scenario with our programs as they are shipped, and collects what its steps said.
fn in_vm(compared: &Compared, is_recorded: bool) -> Result<(), String> {
    measured(compared, compared.place, "In the VM, which is emulated", &[], is_recorded)
}

/// The same where user code runs at the processor's own speed.
fn in_uml(compared: &Compared, is_recorded: bool) -> Result<(), String> {
    let place = format!("{}-uml", compared.place);
    measured(compared, &place, "Under user-mode-linux, which has one processor", &["--uml"], is_recorded)
}

fn measured(
    compared: &Compared,
    place: &str,
    machine: &str,
    options: &[&str],
    is_recorded: bool,
) -> Result<(), String> {
    let given = ["--release", "--keep", "--narrate", compared.scenario];
    let arguments: Vec<String> = options.iter().chain(&given).map(|&one| one.to_owned()).collect();
    lab::lab(&arguments)?;
    let logs = lab::lab_folder().join("results").join(compared.scenario);
    let mut command = Command::new(target().join("release/adit-bench"));
    let title = format!("{} {machine}: only the columns can be compared.", compared.title);
    command.args(["collect", "--title", &title]);
    for (head, log) in compared.steps {
        command.arg("--column").arg(format!("{head}={}", logs.join(log).display()));
    }
    if is_recorded {
        command.args(["--name", place, "--record"]).arg(document());
    }
    run(&mut command)
}

fn document() -> String {
    root().join("docs/performance.md").display().to_string()
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
    // Before whatever else this machine does: a processor that is elsewhere comes back to cold caches and full sockets.
    let mut command = Command::new("nice");
    command.args(["-n", "-10"]).arg(built.join("adit-bench")).arg(what);
    command.arg("--daemon").arg(built.join("aditd-record"));
    command.arg("--ctl").arg(built.join("ctl"));
    command.arg("--work").arg(target().join("bench"));
    command
}

/// `--record` names no file here: there is one.
fn recorded(arguments: &[String]) -> Vec<String> {
    let both = |a: &String| match a.as_str() {
        "--record" => vec![a.clone(), document()],
        _ => vec![a.clone()],
    };
    arguments.iter().flat_map(both).collect()
}
