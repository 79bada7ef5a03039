//! Writes the seed corpus: `cargo run --bin seeds -- FOLDER`.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: seeds FOLDER");
        return ExitCode::FAILURE;
    };
    for (target, name, bytes) in adit_fuzz::samples::all() {
        let folder = Path::new(&folder).join(target);
        let written =
            std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(folder.join(name), bytes));
        if let Err(why) = written {
            eprintln!("{}: {why}", folder.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
