//! `cargo run -p adit-sim --example seeds -- --seeds 10000 [--from 0] [--jobs 2] [--trace]`: many runs of the IKEv2
//! core.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use adit_sim::world::{Summary, run};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |flag: &str, default: u64| {
        let at = arguments.iter().position(|a| a == flag);
        at.and_then(|i| arguments.get(i + 1)).and_then(|v| v.parse().ok()).unwrap_or(default)
    };
    let (from, count) = (number("--from", 0), number("--seeds", 1000));
    let jobs = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let trace = arguments.iter().any(|a| a == "--trace");
    let next = AtomicU64::new(from);
    let until = from.saturating_add(count);
    let (failed, t) = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..number("--jobs", jobs).max(1)).map(|_| scope.spawn(|| work(&next, until, trace))).collect();
        let none = (0, Summary { faults: u64::MAX, ..Summary::default() });
        workers.into_iter().filter_map(|w| w.join().ok()).fold(none, |(failed, mut total), (f, one)| {
            add(&mut total, one);
            (failed + f, total)
        })
    });
    println!(
        "{count} seeds, {failed} failed; {} inputs, {} pairs installed, {} standing at the end, {} failures reported; \
         {} CHILD_SA and {} IKE_SA rekeys, {} collisions, {} further CHILD_SAs, \
         {} with additional key exchanges; {} came up by certificate, {} by key, {} to authenticate again; {} moves, {} \
         deletions; fewest faults in a run: {}",
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
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs seeds until there are none left: how many failed, and the sum of the others.
fn work(next: &AtomicU64, until: u64, trace: bool) -> (u64, Summary) {
    let (mut failed, mut total) = (0, Summary { faults: u64::MAX, ..Summary::default() });
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= until {
            return (failed, total);
        }
        match run(seed, trace) {
            Ok(summary) => add(&mut total, summary),
            Err(violation) => {
                failed += 1;
                println!("{violation}");
            }
        }
    }
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
