//! `cargo run -p adit-sim --example auth_seeds -- --seeds 10000 [--from 0] [--jobs 2]`: many runs of EAP and RADIUS.

use std::process::ExitCode;

use adit_sim::auth::{Summary, run};
use adit_sim::seeds::Runs;

fn main() -> ExitCode {
    let runs = Runs::of_arguments(
        |seed, _trace| run(seed),
        |all: &mut Summary, one| {
            *all = Summary {
                talks: all.talks + one.talks,
                let_in: all.let_in + one.let_in,
                faults: all.faults + one.faults,
                forged: all.forged + one.forged,
                noted: all.noted + one.noted,
            };
        },
    );
    println!("{} seeds, {} failed; {:?}", runs.count, runs.failed, runs.total);
    runs.exit_code()
}
