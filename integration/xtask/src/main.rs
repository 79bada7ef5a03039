//! The project's own commands. `cargo xtask` says what there is.

mod bench;
mod ci;
mod demo;
mod edges;
mod fuzz;
mod lab;
mod package;
mod rfc;
mod shell;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  ci           format, clippy, edges, deny, unit and simulation tests, the lab's set ci: what CI runs
  test         unit and simulation tests, the lab's set ci
  lab          scenarios on the real kernel: [--list] [--all] [--sabotage[=NAME,…]] [--keep] [--release] [NAME…]
  demo         a server, a NAT and a client: the first tunnel, told step by step
  bench        what it costs: ike or flood [--record] …
  package      Debian packages of what is in this tree: [--out DIR | --check]
  fuzz         the fuzz targets: [--list] [--seeds] [--seconds N] [--jobs N] [TARGET…]
  rfc          what the RFCs demand, and the code and tests that cite it: [--missing] [--md] [--invert N]
  check-edges  which crate may depend on which
  deny         licences, bans and sources of the dependencies; advisories where the database can be reached
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) =
        arguments.split_first().map_or(("", &[][..]), |(command, rest)| (command.as_str(), rest));
    let done = match command {
        "ci" => ci::ci(),
        "test" => ci::test(),
        "lab" => lab::lab(rest),
        "demo" => demo::demo(rest),
        "bench" => bench::bench(rest),
        "package" => package::package(rest),
        "fuzz" => fuzz::fuzz(rest),
        "rfc" => rfc::rfc(rest),
        "check-edges" => edges::check(),
        "deny" => ci::deny(),
        "" | "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(())
        }
        other => Err(format!("no command {other:?}\n\n{USAGE}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
