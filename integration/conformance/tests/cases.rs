//! Plays the cases, all or those whose names have one of the arguments in them; `--bless` records what comes out.

use std::process::ExitCode;

use adit_conformance::{bless, cases, expected, play};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let blesses = arguments.iter().any(|a| a == "--bless");
    let names: Vec<&String> = arguments.iter().filter(|a| !a.starts_with('-')).collect();
    let folders = match cases() {
        Ok(folders) => folders,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let (mut played, mut failed) = (0_usize, 0_usize);
    for folder in folders {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !names.is_empty() && !names.iter().any(|n| name.contains(n.as_str())) {
            continue;
        }
        played += 1;
        let done = play(&folder).and_then(|transcript| match (blesses, expected(&folder)) {
            (true, _) => bless(&folder, &transcript),
            (false, Some(expected)) if expected == transcript => Ok(()),
            (false, Some(expected)) => Err(difference(&expected, &transcript)),
            (false, None) => Err("nothing is recorded: --bless".into()),
        });
        if let Err(why) = done {
            failed += 1;
            println!("{name}: FAILED\n{why}");
        }
    }
    println!("{played} cases played, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// From the first line that differs.
fn difference(expected: &str, got: &str) -> String {
    let same = expected.lines().zip(got.lines()).take_while(|(a, b)| a == b).count();
    let rest = |text: &str| text.lines().skip(same).take(6).map(|l| format!("    {l}\n")).collect::<String>();
    format!("  from line {}\n  expected\n{}  got\n{}", same + 1, rest(expected), rest(got))
}
