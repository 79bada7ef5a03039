//! `nm-adit-auth-dialog`, which NetworkManager's agents (nmcli, GNOME Shell, Plasma, nm-applet) start where a connection of
//! ours needs secrets. It shows nothing itself: it says what is to be asked, and the agent asks (`--external-ui-mode`).

use std::io::{Read, Write};
use std::process::ExitCode;

use adit_nm::dialog::{Request, answer};
use zeroize::Zeroizing;

/// More than any connection has, in bytes.
const LONGEST: u64 = 256 * 1024;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(request) = Request::of(&arguments) else {
        eprintln!(
            "usage: nm-adit-auth-dialog -u UUID -n NAME -s SERVICE [-r] [-i] [-t HINT]… --external-ui-mode"
        );
        return ExitCode::from(2);
    };
    match said().and_then(|said| answer(&request, &said).map_err(std::io::Error::other)) {
        Ok(text) => match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Err(error) => {
            eprintln!("nm-adit-auth-dialog: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the agent says, up to the line that says that this is all.
fn said() -> std::io::Result<Zeroizing<String>> {
    let mut said = Zeroizing::new(String::with_capacity(64 * 1024));
    let mut byte = Zeroizing::new([0_u8]);
    let mut line = Zeroizing::new(Vec::with_capacity(64 * 1024));
    let mut input = std::io::stdin().lock().take(LONGEST);
    // Byte by byte from the lock's own buffer: the agent keeps the pipe open.
    while input.read(&mut *byte)? == 1 {
        if *byte != *b"\n" {
            line.extend_from_slice(&*byte);
            continue;
        }
        let text = std::str::from_utf8(&line).map_err(std::io::Error::other)?;
        if text == "DONE" {
            return Ok(said);
        }
        said.push_str(text);
        said.push('\n');
        line.clear();
    }
    Ok(said)
}
