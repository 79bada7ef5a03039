//! What the tests with FreeRADIUS and `eapol_test` need: whether the program is here, and the server's side of RADIUS,
//! which Adit has no other use for.

mod server;

pub use server::{Answer, answer, request};

/// Whether Debian's package of `program` is here. Without it a test has nothing to say, and says so; under CI it fails,
/// since CI installs it (`cargo xtask ci`).
///
/// # Panics
/// Under CI, where it is missing.
#[must_use]
#[allow(clippy::panic, reason = "a test's own end")]
pub fn has(program: &str, package: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&paths).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    let here = folders.into_iter().any(|folder| folder.join(program).is_file());
    if !here {
        assert!(std::env::var_os("CI").is_none(), "{program} is missing: apt install {package}");
        eprintln!("skipped: {program} is missing: apt install {package}");
    }
    here
}
