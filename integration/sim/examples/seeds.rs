//! `cargo run -p adit-sim --example seeds -- --seeds 10000 [--from 0] [--jobs 2] [--trace]`: many runs of the IKEv2
//! core.

use std::process::ExitCode;

use adit_sim::seeds::Runs;
use adit_sim::world::{Summary, run};

fn main() -> ExitCode {
    let runs = Runs::of_arguments(run, add);
    let t = &runs.total;
    println!(
        "{} seeds, {} failed; {} inputs, {} pairs installed, {} standing at the end, {} failures reported; \
         {} CHILD_SA and {} IKE_SA rekeys, {} collisions, {} further CHILD_SAs, \
         {} with additional key exchanges; {} came up by certificate, {} by key, {} to authenticate again; {} moves, {} \
         deletions; fewest faults in a run: {}",
        runs.count,
        runs.failed,
        t.steps,
        t.installed,
        t.standing,
        t.failures,
        t.child_rekeys,
        t.ike_rekeys,
        t.collisions,
        t.more_children,
        t.followed_up,
        t.by_certificate,
        t.by_key,
        t.reauthenticated,
        t.moved,
        t.deleted,
        t.faults
    );
    runs.exit_code()
}

fn add(total: &mut Summary, one: Summary) {
    total.steps += one.steps;
    total.installed += one.installed;
    total.standing += one.standing;
    total.failures += one.failures;
    total.child_rekeys += one.child_rekeys;
    total.ike_rekeys += one.ike_rekeys;
    total.collisions += one.collisions;
    total.more_children += one.more_children;
    total.followed_up += one.followed_up;
    total.by_certificate += one.by_certificate;
    total.by_key += one.by_key;
    total.reauthenticated += one.reauthenticated;
    total.moved += one.moved;
    total.deleted += one.deleted;
    total.faults = total.faults.min(one.faults);
}
