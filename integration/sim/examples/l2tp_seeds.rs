//! `cargo run -p adit-sim --example l2tp_seeds -- --seeds 10000 [--from 0] [--jobs 2]`: many runs of the L2TP core.

use std::process::ExitCode;

use adit_sim::l2tp::run;
use adit_sim::seeds::Runs;

fn main() -> ExitCode {
    let one = |seed, _trace| run(seed).map(|run| (run.up, run.datagrams, run.faults));
    let runs = Runs::of_arguments(one, |all, one| {
        *all = (all.0 + one.0, all.1 + one.1, all.2 + one.2);
    });
    let (up, datagrams, faults) = runs.total;
    println!(
        "{} seeds, {} failed; {up} sessions came up; {datagrams} datagrams, {faults} faults",
        runs.count, runs.failed
    );
    runs.exit_code()
}
